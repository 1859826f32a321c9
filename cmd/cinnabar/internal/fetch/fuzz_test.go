package fetch

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// oracle is a server that answers as it is told, and looks at what it is asked.
type oracle struct {
	*testing.T
	b     []byte
	asked int
	left  bool // another place was asked: nothing secret goes anywhere any more
	again bool // the next request begins anew
}

const (
	fuzzOrigin = "a.example"
	password   = "kept-to-itself"
)

var basic = base64.StdEncoding.EncodeToString([]byte("me:" + password))

// RoundTrip takes an answer from the fuzzer's input: a status, fields up to an empty line, and a body, each
// with a length before it.
func (o *oracle) RoundTrip(r *http.Request) (*http.Response, error) {
	o.asked++
	home := strings.EqualFold(r.URL.Hostname(), fuzzOrigin) && (r.URL.Port() == "" || r.URL.Port() == "443")
	if o.left = o.left && !o.again || !home; r.URL.Scheme != "https" || r.URL.Host == "" || r.URL.User != nil {
		o.Fatalf("%s is asked", r.URL)
	}
	o.again = false
	if secret := r.Header.Get("Cookie") == "k="+password || strings.HasSuffix(r.Header.Get("Authorization"), basic); o.left && secret {
		o.Fatalf("%s is told %v", r.URL, r.Header)
	}
	status := int(o.byte())
	statuses := []int{200, 206, 301, 302, 303, 307, 308, 304, 416, 429, 503, 404}
	if status < 128 {
		status = statuses[status%len(statuses)]
	} else {
		status += 72
	}
	h := http.Header{}
	for line := range strings.SplitSeq(string(o.take()), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(name, value)
		}
	}
	body := string(o.take())
	resp := &http.Response{StatusCode: status, ProtoMajor: 3, Header: h, Request: r, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}
	if h.Get("Cut") != "" {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), cut{}))
	} else if n := len(body); n%2 == 0 {
		resp.ContentLength = int64(n)
	}
	return resp, nil
}

func (o *oracle) byte() (v byte) {
	if len(o.b) > 0 {
		v, o.b = o.b[0], o.b[1:]
	}
	return v
}

func (o *oracle) take() []byte {
	n := min(int(o.byte()), len(o.b))
	v := o.b[:n]
	o.b = o.b[n:]
	return v
}

// FuzzAnswer: whatever a server answers, the client asks no more often than it may and only by https, shows
// its password to nobody else, and writes to its file alone, of which it keeps what was there if it goes on.
func FuzzAnswer(f *testing.F) {
	answer := func(status byte, fields, body string) string {
		return string([]byte{status, byte(len(fields))}) + fields + string(byte(len(body))) + body
	}
	f.Add(answer(0, "content-encoding:gzip", "\x1f\x8b\x08"), true)
	f.Add(answer(1, "Content-Range:bytes 10-12/13", "abc"), true)
	f.Add(answer(8, "Content-Range:bytes */10", ""), true)
	f.Add(answer(2, "Location://b.example/x", "moved")+answer(3, "Location:https://A.example:443/", "")+answer(0, "", "here"), false)
	f.Add(answer(5, "Location:http://a.example/", ""), false)
	f.Add(answer(5, "Location:https://u:p@b.example/%zz", "")+answer(6, "Location:/", ""), false)
	f.Add(answer(9, "Retry-After:10", "later")+answer(10, "Retry-After:-1", "")+answer(0, "Cut:1", "abc"), false)
	f.Add(answer(255, "Trailer:x\nContent-Length:5", "12345"), true)
	dir := f.TempDir()
	file := filepath.Join(dir, "file")
	f.Fuzz(func(t *testing.T, answers string, resume bool) {
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.WriteFile(file, []byte(digits), 0o666))
		o := &oracle{T: t, b: []byte(answers)}
		c := &Client{
			Transport: o, Follow: true, MaxRedirects: 3, Retries: 2, Fail: len(answers)%3 == 0, Compressed: len(answers)%5 == 0,
			Request: Request{User: "me:" + password, Fields: []Field{{Name: "Cookie", Value: "k=" + password}}, Agent: "test"},
			Wait: func(_ context.Context, d time.Duration) error {
				if o.again = true; d < 0 || d > time.Hour {
					t.Fatalf("it waits for %v", d)
				}
				return nil
			},
			Trace: func(line string) {
				if strings.Contains(line, basic) {
					t.Fatalf("the password is shown: %q", line)
				}
			},
		}
		to := &Target{Path: file}
		if resume {
			to.Resume = FromSize
		}
		err := c.Fetch(t.Context(), &url.URL{Scheme: "https", Host: fuzzOrigin, Path: "/x"}, to)
		var e *Error
		if o.asked > 4*3 || err != nil && (!errors.As(err, &e) || e.Code == 0) {
			t.Fatalf("%d requests, %#v", o.asked, err)
		}
		b, readErr := os.ReadFile(file)
		must(readErr)
		if resume && !strings.HasPrefix(string(b), digits) {
			t.Fatalf("what was there has become %q", b)
		}
		entries, readErr := os.ReadDir(dir)
		must(readErr)
		if len(entries) != 1 {
			t.Fatalf("%v are there", entries)
		}
	})
}
