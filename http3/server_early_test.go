package http3

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// H-19: in early data safe methods are served, and others are answered with 425 unless the program
// says otherwise (H-19, RFC 8470 §5.2, RFC 9114 §10.9, RFC 9001 §9.2).
func TestH19EarlyData(t *testing.T) {
	beset(t, floodBound)
	synctest.Test(t, func(t *testing.T) {
		served := make(chan string, 10)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			served <- r.URL.Path
			fmt.Fprint(w, r.Method, " ", r.TLS.HandshakeComplete, r.TLS.Version, r.TLS.NegotiatedProtocol)
		})
		s.AllowEarly = func(r *http.Request) bool {
			if r.URL.Path == "/panic" {
				panic(http.ErrAbortHandler)
			}
			return r.URL.Path == "/again"
		}
		m := newMemNet(t, s)
		var mu sync.Mutex
		var ticket, params []byte
		known := make(chan struct{})
		first := m.dial(Options{}, quic.ConnectOptions{Hooks: quic.SessionHooks{SessionTicket: func(a, b []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if ticket == nil {
				ticket, params = a, b
				close(known)
			}
			return nil
		}}})
		if _, body := first.ask(requestBlock("POST", "/")); body != "POST true 772h3" {
			t.Errorf("%q", body)
		}
		<-known
		first.QUIC().Socket().Destroy(nil)

		socket, err := quic.NewSocket(m.at(memClient))
		must(t, err)
		<-served
		o := m.options(quic.ConnectOptions{SessionTicket: ticket, RemoteTransportParams: params})
		o.TLS.VerifyConnection = func(tls.ConnectionState) error { // the client's handshake waits for the server's handlers
			if a, b := <-served, <-served; a+b != "//again" && a+b != "/again/" {
				t.Errorf("served early: %s, %s", a, b)
			}
			return nil
		}
		q, err := socket.Connect(t.Context(), o)
		must(t, err)
		defer socket.Destroy(nil)
		c := rawOn(t, q, Options{})
		var streams []*Stream
		for _, h := range []Headers{requestBlock("GET", "/"), requestBlock("POST", "/"), requestBlock("DELETE", "/panic"), requestBlock("POST", "/again")} {
			st, err := c.TryOpenStream(StreamOptions{})
			must(t, err)
			must(t, st.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}))
			streams = append(streams, st)
		}
		h, body := response(t, streams[0])
		wantStatus(t, h, "200")
		if body != "GET false 772h3" {
			t.Errorf("%q", body)
		}
		h, _ = response(t, streams[1])
		wantStatus(t, h, "425")
		if _, body = response(t, streams[3]); body != "POST false 772h3" {
			t.Errorf("%q", body)
		}
		if _, err := streams[2].Headers(); err == nil {
			t.Error("a panic in AllowEarly is answered")
		}
		must(t, q.Handshake(t.Context()))
		if _, body = c.ask(requestBlock("POST", "/")); body != "POST true 772h3" {
			t.Errorf("%q", body)
		}
	})
}
