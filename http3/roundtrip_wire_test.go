package http3

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Informational responses go to the trace, one after the other, before the final one.
func TestRoundTripInformational(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		for _, link := range []string{"</a>", "</b>"} {
			_ = st.SubmitInformationalHeaders(Headers{{Name: ":status", Value: "103"}, {Name: "link", Value: link}})
		}
		answer(st, "200", "done")
	})
	var got []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		got = append(got, fmt.Sprint(code, h.Get("Link")))
		return nil
	}}
	r := newRequest(t, "GET", s.url, nil)
	if _, body := fetch(t, tr, r.WithContext(httptrace.WithClientTrace(r.Context(), trace))); body != "done" {
		t.Errorf("body %q", body)
	}
	if !slices.Equal(got, []string{"103</a>", "103</b>"}) {
		t.Errorf("got %q", got)
	}

	refusal := errors.New("no hints please")
	trace.Got1xxResponse = func(int, textproto.MIMEHeader) error { return refusal }
	r = newRequest(t, "GET", s.url, nil)
	if _, err := tr.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace))); !errors.Is(err, refusal) {
		t.Errorf("error %v", err)
	}
}

// The body of a request with an expectation waits for a 100, and is not sent after a
// final response that is an error; it then was not read.
func TestRoundTripExpect(t *testing.T) {
	read := make(chan struct{})
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		if h.Get(":path") == "/no" {
			answer(st, "417", "")
			return
		}
		select {
		case <-read:
			t.Error("body read before the 100")
		default:
		}
		_ = st.SubmitInformationalHeaders(Headers{{Name: ":status", Value: "100"}})
		body, _ := io.ReadAll(st)
		answer(st, "200", string(body))
	})
	tr.ExpectContinueTimeout = time.Hour
	var steps []string
	trace := &httptrace.ClientTrace{
		Wait100Continue: func() { steps = append(steps, "wait") },
		Got100Continue:  func() { steps = append(steps, "got") },
		WroteHeaders:    func() { steps = append(steps, "headers") },
	}
	body := newBody(strings.NewReader("hello"))
	body.read = read
	r := newRequest(t, "POST", s.url, body)
	r.Header.Set("Expect", "100-continue")
	if _, got := fetch(t, tr, r.WithContext(httptrace.WithClientTrace(r.Context(), trace))); got != "hello" {
		t.Errorf("body %q", got)
	}
	if !slices.Equal(steps, []string{"headers", "wait", "got"}) {
		t.Errorf("steps %q", steps)
	}

	body = newBody(strings.NewReader("hello"))
	r = newRequest(t, "POST", s.url+"/no", body)
	r.Header.Set("Expect", "100-continue")
	if resp, _ := fetch(t, tr, r); resp.StatusCode != 417 {
		t.Errorf("status %d", resp.StatusCode)
	}
	<-body.closed
	select {
	case <-body.read:
		t.Error("the body was read")
	default:
	}
}

