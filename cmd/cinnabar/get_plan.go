package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
	"github.com/cinnabar-quic/cinnabar/internal/hostname"
)

// plan is a get command that has been found to make sense, before anything is sent.
type plan struct {
	client   *fetch.Client
	items    []item
	parallel int
	stdout   bool // something goes to standard output
}

func (c *getCommand) plan(a *app) (*plan, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	request, err := c.request(a)
	if err != nil {
		return nil, err
	}
	p := &plan{parallel: c.Parallel, client: &fetch.Client{
		Request: request, Include: c.Include || c.Head, Compressed: c.Compressed, Fail: c.Fail,
		Follow: c.Location, MaxRedirects: c.MaxRedirs, MaxTime: time.Duration(c.MaxTime), Retries: c.Retry,
	}}
	if !c.Fallback {
		p.client.Protocol = "HTTP/3"
	}
	names := make(map[string]bool)
	for i, text := range c.URLs {
		u, err := parseURL(text)
		if err != nil {
			return nil, err
		}
		if c.UploadFile != "" && c.UploadFile != "-" && strings.HasSuffix(u.Path, "/") {
			u = u.JoinPath(filepath.Base(c.UploadFile)) // as curl does
		}
		to, err := c.target(a.stdout, isTerminal(a.stdout), i, u)
		if err != nil {
			return nil, err
		}
		if to.Path == "" {
			p.stdout = true
		} else if names[to.Path] {
			return nil, usagef("two URLs would go to %s; give each a file of its own with -o", to.Path)
		}
		names[to.Path] = true
		p.items = append(p.items, item{u, to})
	}
	if p.stdout {
		p.parallel = 1 // what waits for its turn must not hold up a session
	}
	return p, nil
}

// check refuses options that do not go together.
func (c *getCommand) check() error {
	bodies := 0
	for _, given := range []bool{len(c.Data) > 0, len(c.DataBinary) > 0, c.JSON != "", c.UploadFile != ""} {
		if given {
			bodies++
		}
	}
	switch {
	case bodies > 1:
		return usagef("only one of -d, --data-binary, --json and -T can say what is sent")
	case bodies > 0 && c.Head:
		return usagef("-I asks for header fields only, and sends nothing; leave it out, or use -i")
	case c.Head && c.Request != "" && c.Request != "HEAD":
		return usagef("-I is the method HEAD; leave out -X, or use -i")
	case c.ContinueAt != "" && (c.Include || c.Head || c.Compressed):
		return usagef("-C goes on with a body; it does not go together with -i, -I and --compressed")
	case c.ContinueAt == "-" && !c.RemoteName && len(c.Output) == 0:
		return usagef("-C - goes on with a file; name it with -o or -O")
	case len(c.Output) > len(c.URLs):
		return usagef("there are more -o than URLs")
	case c.RemoteName && len(c.Output) > 0:
		return usagef("-O names all files; leave out -o, or give one -o for each URL")
	case c.Parallel < 1:
		return usagef("--parallel is 1 or more")
	case c.Retry < 0:
		return usagef("--retry is 0 or more")
	case c.dialVersions.check() != nil:
		return c.dialVersions.check()
	case c.User != "" && !strings.Contains(c.User, ":"):
		return usagef("-u wants a name and a password: -u %s:PASSWORD", c.User)
	}
	return nil
}

