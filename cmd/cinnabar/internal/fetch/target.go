package fetch

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// Resume says where a target goes on.
type Resume int64

// FromSize goes on where the file ends; FromStart begins anew.
const (
	FromStart Resume = 0
	FromSize  Resume = -1
)

// Target is where an answer goes. A file is written in place, as curl does: what came of
// an answer that was cut off stays, so that it can be resumed.
type Target struct {
	Path   string    // of a file; "" is the writer
	Writer io.Writer // for a target that is no file
	Head   io.Writer // for heads where Writer is for bodies alone; nil if it is for both
	Resume Resume    // or the number of the byte to go on with

	// Line makes of a line of a head what can be shown where it goes, a terminal say; nil leaves it as it is.
	Line func(line string) string

	offset  int64   // what is asked for
	wrote   bool    // something was written
	version version // of what earlier attempts have written
	foreign bool    // the last one has written an answer that is no part of the file
}

// begin finds out from where to ask.
func (t *Target) begin() error {
	if t.Resume != FromSize {
		t.offset = int64(t.Resume)
		return nil
	}
	if t.foreign {
		return nil // from the same byte again
	}
	info, err := os.Stat(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.offset = 0
	case err != nil:
		return errorf(Write, "cannot go on with %s: %w", t.Path, reason(err))
	default:
		t.offset = info.Size()
	}
	return nil
}

