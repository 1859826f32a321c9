package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// Request is what is asked of every URL.
type Request struct {
	Method string  // "" is POST or PUT with a body, GET without
	Fields []Field // in place of, or besides, those that are sent anyway
	User   string  // name:password, for the host of the URL only
	Agent  string  // the User-Agent
	Body   *Body   // may be nil
}

// Field is a header field as -H gives it.
type Field struct {
	Name, Value string
	Remove      bool // keep it from being sent
}

// ParseField parses "Name: value"; "Name;" is an empty one, and "Name:" removes it.
func ParseField(text string) (Field, error) {
	name, value, ok := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	f := Field{Name: name, Value: value, Remove: value == ""}
	if !ok {
		if name, ok = strings.CutSuffix(strings.TrimSpace(text), ";"); ok {
			f = Field{Name: name}
		}
	}
	if !ok || !isToken(f.Name) || strings.ContainsFunc(f.Value, isControl) {
		return f, fmt.Errorf("%q is no header field; write \"Name: value\", \"Name;\" for an empty one, or \"Name:\" to leave it out", text)
	}
	f.Name = textproto.CanonicalMIMEHeaderKey(f.Name)
	return f, nil
}

// isToken reports whether a text can be the name of a field (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// Body is what is sent.
type Body struct {
	Type   string // its Content-Type, if any
	Upload bool   // PUT it rather than POST it
	Size   int64  // bytes; negative if nobody knows

	open   func() (io.ReadCloser, error)
	once   bool // it cannot be read again
	opened atomic.Bool
}

// DataBody is a body that lies in memory.
func DataBody(data []byte, contentType string) *Body {
	return &Body{Type: contentType, Size: int64(len(data)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// FileBody is a file to upload.
func FileBody(path string) (*Body, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("it is a directory")
	}
	if err != nil {
		return nil, errorf(Read, "cannot send %s: %w", path, reason(err))
	}
	b := &Body{Upload: true, Size: info.Size(), once: !info.Mode().IsRegular(), open: func() (io.ReadCloser, error) { return os.Open(path) }}
	if b.once {
		b.Size = -1
	}
	return b, nil
}

// StreamBody is an upload that can be read only once.
func StreamBody(r io.Reader) *Body {
	return &Body{Upload: true, Size: -1, once: true, open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
}

// reader opens the body for a request with this context.
func (b *Body) reader(ctx context.Context, p Progress) (io.ReadCloser, error) {
	if b.opened.Swap(true) && b.once {
		return nil, errorf(Rewind, "what is sent comes from a stream, and cannot be sent a second time")
	}
	r, err := b.open()
	if err != nil {
		return nil, errorf(Read, "cannot read what should be sent: %w", reason(err))
	}
	out := &sending{ReadCloser: r, ctx: ctx}
	if p != nil && b.Upload {
		out.progress = p
		p.Expect(b.Size)
	}
	return out, nil
}

// sending makes errors of reading a body known as ours. If Ctrl-C ends the program
// that we read from, too, then that is no end of the data.
type sending struct {
	io.ReadCloser
	ctx      context.Context
	progress Progress
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if s.progress != nil && n > 0 {
		s.progress.Add(n)
	}
	switch {
	case err == io.EOF && s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	case err != nil && err != io.EOF:
		err = errorf(Read, "cannot read what should be sent: %w", reason(err))
	}
	return n, err
}

// credentials are the fields that other hosts do not get.
var credentials = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// question is one request on the way through redirects.
type question struct {
	method  string
	body    *Body
	trusted bool // credentials are for this host
	offset  int64
	ifRange string // the version that what follows offset is to be of
}

// first is the question about the URL itself.
func (c *Client) first(to *Target) question {
	q := question{method: c.Request.Method, body: c.Request.Body, trusted: true, offset: to.offset, ifRange: to.version.condition()}
	switch {
	case q.method != "":
	case q.body == nil:
		q.method = http.MethodGet
	case q.body.Upload:
		q.method = http.MethodPut
	default:
		q.method = http.MethodPost
	}
	return q
}

// request makes the request for a question.
func (c *Client) request(ctx context.Context, u *url.URL, q question) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), nil)
	if err != nil {
		return nil, errorf(Malformed, "%w", err)
	}
	if q.body != nil {
		if r.Body, err = q.body.reader(ctx, c.Progress); err != nil {
			return nil, err
		}
		r.ContentLength = q.body.Size
		if q.body.Type != "" {
			r.Header.Set("Content-Type", q.body.Type)
		}
	}
	r.Header.Set("Accept", "*/*")
	r.Header.Set("User-Agent", c.Request.Agent)
	if c.Compressed {
		r.Header.Set("Accept-Encoding", "gzip, deflate")
	}
	if q.offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", q.offset))
		if q.ifRange != "" {
			r.Header.Set("If-Range", q.ifRange)
		}
	}
	c.authorize(r, q)
	c.edit(r, q)
	if c.Trace != nil {
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, fields textproto.MIMEHeader) error {
				c.traceHead("<", fmt.Sprintf("%d %s", status, http.StatusText(status)), http.Header(fields))
				return nil
			},
		}))
	}
	return r, nil
}

// authorize takes a name and a password from -u or from the URL.
func (c *Client) authorize(r *http.Request, q question) {
	if name, password, ok := strings.Cut(c.Request.User, ":"); ok && q.trusted {
		r.SetBasicAuth(name, password)
	} else if u := r.URL.User; u != nil {
		password, _ := u.Password()
		r.SetBasicAuth(u.Username(), password)
	}
	r.URL.User = nil
}

// edit applies the fields that the user wants or does not want.
func (c *Client) edit(r *http.Request, q question) {
	first := make(map[string]bool) // a field that is named twice is sent twice
	for _, f := range c.Request.Fields {
		switch {
		case !q.trusted && slices.Contains(credentials, f.Name):
		case f.Remove && f.Name == "User-Agent":
			r.Header.Set(f.Name, "") // or net/http sends its own
		case f.Remove:
			r.Header.Del(f.Name)
		case f.Name == "Host" && q.trusted:
			r.Host = f.Value
		case f.Name == "Host":
		case first[f.Name]:
			r.Header.Add(f.Name, f.Value)
		default:
			first[f.Name] = true
			r.Header.Set(f.Name, f.Value)
		}
	}
}
