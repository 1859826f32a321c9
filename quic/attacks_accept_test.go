package quic

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// done has a stream of the peer's end in both directions: with its end at once, and no wish for an answer.
func (e *evilEnd) done(id int64) {
	e.send(e.Say(wire.OneRTT, wire.Stream{ID: id, Fin: true, HasLen: true}, wire.StopSending{ID: id}))
	e.talk() // the reset comes, and is acknowledged
	time.Sleep(time.Millisecond)
}

// credit returns how many bidirectional streams the evil peer may open in all.
func (e *evilEnd) credit(first int) int {
	most := int64(first)
	for _, p := range e.Heard {
		for _, f := range p.Frames {
			if f, ok := f.(wire.MaxStreams); ok && !f.Uni {
				most = max(most, f.Max)
			}
		}
	}
	return int(most)
}

// Streams that are over before the program has taken them count as open: else a peer would have any number of
// them wait. They are the program's when it asks for them, and the peer has its credit then.
func TestS07StreamsNotTaken(t *testing.T) {
	besiege(t, 1<<20)
	most := limits.Bound(t, "streams-bidi")
	for _, program := range []struct {
		name   string
		before func(s *Session, gate chan bool, taken chan *Stream)
		after  func(s *Session, gate chan bool, taken chan *Stream)
	}{
		{
			name: "nobody accepts",
		}, {
			name: "accepts late",
			after: func(s *Session, _ chan bool, taken chan *Stream) {
				for range most {
					st, err := s.AcceptStream(t.Context())
					if err != nil {
						return
					}
					taken <- st
				}
			},
		}, {
			name: "a hook that blocks",
			before: func(s *Session, gate chan bool, taken chan *Stream) {
				s.SetHooks(SessionHooks{Stream: func(st *Stream) error {
					<-gate
					taken <- st
					return nil
				}})
			},
			after: func(_ *Session, gate chan bool, _ chan *Stream) { close(gate) },
		}, {
			name: "a hook that comes late",
			after: func(s *Session, _ chan bool, taken chan *Stream) {
				s.SetHooks(SessionHooks{Stream: func(st *Stream) error {
					taken <- st
					return nil
				}})
			},
		}, {
			name: "a handler that comes late",
			after: func(s *Session, _ chan bool, taken chan *Stream) {
				s.HandleStreams(func(st *Stream) { taken <- st })
			},
		},
	} {
		t.Run(program.name, func(t *testing.T) {
			bothEnds(t, func(t *testing.T, server bool, role int64) {
				code := evilRun{after: func(e *evilEnd) {
					s := e.victim(server)
					gate, taken := make(chan bool), make(chan *Stream, 20*most)
					if program.before != nil {
						program.before(s, gate, taken)
					}
					n := 0
					for ; n < 3*most && n < e.credit(most); n++ {
						e.done(int64(4*n) + role)
					}
					waiting := 0 // but for one that a hook has begun with
					if program.before != nil {
						waiting = 1
					}
					if n > most+waiting || len(s.Streams()) > 0 || s.Err() != nil {
						e.t.Errorf("%d streams that nobody has taken, %d of them not over: %v", n, len(s.Streams()), s.Err())
					}
					if program.after != nil {
						program.after(s, gate, taken)
						e.talk()
						if len(taken) != n {
							e.t.Fatalf("of %d streams the program is given %d", n, len(taken))
						}
						for range n {
							st := <-taken
							b, err := io.ReadAll(st)
							if len(b) > 0 || err != nil || !st.Detached() {
								e.t.Errorf("stream %d: %q, %v", st.ID(), b, err)
							}
						}
						if got := e.credit(most); got > n+most || got < n+most*7/8 { // it is told of credit by the eighth
							e.t.Errorf("when they are taken, the peer may open %d streams, want %d", got, n+most)
						}
					}
					e.send(e.Say(wire.OneRTT, wire.Stream{ID: int64(4*e.credit(most)) + role, HasLen: true}))
				}}.errorOf(t, server)
				if code != wire.StreamLimitError {
					t.Errorf("closed with %v, want %v", code, wire.StreamLimitError)
				}
			})
		})
	}
}

// A closing session turns away the streams that nobody has taken. Those that are over no longer
// count as open then, and the peer may open others, which are refused.
func TestCloseGivesCreditOfStreamsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsBidi: 1})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if _, err := p.server.OpenStream(t.Context(), StreamOptions{}); err != nil { // so that closing takes its time
			t.Fatal(err)
		}
		st, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.End(nil); err != nil {
			t.Fatal(err)
		}
		st.Stop(0)
		<-st.Closed()
		if _, err := p.client.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("a stream beside one that is over and not taken: %v", err)
		}
		if err := p.server.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = next.Write([]byte("x"))
		var cut *StreamError
		if _, err := next.Read(make([]byte, 1)); !errors.As(err, &cut) {
			t.Errorf("a stream at a session that is closing: %v", err)
		}
	})
}

// victim returns our end of the session with the evil peer.
func (e *evilEnd) victim(server bool) *Session {
	socket := e.net.client
	if server {
		socket = e.net.server
	}
	socket.mu.Lock()
	defer socket.mu.Unlock()
	return socket.sessions()[0]
}
