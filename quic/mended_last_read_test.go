package quic

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A read that takes the end of a closing session's last stream ends the session, and the
// peer is told at once: no timer of either end has to run out first.
func TestLastReadTellsThePeer(t *testing.T) {
	readAll := func(st *Stream) error {
		b, err := io.ReadAll(st)
		if err == nil && len(b) != 1000 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	tryAll := func(st *Stream) error {
		for total, buf := 0, make([]byte, 300); ; {
			n, err := st.TryRead(buf)
			switch total += n; {
			case err == io.EOF && total == 1000:
				return nil
			case err != nil:
				return err
			case n == 0:
				return io.ErrNoProgress
			}
		}
	}
	readReset := func(st *Stream) error {
		var reset *StreamError
		if _, err := io.ReadAll(st); !errors.As(err, &reset) || reset.ErrorCode != 7 {
			return err
		}
		return nil
	}
	end := func(st *Stream) { st.End(make([]byte, 1000)) }
	reset := func(st *Stream) { st.Reset(7) }
	for name, c := range map[string]struct {
		idle   time.Duration
		answer func(*Stream)
		read   func(*Stream) error
	}{
		"Read":            {0, end, readAll},
		"no idle timeout": {None, end, readAll},
		"TryRead":         {0, end, tryAll},
		"reset":           {0, reset, readReset},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: c.idle})
				defer m.close()
				p := m.pair(ConnectOptions{IdleTimeout: c.idle})
				st := mustOpen(t, &p.client.Session, StreamOptions{})
				st.End([]byte("x"))
				peer := mustAccept(t, &p.server.Session)
				if _, err := io.ReadAll(peer); err != nil {
					t.Fatal(err)
				}
				c.answer(peer)
				time.Sleep(2 * time.Second) // all is acknowledged, and nothing is due any more
				p.client.Close()
				if err := c.read(st); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				if !p.client.Destroyed() || !p.server.Destroyed() {
					t.Fatalf("over: %v here, %v at the peer", p.client.Destroyed(), p.server.Destroyed())
				}
				var app *ApplicationError
				if err := p.server.Err(); !errors.As(err, &app) || app.ErrorCode != 0 {
					t.Errorf("the peer's session ends with %v", err)
				}
			})
		})
	}
}
