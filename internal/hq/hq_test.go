package hq

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzRequest: a request is a line, read the same in whatever pieces it comes and never past its limit.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /index.html\r\n"))
	f.Add([]byte("GET /a b\nGET /c\n"))
	f.Add([]byte("GET /without-an-end"))
	f.Add([]byte("get /\r\n"))
	f.Add(append([]byte("GET /"), bytes.Repeat([]byte("x"), maxLine)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		path, err := requested(bytes.NewReader(b))
		again, againErr := requested(iotest.OneByteReader(bytes.NewReader(b)))
		if path != again || (err == nil) != (againErr == nil) {
			t.Fatalf("%q is %q, %v; byte by byte %q, %v", b, path, err, again, againErr)
		}
		line, _, _ := bytes.Cut(b[:min(len(b), maxLine)], []byte("\n"))
		if is := bytes.HasPrefix(line, []byte("GET ")); is != (err == nil) || err != nil && path != "" {
			t.Fatalf("%q is %q, %v", b, path, err)
		}
		if err == nil && path != strings.TrimRight(string(line[4:]), "\r") {
			t.Fatalf("%q asks for %q", b, path)
		}
		broken := errors.New("broken")
		if _, err := requested(iotest.ErrReader(broken)); !errors.Is(err, broken) {
			t.Fatalf("a stream that is broken: %v", err)
		}
	})
}
