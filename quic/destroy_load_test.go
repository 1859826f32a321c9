package quic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// callResult is what a call has returned that was under way when an endpoint was destroyed.
type callResult struct {
	what string
	err  error
}

// load is many sessions between two sockets, with calls under way in all of them.
type load struct {
	t       *testing.T
	ctx     context.Context
	started [2]int             // calls at the client and at the server
	ended   [2]chan callResult // the same
	server  []*ServerSession
	client  []*ClientSession
}

// call starts one that goes on until it fails.
func (l *load) call(side int, what string, f func() error) {
	l.started[side]++
	go func() {
		for {
			if err := f(); err != nil {
				l.ended[side] <- callResult{what, err}
				return
			}
		}
	}()
}

// session has streams that transfer in both directions, and calls that wait.
func (l *load) session(side int, s *Session, streams []*Stream) {
	for _, st := range streams {
		out, in := make([]byte, 50_000), make([]byte, 10_000)
		l.call(side, "Write", func() error { _, err := st.Write(out); return err })
		l.call(side, "Read", func() error { _, err := st.Read(in); return err })
	}
	l.call(side, "AcceptStream", func() error { _, err := s.AcceptStream(l.ctx); return err })
	l.call(side, "OpenStream", func() error { _, err := s.OpenStream(l.ctx, StreamOptions{}); return err })
	l.call(side, "ReceiveDatagram", func() error { _, err := s.ReceiveDatagram(l.ctx); return err })
}

// routed returns how many sessions a socket has in its tables.
func (s *Socket) routed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mux.Conns()
}

func newLoad(ctx context.Context, t *testing.T, client, server *Socket, o ConnectOptions, sessions, streams int) *load {
	t.Helper()
	l := &load{t: t, ctx: ctx}
	for side := range l.ended {
		l.ended[side] = make(chan callResult, sessions*(2*streams+3)+1)
	}
	var all [2][][]*Stream
	for range sessions {
		c, err := client.Connect(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(ctx); err != nil {
			t.Fatal(err)
		}
		s, err := server.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{server, c, s}
		var cs, ss []*Stream
		for range streams {
			a, b := p.streams(t)
			cs, ss = append(cs, a), append(ss, b)
		}
		l.client, l.server = append(l.client, c), append(l.server, s)
		all[0], all[1] = append(all[0], cs), append(all[1], ss)
	}
	for i := range sessions {
		l.session(0, &l.client[i].Session, all[0][i])
		l.session(1, &l.server[i].Session, all[1][i])
	}
	l.call(1, "Accept", func() error { _, err := server.Accept(ctx); return err })
	return l
}

// wantEnd wants every call to return: with the cause where the endpoint was, and with what its peer
// says elsewhere.
func (l *load) wantEnd(side int, cause error) {
	l.t.Helper()
	wrong := make(map[string]int)
	for range l.started[side] {
		r := <-l.ended[side]
		var remote *TransportError
		if cause != nil && !errors.Is(r.err, cause) || cause == nil && (!errors.As(r.err, &remote) || !remote.Remote) {
			wrong[fmt.Sprintf("%s: %v", r.what, r.err)]++
		}
	}
	for what, times := range wrong {
		l.t.Errorf("side %d, %d of %d calls: %s", side, times, l.started[side], what)
	}
}

// loopbackLoad is a load of 20 sessions on real sockets, which has begun.
func loopbackLoad(ctx context.Context, t *testing.T, lo ListenOptions, co ConnectOptions) (l *load, client, server *Socket) {
	t.Helper()
	server, err := Listen(ctx, "127.0.0.1:0", lo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Destroy(nil) })
	if client, err = NewSocket(SocketOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Destroy(nil) })
	co.Address, co.Port = "127.0.0.1", int(server.Address().Port())
	l = newLoad(ctx, t, client, server, co, 20, 4)
	waitFor(t, func() bool { return l.server[19].Stats().StreamBytesReceived > 100_000 })
	return l, client, server
}

// wantGone wants every call and session to end because the victim of a side was destroyed with the cause.
func (l *load) wantGone(side int, victim, other *Socket, cause error) {
	l.t.Helper()
	if side == 0 { // its socket is asked for new sessions by nobody
		l.started[1]--
	}
	l.wantEnd(side, cause)
	l.wantEnd(1-side, nil)
	<-victim.Closed()
	for i := range l.client {
		<-l.client[i].Closed()
		<-l.server[i].Closed()
	}
	if !errors.Is(victim.Err(), cause) || other.Destroyed() {
		l.t.Errorf("the socket ends with %v, and the other one with %v", victim.Err(), other.Err())
	}
	if n := victim.routed(); n != 0 {
		l.t.Errorf("%d sessions are still routed", n)
	}
}

// A socket that is destroyed while sessions transfer on it ends them, and when both are gone there are no goroutines of
// theirs, and no more descriptors than before.
func TestDestroySocketUnderLoad(t *testing.T) {
	cause := errors.New("the program ends")
	lo := ListenOptions{TLS: serverConfig(), MaxStreamsBidi: 4, MaxDatagramFrameSize: 1200}
	co := ConnectOptions{TLS: clientConfig(), ServerName: "localhost", MaxDatagramFrameSize: 1200, MaxStreamsBidi: None}
	for side, name := range []string{"client", "server"} {
		t.Run(name, func(t *testing.T) {
			if left := leaked(); left != "" { // of a test before
				t.Fatalf("goroutines are there:\n%s", left)
			}
			before := descriptors()
			l, client, server := loopbackLoad(testContext(t), t, lo, co)
			victim, other := []*Socket{client, server}[side], []*Socket{server, client}[side]
			victim.Destroy(cause)
			l.wantGone(side, victim, other, cause)
			other.Destroy(nil)
			<-other.Closed()
			if left := leaked(); left != "" {
				t.Errorf("goroutines are left:\n%s", left)
			}
			if after := descriptors(); after > before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

// descriptors counts the process's descriptors, where the system tells of them.
func descriptors() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

// An endpoint that is destroyed while sessions transfer on it takes all of them along: every call
// returns and names the cause, the peers are told, and nothing is left.
func TestDestroyUnderLoad(t *testing.T) {
	cause := errors.New("the interface is gone")
	lo := ListenOptions{TLS: serverConfig(), MaxStreamsBidi: 4, MaxDatagramFrameSize: 1200}
	co := ConnectOptions{TLS: clientConfig(), ServerName: "localhost", MaxDatagramFrameSize: 1200, MaxStreamsBidi: None}
	for side, name := range []string{"client", "server"} {
		t.Run(name+" in memory", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Queue: 1 << 20}, SocketOptions{}, lo) // what tells of the end must not be lost
				l := newLoad(t.Context(), t, m.client, m.server, m.options(co), 30, 4)
				time.Sleep(10 * time.Millisecond)
				victim, other := []*Socket{m.client, m.server}[side], []*Socket{m.server, m.client}[side]
				victim.Endpoints()[0].Destroy(cause)
				l.wantGone(side, victim, other, cause)
				time.Sleep(time.Minute)
				if a, b := m.client.routed(), m.server.routed(); a+b != 0 {
					t.Errorf("%d and %d sessions are routed", a, b)
				}
				m.close()
			})
		})
		t.Run(name+" on loopback", func(t *testing.T) {
			l, client, server := loopbackLoad(testContext(t), t, lo, co)
			victim, other := []*Socket{client, server}[side], []*Socket{server, client}[side]
			victim.Endpoints()[0].Destroy(cause)
			l.wantGone(side, victim, other, cause)
		})
	}
}