// parseURL takes what curl would, if it is https.
func parseURL(text string) (*url.URL, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "https://" + text
	}
	u, err := url.Parse(full)
	switch {
	case err == nil && u.Hostname() != "" && u.Port() != "" && !validPort(u.Port(), 1):
		return nil, &codedError{int(fetch.Malformed), fmt.Sprintf("%q is no URL: its port is not from 1 to 65535", text)}
	case err != nil || u.Hostname() == "":
		return nil, &codedError{int(fetch.Malformed), fmt.Sprintf("%q is no URL; write https://HOST/PATH", text)}
	case u.Scheme != "https":
		return nil, &codedError{int(fetch.Unsupported), fmt.Sprintf("%s: HTTP/3 is for https only", u.Redacted())}
	}
	if _, err := hostname.ASCII(u.Hostname()); err != nil {
		return nil, &codedError{int(fetch.Malformed), fmt.Sprintf("%q is no URL: its host is no name: %v", text, err)}
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// target says where the answer of the ith URL goes, if not to standard output.
func (c *getCommand) target(stdout io.Writer, terminal bool, i int, u *url.URL) (*fetch.Target, error) {
	to := &fetch.Target{Writer: stdout}
	switch {
	case c.RemoteName:
		name := path.Base(u.Path)
		if strings.HasSuffix(u.Path, "/") || u.Path == "" || strings.ContainsFunc(name, unicode.IsControl) || !filepath.IsLocal(name) || filepath.Base(name) != name {
			return nil, usagef("%s names no file; give it a name with -o", u.Redacted())
		}
		to.Path = name
	case i < len(c.Output) && c.Output[i] != "-":
		to.Path = c.Output[i]
	case terminal && i >= len(c.Output):
		onTerminal(to)
	}
	switch {
	case c.ContinueAt == "-" && to.Path == "":
		return nil, usagef("-C - goes on with a file; name one for %s with -o", u.Redacted())
	case c.ContinueAt == "-":
		to.Resume = fetch.FromSize
	case c.ContinueAt != "":
		n, err := strconv.ParseInt(c.ContinueAt, 10, 64)
		if err != nil || n < 0 {
			return nil, usagef("-C %s is no offset; write a number of bytes, or - for the size of the file", c.ContinueAt)
		}
		to.Resume = fetch.Resume(n)
	}
	return to, nil
}

// onTerminal has a target show what a terminal can take.
func onTerminal(to *fetch.Target) {
	to.Head, to.Writer, to.Line = to.Writer, &textOnly{w: to.Writer}, printableLine
}

// textOnly keeps a terminal from a body that is no text, as far as its first bytes tell.
type textOnly struct {
	w      io.Writer
	looked bool
}

func (t *textOnly) Write(p []byte) (int, error) {
	if !t.looked && bytes.IndexByte(p, 0) >= 0 {
		return 0, errors.New("this is no text for a terminal; use -o FILE, or -o - to see it all the same")
	}
	t.looked = true
	return t.w.Write(p)
}

// request is what all URLs are asked.
func (c *getCommand) request(a *app) (r fetch.Request, err error) {
	r = fetch.Request{Method: c.Request, User: c.User, Agent: "cinnabar"}
	if c.Head {
		r.Method = "HEAD"
	}
	if c.UserAgent != nil {
		r.Agent = *c.UserAgent
	}
	for _, h := range c.Header {
		f, err := fetch.ParseField(h)
		if err != nil {
			return r, usagef("%v", err)
		}
		r.Fields = append(r.Fields, f)
	}
	r.Body, err = c.body(a)
	if c.JSON != "" {
		r.Fields = append([]fetch.Field{{Name: "Accept", Value: "application/json"}}, r.Fields...)
	}
	return r, err
}

// body is what is sent, nil if nothing is.
func (c *getCommand) body(a *app) (*fetch.Body, error) {
	const form = "application/x-www-form-urlencoded"
	switch {
	case c.UploadFile == "-":
		return fetch.StreamBody(a.stdin), nil
	case c.UploadFile != "":
		b, err := fetch.FileBody(c.UploadFile)
		if err != nil {
			return nil, &codedError{int(fetch.Read), err.Error()}
		}
		return b, nil
	case c.JSON != "":
		data, err := joined(a, []string{c.JSON}, false)
		return fetch.DataBody(data, "application/json"), err
	case len(c.DataBinary) > 0:
		data, err := joined(a, c.DataBinary, false)
		return fetch.DataBody(data, form), err
	case len(c.Data) > 0:
		data, err := joined(a, c.Data, true)
		return fetch.DataBody(data, form), err
	}
	return nil, nil
}

// joined puts pieces of data together, of which some are files.
func joined(a *app, pieces []string, stripLineEnds bool) ([]byte, error) {
	var all [][]byte
	for _, piece := range pieces {
		file, isFile := strings.CutPrefix(piece, "@")
		data := []byte(piece)
		var err error
		switch {
		case file == "-" && isFile:
			data, err = io.ReadAll(a.stdin)
		case isFile:
			data, err = os.ReadFile(file)
		}
		if err != nil {
			return nil, &codedError{int(fetch.Read), fmt.Sprintf("cannot read %s: %v", file, reason(err))}
		}
		if isFile && stripLineEnds {
			data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), nil), []byte("\n"), nil)
		}
		all = append(all, data)
	}
	return bytes.Join(all, []byte("&")), nil
}

// printableLine is a line of a trace, fit for a terminal; unlike printable it is whole.
func printableLine(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, line)
}
