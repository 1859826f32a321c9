package http3

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"testing"
)

// echo answers a CONNECT and then says in capitals what it hears, line by line.
func echo(st *Stream) {
	h, err := st.Headers()
	if err != nil {
		return
	}
	_ = st.SubmitInitialHeaders(Headers{
		{Name: ":status", Value: "200"}, {Name: "x-target", Value: h.Get(":authority") + h.Get(":path") + " " + h.Get(":protocol")},
	}, HeaderOptions{})
	in := bufio.NewReader(st)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			_ = st.CloseWrite()
			return
		}
		_, _ = io.WriteString(st, "<"+line)
	}
}

// Both kinds of CONNECT are full duplex: by the request's body as a pipe, and by the stream.
func TestTransportConnect(t *testing.T) {
	s, tr := newRawServer(t, Options{ExtendedConnect: true}, echo)
	for _, c := range []struct{ protocol, target string }{
		{"", "example.com:80 "},
		{"websocket", "example.com:80/chat websocket"},
	} {
		for _, pipe := range []bool{true, false} {
			r := newRequest(t, "CONNECT", s.url+"/chat", nil)
			r.Host = "example.com:80"
			if c.protocol != "" {
				r.Header[":protocol"] = []string{c.protocol}
			}
			var w io.WriteCloser
			if pipe {
				r.Body, w = io.Pipe()
			}
			resp, err := tr.RoundTrip(r)
			must(t, err)
			if got := resp.Header.Get("X-Target"); got != c.target {
				t.Errorf("target %q, want %q", got, c.target)
			}
			st, ok := StreamOfResponse(resp)
			if !ok {
				t.Fatal("no stream")
			}
			end := st.CloseWrite
			out := io.Writer(st)
			if pipe {
				out, end = w, w.Close
			}
			in := bufio.NewReader(resp.Body)
			for _, line := range []string{"one\n", "two\n"} {
				write(t, out, line)
				if got, err := in.ReadString('\n'); got != "<"+line || err != nil {
					t.Fatalf("%q %v", got, err)
				}
			}
			must(t, end())
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			must(t, resp.Body.Close())
		}
	}
}

// A CONNECT with http.NoBody has nothing to say, and one whose response is closed is over.
func TestTransportConnectEnds(t *testing.T) {
	cut := make(chan *Stream, 1)
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		if h.Get("x-wait") != "" {
			_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
			cut <- st
			return
		}
		body, _ := io.ReadAll(st)
		answer(st, "200", "over"+string(body))
	})
	r := newRequest(t, "CONNECT", s.url, nil)
	r.Body = http.NoBody
	if _, body := fetch(t, tr, r); body != "over" {
		t.Errorf("%q", body)
	}
	r = newRequest(t, "CONNECT", s.url, nil)
	r.Header.Set("X-Wait", "1")
	resp, err := tr.RoundTrip(r)
	must(t, err)
	must(t, resp.Body.Close())
	wantCut(t, <-cut, RequestCancelled)
}

// A proxy that ends its side at once does not leave the other one without an owner: it is over where there is no tunnel, and
// ends with the response's body where there is one, unless the program has ended it before.
func TestTransportConnectHalfOver(t *testing.T) {
	type end struct {
		said string
		err  error
	}
	ends := make(chan end, 1)
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		answer(st, h.Get("x-status"), "")
		b, err := io.ReadAll(st)
		ends <- end{string(b), err}
	})
	for _, c := range []struct {
		status string
		says   string
		want   error
	}{
		{"403", "", &Error{ErrorCode: NoError, Remote: true}},
		{"200", "", &Error{ErrorCode: RequestCancelled, Remote: true}},
		{"200", "hello", nil},
	} {
		r := newRequest(t, "CONNECT", s.url, nil)
		r.Host = "example.com:80"
		r.Header.Set("X-Status", c.status)
		resp, err := tr.RoundTrip(r)
		must(t, err)
		st, ok := StreamOfResponse(resp)
		if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
			t.Errorf("%s: %q, %v", c.status, b, err)
		}
		if c.says != "" {
			if !ok {
				t.Fatal("no stream")
			}
			write(t, st, c.says)
			must(t, st.CloseWrite())
		}
		must(t, resp.Body.Close())
		if got := <-ends; got.said != c.says || !errors.Is(got.err, c.want) {
			t.Errorf("%s: the proxy hears %q, %v", c.status, got.said, got.err)
		}
	}
}

// A server that does not take extended CONNECT is not sent one (RFC 9114 §7.2.4.2, §9).
func TestTransportExtendedConnectRefused(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) { t.Error("a request came") })
	body := newBody(&failing{io.ErrUnexpectedEOF})
	r := newRequest(t, "CONNECT", s.url, body)
	r.Header[":protocol"] = []string{"websocket"}
	_, err := tr.RoundTrip(r)
	wantError(t, err, "the server does not support extended CONNECT")
	<-body.closed
}

// Only an open response of a Transport has a stream.
func TestStreamOfResponse(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		answer(st, "200", h.Get("x-body"))
	})
	if _, ok := StreamOfResponse(&http.Response{Body: http.NoBody}); ok {
		t.Error("of no response of ours")
	}
	for _, cancel := range []chan struct{}{nil, make(chan struct{})} {
		for _, body := range []string{"", "x"} {
			r := newRequest(t, "GET", s.url, nil)
			//lint:ignore SA1019 old programs use it
			r.Cancel = cancel
			r.Header.Set("X-Body", body)
			resp, err := tr.RoundTrip(r)
			must(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			if st, ok := StreamOfResponse(resp); ok && st.Session().QUIC().Client() == nil || !ok && body != "" {
				t.Errorf("body %q: %v", body, ok)
			}
			must(t, resp.Body.Close())
		}
	}
}