// Trailers go both ways: those of the request as they are when its body has ended (RFC 9114 §4.1).
func TestRoundTripTrailers(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		body, _ := io.ReadAll(st)
		_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}, {Name: "trailer", Value: "X-Sum, X-None"}}, HeaderOptions{})
		_, _ = st.Write(body)
		_ = st.SubmitTrailingHeaders(Headers{
			{Name: "x-sum", Value: h.Get("trailer") + "=" + st.Trailers().Get("x-in")}, {Name: "x-more", Value: "1"}, {Name: "x-more", Value: "2"},
		})
	})
	for _, withBody := range []bool{true, false} {
		r := newRequest(t, "POST", s.url, nil)
		r.Trailer = http.Header{"X-In": nil}
		if withBody {
			pr, pw := io.Pipe()
			r.Body = pr
			go func() {
				_, _ = io.WriteString(pw, "hello")
				r.Trailer.Set("X-In", "late")
				_ = pw.Close()
			}()
		} else {
			r.Trailer.Set("X-In", "late")
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := resp.Trailer["X-Sum"]; !ok || v != nil || len(resp.Trailer) != 2 || resp.Header.Get("Trailer") != "" {
			t.Errorf("announced %v", resp.Trailer)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || withBody != (string(body) == "hello") {
			t.Errorf("body %q, %v", body, err)
		}
		if resp.Trailer.Get("X-Sum") != "X-In=late" || !slices.Equal(resp.Trailer["X-More"], []string{"1", "2"}) {
			t.Errorf("trailers %v", resp.Trailer)
		}
	}
}

// A server that has heard enough answers and stops the upload without an error: the
// response is whole, and the body is closed (RFC 9114 §4.1).
func TestRoundTripStopped(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		answer(st, h.Get("x-status"), "enough")
		st.Stop(NoError)
	})
	for _, status := range []string{"200", "413"} {
		pr, pw := io.Pipe()
		body := newBody(pr)
		go func() {
			for {
				if _, err := pw.Write(make([]byte, 16<<10)); err != nil {
					return
				}
			}
		}()
		r := newRequest(t, "POST", s.url, body)
		r.Header.Set("X-Status", status)
		if resp, got := fetch(t, tr, r); got != "enough" || resp.Status[:3] != status {
			t.Errorf("%s %q", resp.Status, got)
		}
		<-body.closed
	}
}

// A server that answers without a body, and neither reads the request's nor says that it will not, cannot hold it: closing
// the response ends the upload. Until then the rest is wanted (RFC 9114 §4.1), and the response stays whole.
func TestRoundTripUnread(t *testing.T) {
	var mu sync.Mutex
	unread := make(map[string]*Stream)
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		mu.Lock()
		unread[h.Get("x-status")] = st
		mu.Unlock()
		answer(st, h.Get("x-status"), "")
	})
	for _, status := range []string{"204", "200"} {
		for _, reads := range []bool{true, false} {
			body := newBody(endless{})
			r := newRequest(t, "POST", s.url, body)
			r.Header.Set("X-Status", status)
			resp, err := tr.RoundTrip(r)
			must(t, err)
			if reads {
				for range 2 {
					if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("%s: %d, %v", status, n, err)
					}
				}
			}
			x, ok := resp.Body.(*exchange)
			if !ok {
				t.Fatalf("%s: nobody can end the upload", status)
			}
			eventually(t, func() bool { return x.st.q.Unsent() > 0 }) // no credit is left
			select {
			case <-body.closed:
				t.Errorf("%s: the upload has ended by itself", status)
			default:
			}
			must(t, resp.Body.Close())
			closed := func() bool {
				select {
				case <-body.closed:
					return true
				default:
					return false
				}
			}
			eventually(t, closed)
			eventually(t, func() bool {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				return x.c.active == 0
			})
			mu.Lock()
			cut := unread[status]
			mu.Unlock()
			if _, err := io.Copy(io.Discard, cut); !errors.Is(err, &Error{ErrorCode: RequestCancelled, Remote: true}) {
				t.Errorf("%s: the server reads %v", status, err)
			}
		}
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Trailers are there once, however often the end is read.
func TestRoundTripTrailersOnce(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
		_ = st.SubmitTrailingHeaders(Headers{{Name: "x-sum", Value: "1"}})
	})
	resp, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil))
	must(t, err)
	for range 3 {
		if _, err := resp.Body.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
	}
	if got := resp.Trailer["X-Sum"]; !slices.Equal(got, []string{"1"}) {
		t.Errorf("trailers %q", got)
	}
}

