package http3

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// unknownCodes mean no more than H3_NO_ERROR (RFC 9114 §8): one that nobody has defined, a reserved one
// (§8.1), and the largest that there is.
var unknownCodes = []ErrorCode{0x4242, 0x21 + 0x1f*1000, 1<<62 - 1}

// RFC 9114 §8: a session that the peer ends with a code that is unknown ends as with H3_NO_ERROR.
func TestUnknownCodesOfSessions(t *testing.T) {
	for name, end := range map[string]func(*testing.T, ErrorCode) string{"server": endOfServer, "client": endOfClient} {
		want := end(t, NoError)
		for _, code := range unknownCodes {
			if got := end(t, code); got != want {
				t.Errorf("%s: with %v: %s, want as with H3_NO_ERROR: %s", name, code, got, want)
			}
		}
		if got := end(t, InternalError); got == want {
			t.Errorf("%s: with H3_INTERNAL_ERROR too: %s", name, got)
		}
	}
}

// endOfClient tells what becomes of a response that a client has not read when its server closes the
// session, and of the client.
func endOfClient(t *testing.T, code ErrorCode) string {
	a := hostileServer(t, 10)
	failed := a.failures()
	st, err := a.victim.OpenStream(a.ctx, StreamOptions{})
	must(t, err)
	must(t, st.SubmitInitialHeaders(block(getFields...), HeaderOptions{Terminal: true}))
	for a.message == nil {
		q, err := a.q.AcceptStream(a.ctx)
		must(t, err)
		if q.Bidirectional() {
			a.message = q
		}
	}
	whole(head200, data("ok"))(a)
	return a.endsWith(code, failed, a.message, st)
}

// endOfServer tells what becomes of a request that a server has not read when its client closes the
// session, and of the server.
func endOfServer(t *testing.T, code ErrorCode) string {
	a := rawClient(t, Options{}, quic.ConnectOptions{})
	failed := a.failures()
	whole(get(), data("ok"))(a)
	st, err := a.victim.AcceptStream(a.ctx)
	must(t, err)
	return a.endsWith(code, failed, a.message, st)
}

// failures counts what the victim's Error hook is told.
func (a *attacker) failures() *atomic.Int32 {
	n := new(atomic.Int32)
	h := a.victim.q.Hooks()
	h.Error = func(error) { n.Add(1) }
	a.victim.q.SetHooks(h)
	return n
}

// endsWith closes the session when the victim has all of a message, and tells what the victim sees.
func (a *attacker) endsWith(code ErrorCode, failed *atomic.Int32, sent *quic.Stream, st *Stream) string {
	a.Helper()
	eventually(a, func() bool { return sent.Buffered() == 0 })
	down := make(chan error, 1)
	go func() { down <- a.victim.Shutdown(a.ctx) }()
	eventually(a, a.victim.q.Closing)
	must(a, a.q.CloseWithError(uint64(code), ""))
	<-a.victim.q.Closed()
	err := <-down
	h, unread := st.Headers()
	b, broken := io.ReadAll(st)
	ended := a.victim.Err()
	if want := (&Error{ErrorCode: code, Remote: true, Session: true}); !isThe(ended, want) {
		a.Errorf("the session ends with %v, want %v", ended, want)
	}
	return fmt.Sprintf("Shutdown fails: %t, the Error hook is called %d times, %d fields and %q are read, fails: %t, %t",
		err != nil, failed.Load(), len(h), b, unread != nil, broken != nil)
}

func isThe(err error, want *Error) bool {
	e, ok := err.(*Error)
	return ok && want.Is(e)
}

// RFC 9114 §8, for streams that the peer ends, of which the session goes on.
func TestUnknownCodesOfStreams(t *testing.T) {
	for name, cut := range map[string]func(*quic.Stream, ErrorCode){
		"reset": func(q *quic.Stream, code ErrorCode) { q.Reset(uint64(code)) },
		"stop":  func(q *quic.Stream, code ErrorCode) { q.Stop(uint64(code)) },
	} {
		want := streamEnds(t, cut, NoError)
		for _, code := range unknownCodes {
			if got := streamEnds(t, cut, code); got != want {
				t.Errorf("%s with %v: %s, want as with H3_NO_ERROR: %s", name, code, got, want)
			}
		}
	}
}

// streamEnds tells what becomes of a request whose server cuts its stream off and would answer it.
func streamEnds(t *testing.T, cut func(*quic.Stream, ErrorCode), code ErrorCode) string {
	t.Helper()
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		if _, err := st.Headers(); err != nil {
			return
		}
		cut(st.QUIC(), code)
		_ = st.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{})
		_, _ = io.WriteString(st, "ok")
		_ = st.CloseWrite()
	})
	body, status := []byte(nil), 0
	resp, err := tr.RoundTrip(newRequest(t, "POST", s.url, newBody(strings.NewReader(strings.Repeat("x", 1000)))))
	if err == nil {
		status = resp.StatusCode
		body, err = io.ReadAll(resp.Body)
	}
	if err != nil && !isCut(err, code) {
		t.Errorf("the response fails with %v, want %v", err, code)
	}
	return fmt.Sprintf("status %d, %q, fails: %t, the session is over: %t, there were %d sessions",
		status, body, err != nil, s.session(0).Err() != nil, s.count())
}
