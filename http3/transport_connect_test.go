package http3

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
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

// In a tunnel there is nothing but DATA: whatever a handler has set, no length, no trailers and no promises go out, which a
// client would end the session for; and a Transport asks for none.
func TestTunnelsHaveOnlyData(t *testing.T) {
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "A")
		w.Header().Set("Content-Length", "2")
		w.Header().Set(http.TrailerPrefix+"B", "b")
		_, _ = io.WriteString(w, r.Host)
		w.Header().Set("A", "a")
		if err := w.(http.Pusher).Push("/pushed", nil); r.Method == http.MethodConnect && err != http.ErrNotSupported {
			t.Errorf("a push in a tunnel: %v", err)
		}
	})
	addr, _ := startServer(t, s, loopback)
	c := dialRaw(t, addr, Options{MaxPushes: 5}, quic.ConnectOptions{}).known()
	st := c.open(block(":method", "CONNECT", ":authority", "b:8"), StreamHooks{})
	h, body := response(t, st)
	wantStatus(t, h, "200")
	if h.Get("content-length") != "" || body != "b:8" || len(st.Trailers()) != 0 || c.Err() != nil {
		t.Errorf("%v, %q, trailers %v, the session: %v", h, body, st.Trailers(), c.Err())
	}
	wantTunnel(t, st.SubmitTrailingHeaders(block("a", "b")))

	tr := &Transport{TLSClientConfig: clientTLS()}
	t.Cleanup(func() { must(t, tr.Close()) })
	r := newRequest(t, "CONNECT", "https://"+addr.String(), http.NoBody)
	r.Host = "example.com"
	resp, text := fetch(t, tr, r)
	if text != "example.com:443" || resp.ContentLength != -1 || len(resp.Trailer) != 0 {
		t.Errorf("%q, %d bytes announced, trailers %v", text, resp.ContentLength, resp.Trailer)
	}
	r.Trailer = http.Header{"A": nil}
	_, err := tr.RoundTrip(r)
	wantError(t, err, "a CONNECT request has no trailers")
}

// A server's own streams, of the Node document's kind, keep to it as well.
func TestStreamTunnels(t *testing.T) {
	p := newPair(t, Options{}, Options{MaxPushes: 5}).settled(t)
	for status, tunnel := range map[string]bool{"200": true, "403": false} {
		st, sv := p.request(t, block(":method", "CONNECT", ":authority", "b:8"))
		must(t, sv.SubmitInitialHeaders(block(":status", status), HeaderOptions{}))
		_, err := sv.PushStream(block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/"), PushOptions{})
		wantTunnel(t, err)
		if err := sv.SubmitTrailingHeaders(block("a", "b")); (err != nil) != tunnel {
			t.Errorf("trailers behind %s: %v", status, err)
		}
		if tunnel {
			must(t, sv.CloseWrite())
		}
		response(t, st)
	}
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

func wantTunnel(t *testing.T, err error) {
	t.Helper()
	if state := (*quic.StateError)(nil); !errors.As(err, &state) || !strings.Contains(state.State, "tunnel") {
		t.Errorf("%v, want that it is a tunnel", err)
	}
}