// The code that the server sees for a request that is given up, at each of its stages (RFC 9114 §4.1.1).
func TestRoundTripCancelled(t *testing.T) {
	type sight struct {
		st    *Stream
		stage string
	}
	seen := make(chan sight, 8)
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		stage := h.Get("x-stage")
		if stage == "body" || stage == "close" {
			_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
			_, _ = io.WriteString(st, "begin")
		}
		seen <- sight{st, stage}
	})
	reason := errors.New("changed my mind")
	for _, stage := range []string{"headers", "upload", "body", "close", "cancel"} {
		t.Run(stage, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(testContext(t))
			defer cancel(nil)
			r := newRequest(t, "GET", s.url, nil).WithContext(ctx)
			r.Header.Set("X-Stage", stage)
			want := reason
			end := func() { cancel(reason) }
			var body *watchedBody
			if stage == "upload" {
				pr, _ := io.Pipe()
				body = newBody(pr)
				r.Method, r.Body = "POST", body
			}
			if stage == "cancel" {
				c := make(chan struct{})
				//lint:ignore SA1019 old programs use it
				r.Cancel = c
				end, want = func() { close(c) }, errCancelled
			}
			var at sight
			if stage != "body" && stage != "close" {
				go func() {
					at = <-seen
					end()
				}()
				if _, err := tr.RoundTrip(r); err != want {
					t.Errorf("error %v, want %v", err, want)
				}
			} else {
				resp, err := tr.RoundTrip(r)
				must(t, err)
				at = <-seen
				_, err = io.ReadFull(resp.Body, make([]byte, 5))
				must(t, err)
				if stage == "close" {
					end, want = func() { _ = resp.Body.Close() }, http.ErrBodyReadAfterClose
				}
				end()
				if _, err := resp.Body.Read(make([]byte, 1)); err != want {
					t.Errorf("error %v, want %v", err, want)
				}
			}
			wantCut(t, at.st, RequestCancelled)
			if body != nil {
				<-body.closed
			}
		})
	}
}

// wantCut checks that the peer has cut off both sides of a stream with a code.
func wantCut(t testing.TB, st *Stream, code ErrorCode) {
	t.Helper()
	cut := &Error{ErrorCode: code, Remote: true}
	var err error
	for err == nil {
		_, err = st.Write(make([]byte, 1<<10))
		if err != nil && strings.Contains(err.Error(), "have not been sent") {
			err = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
		}
	}
	if !errors.Is(err, cut) {
		t.Errorf("write fails with %v", err)
	}
	if _, err := io.ReadAll(st); err != nil && !errors.Is(err, cut) {
		t.Errorf("read fails with %v", err)
	}
}

// What is asked for compressed by the Transport itself comes decompressed.
func TestRoundTripGzip(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte("hello "), 10_000))
	_ = z.Close()
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		body := packed.String()
		if h.Get(":path") == "/broken" {
			body = "not gzip at all"
		}
		fields := []Field{{Name: "content-encoding", Value: "gzip"}, {Name: "content-length", Value: fmt.Sprint(len(body))}, {Name: "x-asked", Value: h.Get("accept-encoding")}}
		answer(st, "200", body, fields...)
	})
	resp, body := fetch(t, tr, newRequest(t, "GET", s.url, nil))
	if len(body) != 60_000 || !resp.Uncompressed || resp.ContentLength != -1 || resp.Header.Get("Content-Encoding") != "" ||
		resp.Header.Get("Content-Length") != "" || resp.Header.Get("X-Asked") != "gzip" {
		t.Errorf("%d bytes, %+v", len(body), resp)
	}
	r := newRequest(t, "GET", s.url, nil)
	r.Header.Set("Accept-Encoding", "gzip")
	if resp, body := fetch(t, tr, r); body != packed.String() || resp.Uncompressed || resp.ContentLength != int64(packed.Len()) {
		t.Errorf("asked for by the program: %+v", resp)
	}
	resp, err := tr.RoundTrip(newRequest(t, "GET", s.url+"/broken", nil))
	must(t, err)
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, gzip.ErrHeader) {
		t.Errorf("error %v", err)
	}
	_ = resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("after Close: %v", err)
	}
	tr.DisableCompression = true
	if resp, _ := fetch(t, tr, newRequest(t, "GET", s.url, nil)); resp.Header.Get("X-Asked") != "" || resp.Uncompressed {
		t.Errorf("disabled: %+v", resp)
	}
}

