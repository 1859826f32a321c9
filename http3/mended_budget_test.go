package http3

import (
	"errors"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A client that has us reset its requests, because they are malformed, pays for that as for those that
// it takes back itself.
func malformedCosts(t *testing.T) {
	a := rawClient(t, Options{Hooks: SessionHooks{Stream: answerWithHooks}}, quic.ConnectOptions{})
	bad := fields("x", "y")
	for range 2 * budgetBurst {
		st := a.open()
		if st == nil {
			break
		}
		_, _ = st.End(bad)
	}
	eventually(t, func() bool { return a.victim.Err() != nil || a.victim.hasCome(2*budgetBurst) })
	if err := a.victim.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
}

// hasCome reports whether so many requests have come.
func (s *Session) hasCome(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next >= 4*n
}

// A client that goes on with requests after GOAWAY pays for them.
func requestsAfterGoAwayCost(t *testing.T) {
	a := rawClient(t, Options{Hooks: SessionHooks{Stream: answerWithHooks}}, quic.ConnectOptions{})
	first := a.open() // keeps the session
	_, _ = first.Write(get())
	eventually(t, func() bool { return a.victim.hasCome(1) })
	a.victim.GoAway()
	n := 0
	for ; n < 2*budgetBurst; n++ {
		st := a.open()
		if st == nil {
			break
		}
		_, _ = st.End(get())
		_, _ = st.Read(make([]byte, 1)) // it is rejected, or the session is over
	}
	eventually(t, func() bool { return a.victim.Err() != nil || n == 2*budgetBurst })
	if err := a.victim.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
}
