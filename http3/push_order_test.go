package http3

import (
	"io"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// TestPushBeforePromise has a push stream come whole, and its end be known, before the
// promise does: the program gets it all the same (RFC 9114 §4.6 leaves the order open).
func TestPushBeforePromise(t *testing.T) {
	ctx := testContext(t)
	promise := make(chan struct{})
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{
		ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16,
		Handler: func(q *quic.ServerSession) error {
			go pushFirst(t, q, promise)
			return nil
		},
	})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 16})
	must(t, err)
	t.Cleanup(func() { q.Destroy(nil) })
	c, err := NewSession(&q.Session, Options{})
	must(t, err)
	st, err := c.OpenStream(ctx, StreamOptions{})
	must(t, err)
	must(t, st.SubmitInitialHeaders(Headers{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: "/"},
	}, HeaderOptions{Terminal: true}))
	eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		p := c.pushes.known[0]
		return p != nil && p.whole
	})
	close(promise)
	if _, err := st.Headers(); err != nil {
		t.Fatal(err)
	}
	pushed, err := c.AcceptStream(ctx)
	must(t, err)
	body, err := io.ReadAll(pushed)
	if string(body) != "hi" || err != nil || pushed.Promised().Get(":path") != "/" {
		t.Errorf("pushed %q, %v, for %v", body, err, pushed.Promised())
	}
	eventually(t, func() bool { // and then the push is over
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.pushes.low == 1 && len(c.pushes.known) == 0
	})
}

// pushFirst is a server that sends a push, and its promise when it is told to.
func pushFirst(t *testing.T, q *quic.ServerSession, promise <-chan struct{}) {
	ctx := testContext(t)
	send := func(p []byte) {
		st, err := q.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
		if err == nil {
			_, err = st.Write(p)
		}
		if err == nil && p[0] == streamPush {
			err = st.CloseWrite()
		}
		if err != nil {
			t.Errorf("server: %v", err)
		}
	}
	request := acceptRequest(t, q)
	send([]byte{streamControl, 0x04, 0x00})                                            // SETTINGS
	send([]byte{streamPush, 0x00, 0x01, 0x03, 0x00, 0x00, 0xd9, 0x00, 0x02, 'h', 'i'}) // HEADERS :status 200, DATA
	<-promise
	request.Write([]byte{0x05, 0x09, 0x00, 0x00, 0x00, 0xd1, 0xd7, 0x50, 0x01, 'x', 0xc1}) // PUSH_PROMISE GET https://x/
	request.Write([]byte{0x01, 0x03, 0x00, 0x00, 0xd9})
	request.CloseWrite()
}

// acceptRequest returns the first bidirectional stream.
func acceptRequest(t *testing.T, q *quic.ServerSession) *quic.Stream {
	for {
		st, err := q.AcceptStream(testContext(t))
		if err != nil {
			t.Errorf("server: %v", err)
			return nil
		}
		if !st.Unidirectional() {
			return st
		}
	}
}
