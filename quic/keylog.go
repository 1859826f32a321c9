package quic

import (
	"crypto/tls"
	"fmt"
	"io"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// keyLog is the tls.Config.KeyLogWriter of one session: what TLS writes there is kept
// for the KeyLog hook, and goes on to the program's own writer if it has one. TLS has a
// lock for all sessions of the process while it writes, so that the hook must wait.
type keyLog struct {
	r    *tlsRunner
	user io.Writer // may be nil
}

// Write takes a line. It is called on the engine's goroutine while the one that feeds
// the engine waits for it.
func (k keyLog) Write(line []byte) (int, error) {
	k.r.keys = append(k.r.keys, append([]byte(nil), line...))
	if k.user == nil {
		return len(line), nil
	}
	return k.user.Write(line)
}

// logKeys puts a session's own key log into its own configuration.
func (r *tlsRunner) logKeys(c *tls.Config) { c.KeyLogWriter = keyLog{r, c.KeyLogWriter} }

// wantKeys reports whether a hook is told, or may yet be, of the secrets of a server's
// session that is about to begin its handshake.
func (s *Session) wantKeys() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.handling || s.hooks != nil && s.hooks.KeyLog != nil
}

// hearHello remembers the number that the lines of a key log name a session by: the
// client's random bytes, which stand behind the message's header of four bytes and
// a version of two (RFC 8446 §4.1.2).
func (r *tlsRunner) hearHello(hello []byte) {
	const at = 4 + 2
	if len(hello) >= at+len(r.random) {
		copy(r.random[:], hello[at:])
	}
}

// logEarly adds the secret of early data to the key log, which TLS leaves out.
func (r *tlsRunner) logEarly(e *transport.TLSEvent) {
	from := transport.TLSWriteSecret
	if r.s.server != nil {
		from = transport.TLSReadSecret
	}
	if _, ok := r.config.KeyLogWriter.(keyLog); ok && e.Level == transport.LevelEarly && e.Kind == from {
		r.keys = append(r.keys, fmt.Appendf(nil, "CLIENT_EARLY_TRAFFIC_SECRET %x %x\n", r.random, e.Data))
	}
}

// tellKeys gives the lines that have come to the KeyLog hook. It is called under the
// session's lock.
func (s *Session) tellKeys(lines [][]byte) {
	if len(lines) == 0 || s.err != nil {
		return
	}
	s.notify(true, func(h *SessionHooks) error {
		if h.KeyLog == nil {
			return nil
		}
		for _, line := range lines {
			if err := h.KeyLog(line); err != nil {
				return err
			}
		}
		return nil
	})
}
