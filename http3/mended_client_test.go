package http3

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// A server that answers early requests with 425 and ends the session each time does not make a
// Transport go on for ever: the second time the request waits for the handshake.
func TestTooEarlyForEver(t *testing.T) {
	var early atomic.Int32
	var gate atomic.Pointer[chan struct{}] // the server's handshake waits for it
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		switch {
		case !st.q.Early():
			answer(st, "200", "")
		case early.Add(1) > 5:
			answer(st, "500", "")
		default:
			st.s.GoAway() // the next attempt is on a session of its own
			answer(st, "425", "")
		}
	}, func(o *quic.ListenOptions) {
		o.ClientHelloHandler = func(context.Context, *quic.ServerSession, quic.ClientHello) (*securecontext.Context, error) {
			if wait := gate.Load(); wait != nil {
				<-*wait
			}
			return nil, nil
		}
	})
	cache := &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 1)}
	tr.TLSClientConfig.ClientSessionCache = cache
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	<-cache.came
	tr.CloseIdleConnections()
	<-s.session(0).q.Closed()
	wait := make(chan struct{}, 10)
	gate.Store(&wait)
	r := newRequest(t, "GET", s.url, nil)
	again := false
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) {
			if again {
				<-cache.came
				eventually(t, func() bool {
					tr.mu.Lock()
					defer tr.mu.Unlock()
					return len(tr.conns) == 0
				})
			}
			again = true
		},
		WroteRequest: func(httptrace.WroteRequestInfo) { gate.Store(nil); wait <- struct{}{} },
	}))
	resp, _ := fetch(t, tr, r)
	if resp.StatusCode != http.StatusOK || early.Load() != 1 {
		t.Errorf("status %d after %d early requests", resp.StatusCode, early.Load())
	}
}
