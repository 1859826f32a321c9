package http3

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Close ends all sessions and sockets at once, with H3_NO_ERROR: what handlers write from then on
// fails. Serve returns http.ErrServerClosed. The error is always nil.
func (s *Server) Close() error {
	sockets, _ := s.stop()
	for _, socket := range sockets {
		socket.Destroy(nil)
		s.untrack(socket)
	}
	return nil
}

// Shutdown ends the server in peace: Serve returns http.ErrServerClosed, new sessions are refused, clients
// are told GOAWAY (RFC 9114 §5.2), requests that have come are answered, later ones rejected
// with H3_REQUEST_REJECTED, and sessions that carry none end, 250 ms after their last at the earliest. Shutdown waits
// for the last session's end. If the context ends first, its error is returned, and the sessions
// go on: Shutdown can be called again, or Close. A server that is shut down stays so.
func (s *Server) Shutdown(ctx context.Context) error {
	sockets, sessions := s.stop()
	s.mu.Lock()
	hooks := s.onDown
	s.onDown = nil
	s.mu.Unlock()
	for _, f := range hooks {
		go f()
	}
	for _, h := range sessions {
		h.GoAway()
	}
	for _, socket := range sockets {
		_ = socket.Close() // it may be over
	}
	for _, socket := range sockets {
		select {
		case <-socket.Closed():
		default:
			select {
			case <-socket.Closed():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.untrack(socket)
	}
	return nil
}

// RegisterOnShutdown registers a function that the first Shutdown after it calls, on a goroutine of
// its own: for handlers that have to be told, as those of long CONNECT streams.
func (s *Server) RegisterOnShutdown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDown = append(s.onDown, f)
}

// stop lets nothing new in, and returns what is there.
func (s *Server) stop() ([]*quic.Socket, []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.closing = true
		if s.down != nil {
			close(s.down)
		}
	}
	return slices.Collect(maps.Keys(s.sockets)), slices.Collect(maps.Keys(s.sessions))
}

// track notes a socket, and returns a channel that is closed by the end of the server.
func (s *Server) track(socket *quic.Socket) (down <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, http.ErrServerClosed
	}
	if s.sockets == nil {
		s.sockets, s.down = make(map[*quic.Socket]bool), make(chan struct{})
	}
	s.sockets[socket] = true
	return s.down, nil
}

func (s *Server) tracks(socket *quic.Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sockets[socket]
}

func (s *Server) untrack(socket *quic.Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, socket)
}

// add notes a session, and reports false if no more are taken.
func (s *Server) add(h *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.sessions == nil {
		s.sessions = make(map[*Session]bool)
	}
	s.sessions[h] = true
	return true
}

func (s *Server) remove(h *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, h)
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}