// open makes the target ready for the answer's bytes.
func (t *Target) open(offset int64) (io.WriteCloser, error) {
	if t.Path == "" {
		return nopCloser{t.Writer}, nil
	}
	f, err := os.OpenFile(t.Path, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, errorf(Write, "cannot write %s: %w", t.Path, reason(err))
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() { // neither is for a device or a pipe
		if info.Size() < offset {
			f.Close()
			return nil, errorf(Range, "%s has only %d bytes: it cannot go on from %d; -C - goes on where it ends", t.Path, info.Size(), offset)
		}
		if err = f.Truncate(offset); err == nil {
			_, err = f.Seek(offset, io.SeekStart)
		}
	}
	if err != nil {
		f.Close()
		return nil, errorf(Write, "cannot write %s: %w", t.Path, reason(err))
	}
	return f, nil
}

// begun remembers which version of a file is being written: where an attempt goes on, that of those before.
func (t *Target) begun(resp *http.Response) {
	t.foreign = resp.StatusCode >= 300
	if v := versionOf(resp.Header); t.offset == 0 || t.version == (version{}) {
		t.version = v
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// deliver brings an answer to its target.
func (c *Client) deliver(resp *http.Response, to *Target, heads []byte) error {
	offset, complete, err := resumption(resp, to)
	switch {
	case complete: // whatever the status
		return nil
	case c.Fail && resp.StatusCode >= 400:
		return errorf(Status, "the server answered %s", statusLine(resp))
	case err != nil:
		return err
	}
	w, err := to.open(offset)
	if err != nil {
		return err
	}
	to.begun(resp)
	err = c.write(resp, to, w, heads)
	if closeErr := w.Close(); err == nil && closeErr != nil {
		err = errorf(Write, "cannot write %s: %w", to.Path, reason(closeErr))
	}
	var e *Error
	if errors.As(err, &e) && (e.Code != Write || to.wrote) && to.Path != "" && !c.Include && !c.Compressed {
		if info, statErr := os.Stat(to.Path); statErr == nil && info.Mode().IsRegular() {
			err = &Error{e.Code, fmt.Errorf("%w; %s has the %d bytes that came, and -C - goes on from there", e.Err, to.Path, info.Size())}
		}
	}
	return err
}

// resumption checks that an answer goes on where the target ends (RFC 9110 §14).
// A target that has all of it is complete.
func resumption(resp *http.Response, to *Target) (offset int64, complete bool, err error) {
	if to.offset == 0 {
		return 0, false, nil
	}
	if resp.StatusCode < 300 && to.version.other(versionOf(resp.Header)) {
		return 0, false, errorf(Range, "it has changed at the server since %s was begun; leave out -C to begin anew", name(to))
	}
	where := resp.Header.Get("Content-Range")
	switch resp.StatusCode {
	case http.StatusPartialContent:
		first, _, ok := strings.Cut(strings.TrimPrefix(where, "bytes "), "-")
		if n, err := strconv.ParseInt(first, 10, 64); !ok || err != nil || n != to.offset {
			return 0, false, errorf(Range, "the server sends %q, not what follows byte %d", where, to.offset)
		}
		return to.offset, false, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if where == fmt.Sprintf("bytes */%d", to.offset) {
			return to.offset, true, nil
		}
		return 0, false, errorf(Range, "there is nothing after byte %d (%s): %s is not the beginning of what is there now", to.offset, where, name(to))
	}
	if resp.StatusCode >= 400 {
		return 0, false, errorf(Status, "the server answered %s", statusLine(resp))
	}
	return 0, false, errorf(Range, "the server answered %s and does not go on from byte %d; leave out -C to begin anew", statusLine(resp), to.offset)
}

func name(to *Target) string {
	if to.Path == "" {
		return "what you have"
	}
	return to.Path
}

// write writes heads and the body.
func (c *Client) write(resp *http.Response, to *Target, w io.Writer, heads []byte) error {
	out := &targetWriter{w, to}
	if c.Include {
		heads = appendHead(heads, resp)
	}
	if to.Line != nil {
		lines := strings.Split(string(heads), "\r\n")
		for i, line := range lines {
			lines[i] = to.Line(line)
		}
		heads = []byte(strings.Join(lines, "\r\n"))
	}
	if len(heads) > 0 {
		above := out
		if to.Path == "" && to.Head != nil {
			above = &targetWriter{to.Head, to}
		}
		if _, err := above.Write(heads); err != nil {
			return err
		}
	}
	in := &answerBody{in: resp.Body, progress: c.Progress}
	if c.Progress != nil && resp.Request.Method != http.MethodHead {
		c.Progress.Expect(resp.ContentLength)
	}
	plain, err := c.decode(resp, in)
	if err == nil {
		_, err = io.CopyBuffer(out, struct{ io.Reader }{plain}, make([]byte, 128<<10))
	}
	var written *Error
	switch {
	case errors.As(err, &written):
	case in.err != nil: // it did not come whole, whatever the decoder makes of it
		return shortBody(resp, in)
	case err != nil:
		return errorf(Encoding, "the %s in the answer is damaged: %w", resp.Header.Get("Content-Encoding"), err)
	case resp.ContentLength > in.n && resp.Request.Method != http.MethodHead && resp.StatusCode != http.StatusNotModified:
		return shortBody(resp, in)
	}
	if err == nil && len(resp.Trailer) > 0 {
		c.traceHead("<", "(trailers)", resp.Trailer)
	}
	return err
}

// shortBody says how much of a body came.
func shortBody(resp *http.Response, in *answerBody) error {
	e := classify(in.err)
	if in.err == nil || errors.Is(in.err, io.ErrUnexpectedEOF) {
		e = errorf(Partial, "the connection ended")
	}
	if resp.ContentLength < 0 {
		return &Error{e.Code, fmt.Errorf("the answer was cut off after %d bytes: %w", in.n, e.Err)}
	}
	return &Error{e.Code, fmt.Errorf("only %d of %d bytes came: %w", in.n, resp.ContentLength, e.Err)}
}

// targetWriter makes errors of writing known as such.
type targetWriter struct {
	w  io.Writer
	to *Target
}

func (t *targetWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.to.wrote = t.to.wrote || n > 0
	if err != nil {
		what := t.to.Path
		if what == "" {
			what = "the output"
		}
		err = errorf(Write, "cannot write %s: %w", what, reason(err))
	}
	return n, err
}

// answerBody counts a body and remembers what it failed with.
type answerBody struct {
	in       io.Reader
	progress Progress
	n        int64
	err      error
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.n += int64(n)
	if b.progress != nil && n > 0 {
		b.progress.Add(n)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// decode unpacks a body that we asked to be packed.
func (c *Client) decode(resp *http.Response, in io.Reader) (io.Reader, error) {
	coding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	if !c.Compressed || resp.Request.Method == http.MethodHead || resp.ContentLength == 0 {
		return in, nil
	}
	switch coding {
	case "", "identity":
		return in, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(in)
	case "deflate":
		return zlib.NewReader(in)
	}
	return nil, errorf(Encoding, "the answer is encoded as %q, which was not asked for", coding)
}

// reason returns what is wrong without the call and the path that it is wrong with.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
