package http3

import (
	"errors"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A client that has us reset its requests, because they are malformed, pays for that as for those that
// it takes back itself.
func TestMalformedCosts(t *testing.T) {
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