// The header block of a request: what is there by itself, what is left out, and cookies
// one by one (RFC 9114 §4.1, §4.2, §4.3).
func TestRoundTripFields(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		_, _ = io.Copy(io.Discard, st) // to the end, which comes without the response
		var b strings.Builder
		for _, f := range h {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
		answer(st, "200", b.String())
	})
	tr.DisableCompression = true
	r := newRequest(t, "POST", s.url+"/a%20b?c=d", nil)
	r.Host = "BÜCHER.example:8443" // as it is looked up: not the xn-- form of another name
	r.Header = http.Header{
		"Connection": {"keep-alive"}, "Keep-Alive": {"5"}, "Proxy-Connection": {"x"}, "Upgrade": {""}, "Transfer-Encoding": {"chunked"},
		"Te": {"gzip, trailers"}, "Cookie": {"a=1; b=2;c=3"}, "Content-Length": {"99"}, "Host": {"evil"}, "X-Ünicode": nil, "X-Twice": {"1", "2"},
	}
	delete(r.Header, "X-Ünicode")
	_, body := fetch(t, tr, r)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	head := []string{":authority: xn--bcher-kva.example:8443", ":method: POST", ":path: /a%20b?c=d", ":scheme: https"}
	if !slices.Equal(lines[:4], head) {
		t.Errorf("begins %q", lines[:4])
	}
	slices.Sort(lines[4:])
	want := []string{"content-length: 0", "cookie: a=1", "cookie: b=2", "cookie: c=3", "te: trailers", "user-agent: " + userAgent, "x-twice: 1", "x-twice: 2"}
	if !slices.Equal(lines[4:], want) {
		t.Errorf("fields %q", lines[4:])
	}
	r = newRequest(t, "GET", s.url, nil)
	r.Header["User-Agent"] = []string{""}
	if _, body := fetch(t, tr, r); strings.Contains(body, "user-agent") || strings.Contains(body, "content-length") {
		t.Errorf("got %q", body)
	}
	r = newRequest(t, "POST", s.url, strings.NewReader("hello"))
	if _, body := fetch(t, tr, r); !strings.Contains(body, "content-length: 5\n") {
		t.Errorf("got %q", body)
	}
}

// A body that is not as long as its ContentLength fails the request, and so does one whose Read fails.
func TestRoundTripBodyLength(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = io.ReadAll(st)
	})
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		body   io.Reader
		length int64
		want   string
	}{
		{strings.NewReader("hello"), 4, "longer than its ContentLength of 4"},
		{strings.NewReader("hello"), 6, "has 5 bytes, its ContentLength is 6"},
		{io.MultiReader(strings.NewReader("hello"), &failing{broken}), -1, "disk on fire"},
	} {
		body := newBody(c.body)
		r := newRequest(t, "POST", s.url, body)
		r.ContentLength = c.length
		_, err := tr.RoundTrip(r)
		wantError(t, err, c.want)
		<-body.closed
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// Headers that do not come in time fail the request, with an error that is a timeout.
func TestRoundTripHeaderTimeout(t *testing.T) {
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = io.ReadAll(st)
		<-hold
	})
	tr.ResponseHeaderTimeout = time.Millisecond
	for _, body := range []string{"", "hello"} {
		_, err := tr.RoundTrip(newRequest(t, "POST", s.url, strings.NewReader(body)))
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		wantError(t, err, "no response headers within 1ms")
	}
}

// A header block over MaxResponseHeaderBytes fails its request and nothing else.
func TestRoundTripHeaderBytes(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		st.out.mu.Lock()
		defer st.out.mu.Unlock()
		_ = st.sendBlock("", Headers{{Name: ":status", Value: "200"}, {Name: "x-big", Value: h.Get("x-size")}}, true) // not asking what the client takes
	})
	tr.MaxResponseHeaderBytes = 1000
	get := func(n int) error {
		r := newRequest(t, "GET", s.url, nil)
		r.Header.Set("X-Size", strings.Repeat("y", n))
		_, err := tr.RoundTrip(r)
		return err
	}
	must(t, get(100))
	var cut *Error
	if err := get(1000); !errors.As(err, &cut) || cut.ErrorCode != ExcessiveLoad || cut.Session {
		t.Errorf("error %v", err)
	}
	must(t, get(100))
	if s.count() != 1 {
		t.Errorf("%d sessions", s.count())
	}
}
