package http3

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// tickets is a session cache that tells when a ticket has come that is good for early data.
type tickets struct {
	tls.ClientSessionCache
	came chan struct{}
}

func (c *tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s == nil {
		return
	}
	if _, state, err := s.ResumptionState(); err == nil && state.EarlyData {
		select {
		case c.came <- struct{}{}:
		default:
		}
	}
}

// register is a ReplayRegister that can refuse every ticket.
type register struct{ refuses atomic.Bool }

func (r *register) Use([]byte, time.Time) bool { return !r.refuses.Load() }

// requestSent reports whether something of a request has left: what was written may wait to be
// sent together with more.
func requestSent(tr *Transport) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for c := range tr.all {
		for _, q := range c.s.q.Streams() {
			if q.Bidirectional() && q.Stats().BytesSent > 0 {
				return true
			}
		}
	}
	return false
}

// A later session resumes: what is safe to repeat goes early, all else waits for the handshake, what
// the server does not want early comes again, and early data that was rejected does, too (RFC 9001 §5.6).
func TestTransportEarlyData(t *testing.T) {
	var reg register
	var tooEarly atomic.Int32
	var gate atomic.Pointer[chan struct{}] // the server's handshake waits for it
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		if h.Get(":path") == "/later" && st.q.Early() {
			tooEarly.Add(1)
			answer(st, "425", "")
			return
		}
		answer(st, "200", "", Field{Name: "x-early", Value: fmt.Sprint(st.q.Early())})
	}, func(o *quic.ListenOptions) {
		o.ReplayRegister = &reg
		o.ClientHelloHandler = func(context.Context, *quic.ServerSession, quic.ClientHello) (*securecontext.Context, error) {
			if wait := gate.Load(); wait != nil {
				<-*wait
			}
			return nil, nil
		}
	})
	cache := &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 1)}
	tr.TLSClientConfig.ClientSessionCache = cache
	send := func(r *http.Request, early bool) string {
		t.Helper()
		gate.Store(nil)
		if early { // or else the handshake could be faster than the request
			wait := make(chan struct{})
			gate.Store(&wait)
			var once sync.Once
			r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				WroteRequest: func(httptrace.WroteRequestInfo) {
					eventually(t, func() bool { return requestSent(tr) })
					once.Do(func() { close(wait) })
				},
			}))
		}
		resp, _ := fetch(t, tr, r)
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		<-cache.came
		if !resp.TLS.HandshakeComplete || resp.TLS.DidResume != (s.count() > 1) {
			t.Errorf("session %d: %+v", s.count(), resp.TLS)
		}
		last := s.session(s.count() - 1)
		closeRested(t, tr)
		<-last.q.Closed()
		return resp.Header.Get("X-Early")
	}
	want := func(what string, goes, taken bool, r *http.Request) {
		t.Helper()
		if got := send(r, goes); got != fmt.Sprint(taken) {
			t.Errorf("%s: early %s", what, got)
		}
	}
	want("first", false, false, newRequest(t, "GET", s.url, nil))
	for _, method := range []string{"GET", "OPTIONS", "TRACE"} {
		want(method, true, true, newRequest(t, method, s.url, nil))
	}
	want("POST", false, false, newRequest(t, "POST", s.url, nil))
	want("DELETE", false, false, newRequest(t, "DELETE", s.url, nil))
	want("GET with a body", false, false, newRequest(t, "GET", s.url, strings.NewReader("x")))
	before := s.count()
	want("too early", true, false, newRequest(t, "GET", s.url+"/later", nil))
	if tooEarly.Load() != 1 || s.count() != before+1 {
		t.Errorf("%d answers of 425, %d sessions", tooEarly.Load(), s.count()-before)
	}
	reg.refuses.Store(true)
	want("rejected", true, false, newRequest(t, "GET", s.url, nil))
	reg.refuses.Store(false)
	tr.QUIC.DisableEarlyData = true
	want("disabled", false, false, newRequest(t, "GET", s.url, nil))
}

// An address that has worked, and gets early data, but does not answer any more is not
// waited for in vain: the request goes to another address.
func TestTransportEarlyDataLost(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) { answer(st, "200", "") })
	cache := &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 1)}
	tr.TLSClientConfig.ClientSessionCache = cache
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	<-cache.came
	closeRested(t, tr)
	<-s.session(0).q.Closed()
	tr.QUIC.HandshakeTimeout = 50 * time.Millisecond
	s.socket.Destroy(nil)
	r := newRequest(t, "GET", s.url, nil)
	_, err := tr.RoundTrip(r)
	wantError(t, err, "is HTTP/3 served on this UDP port?")
	if tr.lastWorked(tr.key(originOf(r), originOf(r))).IsValid() {
		t.Error("the address is remembered")
	}
}
