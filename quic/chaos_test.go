package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Whatever several goroutines do to sockets, endpoints and sessions, at the end nothing
// is left of them. The seeds choose what is done; in which order it happens is up to
// the scheduler.
func TestChaos(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newChaos(t, seed)
				var wg sync.WaitGroup
				for g := range 6 {
					wg.Go(func() { w.run(rand.New(rand.NewPCG(seed, uint64(g+1)))) })
				}
				wg.Wait()
				w.end()
			})
		})
	}
}

// chaos is a server with three endpoints, and clients that do what comes to mind.
type chaos struct {
	t      *testing.T
	net    *udp.Network
	server *Socket

	mu       sync.Mutex
	port     int
	sockets  []*Socket // in use
	all      []*Socket // ever made
	sessions []*ClientSession
}

func newChaos(t *testing.T, seed uint64) *chaos {
	loss := rand.New(rand.NewPCG(seed, 0))
	w := &chaos{t: t, port: 1000, net: udp.NewNetwork(udp.NetworkOptions{
		Delay:  time.Millisecond,
		Filter: func(*dgram.Datagram) bool { return loss.IntN(100) == 0 },
	})}
	w.server = socketOn(t, w.net, SocketOptions{MaxConnectionsPerHost: 10_000}, "10.0.0.1:4433", "10.0.0.1:4434", "[2001:db8::1]:4433")
	err := w.server.Listen(t.Context(), ListenOptions{TLS: serverConfig(), IdleTimeout: 3 * time.Second, Handler: func(v *ServerSession) error {
		go echoAll(v)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		w.sockets = append(w.sockets, w.socket())
	}
	return w
}

// echoAll sends back what comes on a session's streams.
func echoAll(v *ServerSession) {
	for {
		st, err := v.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go func() {
			io.Copy(st, st)
			st.Close()
		}()
	}
}

// socket makes a client's socket, with hooks that meddle.
func (w *chaos) socket() *Socket {
	w.mu.Lock()
	port := w.port
	w.port += 3
	w.mu.Unlock()
	var s *Socket
	hooks := SocketHooks{EndpointClose: func(e *Endpoint, _ error) error {
		_ = e.Close()
		switch {
		case port%5 == 0:
			s.Destroy(nil)
		case port%7 == 0:
			return errChaos
		}
		return nil
	}}
	s = socketOn(w.t, w.net, SocketOptions{Hooks: hooks},
		fmt.Sprintf("10.0.0.2:%d", port), fmt.Sprintf("10.0.0.3:%d", port+1), fmt.Sprintf("[2001:db8::2]:%d", port+2))
	w.mu.Lock()
	w.all = append(w.all, s)
	w.mu.Unlock()
	return s
}

var errChaos = errors.New("chaos")

// run does forty things, each within a while.
func (w *chaos) run(r *rand.Rand) {
	for range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Millisecond)
		w.mu.Lock()
		s := w.sockets[r.IntN(len(w.sockets))]
		var c *ClientSession
		if len(w.sessions) > 0 {
			c = w.sessions[r.IntN(len(w.sessions))]
		}
		w.mu.Unlock()
		switch what := r.IntN(14); {
		case what < 4:
			w.connect(ctx, r, s)
		case what < 7 && c != nil:
			_ = c.SetSocket(ctx, s, r.IntN(3) == 0)
		case what < 10 && c != nil:
			chat(ctx, c, r.IntN(100_000))
		case what == 10:
			maltreat(ctx, r, s)
		case what < 13:
			w.replace(ctx, r, s)
		case c == nil:
		case r.IntN(2) == 0:
			_ = c.StartHandshake()
		default:
			_ = c.Close()
		}
		cancel()
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	}
}

func (w *chaos) connect(ctx context.Context, r *rand.Rand, s *Socket) {
	c, err := s.Connect(ctx, ConnectOptions{
		Address: "10.0.0.1", Port: 4433 + r.IntN(2), TLS: clientConfig(), ServerName: "localhost",
		IdleTimeout: 3 * time.Second, DelayHandshake: r.IntN(10) == 0,
	})
	if err != nil {
		return
	}
	w.mu.Lock()
	w.sessions = append(w.sessions, c)
	w.mu.Unlock()
}

// chat has n bytes echoed, as far as that goes.
func chat(ctx context.Context, c *ClientSession, n int) {
	st, err := c.OpenStream(ctx, StreamOptions{})
	if err != nil {
		return
	}
	st.SetDeadline(time.Now().Add(time.Second))
	go st.End(make([]byte, n))
	io.Copy(io.Discard, st)
	st.Destroy(nil)
}

// maltreat does something to one of a socket's endpoints.
func maltreat(ctx context.Context, r *rand.Rand, s *Socket) {
	list := s.Endpoints()
	if len(list) == 0 {
		return
	}
	e := list[r.IntN(len(list))]
	switch r.IntN(4) {
	case 0:
		_ = e.Close()
	case 1:
		e.Destroy(errChaos)
	case 2:
		go e.Close()
		go e.Destroy(nil)
	default:
		_, _ = e.Bind(ctx)
	}
}

// replace puts another socket in the place of one, and ends that.
func (w *chaos) replace(ctx context.Context, r *rand.Rand, s *Socket) {
	fresh := w.socket()
	w.mu.Lock()
	i := slices.Index(w.sockets, s)
	if i >= 0 {
		w.sockets[i] = fresh
	}
	w.mu.Unlock()
	if i < 0 { // somebody else was faster
		fresh.Destroy(nil)
		return
	}
	switch r.IntN(3) {
	case 0:
		_ = s.Close()
	case 1:
		err := s.Shutdown(ctx)
		if err != nil && !errors.Is(err, ErrInvalidState) && !errors.Is(err, ctx.Err()) && !errors.Is(err, errChaos) {
			w.t.Errorf("Shutdown: %v", err)
		}
	default:
		s.Destroy(nil)
	}
}

// end closes everything, and looks at what is left.
func (w *chaos) end() {
	for _, c := range w.sessions {
		_ = c.Close()
	}
	for _, s := range w.sockets {
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		if err := s.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			w.t.Error("a socket does not end")
		}
		cancel()
	}
	time.Sleep(30 * time.Second)
	for _, c := range w.sessions {
		if !c.Destroyed() {
			w.t.Error("a session lives")
		}
	}
	for _, s := range w.all {
		if s.mu.Lock(); s.life != socketDestroyed {
			w.t.Errorf("a socket lives: %d", s.life)
		}
		s.mu.Unlock()
		w.empty(s)
	}
	w.empty(w.server)
	w.server.Destroy(nil)
}

// empty fails the test if a socket still knows of a session.
func (w *chaos) empty(s *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive != 0 || s.first != nil || len(s.leaving) > 0 || s.mux.Conns() != 0 || len(s.hosts) != 0 {
		w.t.Errorf("a socket has %d live sessions, %d leaving, %d routed to, of %d hosts", s.alive, len(s.leaving), s.mux.Conns(), len(s.hosts))
	}
}
