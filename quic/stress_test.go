package quic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Many goroutines do everything at once: nothing may race, hang, or arrive wrong. On
// real sockets, and over a network in memory where a hang shows at once.
func TestS55EverythingAtOnce(t *testing.T) {
	besiege(t, 1<<20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	t.Run("loopback", func(t *testing.T) {
		ctx := testContext(t)
		socket, err := Listen(ctx, "127.0.0.1:0", ListenOptions{TLS: serverConfig()})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Destroy(nil)
		client, err := NewSocket(SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Destroy(nil)
		other, err := NewSocket(SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Destroy(nil)
		everythingAtOnce(ctx, t, socket, [2]*Socket{client, other}, ConnectOptions{TLS: clientConfig(), Port: int(socket.Address().Port())}, seed)
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 100))
			drop := func(*dgram.Datagram) bool { return r.IntN(50) == 0 }
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: drop}, SocketOptions{}, ListenOptions{})
			defer m.close()
			other := m.socket(SocketOptions{})
			defer other.Destroy(nil)
			everythingAtOnce(t.Context(), t, m.server, [2]*Socket{m.client, other}, m.options(ConnectOptions{}), seed)
		})
	})
}

// everythingAtOnce has sessions of a client, which move between two sockets, used by many.
func everythingAtOnce(ctx context.Context, t *testing.T, socket *Socket, clients [2]*Socket, o ConnectOptions, seed uint64) {
	var moves atomic.Int64
	go func() {
		for {
			v, err := socket.Accept(ctx)
			if err != nil {
				return
			}
			go serveAtOnce(ctx, v)
		}
	}()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 2 {
				c, err := clients[i%2].Connect(ctx, o)
				if err != nil {
					t.Error(err)
					return
				}
				u := &atOnce{t, c, clients, &moves}
				u.use(ctx, r.Uint64())
				if r.IntN(2) == 0 {
					c.CloseWithError(uint64(r.IntN(3)), "done")
				} else if err := c.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, client := range clients {
		if err := client.Shutdown(ctx); err != nil {
			t.Errorf("socket's Shutdown: %v", err)
		}
	}
	if moves.Load() == 0 {
		t.Error("no session has moved")
	}
	t.Logf("%d moves", moves.Load())
}

// serveAtOnce echoes, and asks the session at the other end for this and that meanwhile.
func serveAtOnce(ctx context.Context, v *ServerSession) {
	for {
		st, err := v.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			defer st.Close()
			v.UpdateKey()
			if from := v.RemoteAddress(); from.IsValid() && v.Stats().PacketsReceived == 0 {
				panic("nothing has come from " + from.String())
			}
			io.Copy(st, st)
		}()
	}
}

// atOnce is a session that many goroutines use.
type atOnce struct {
	*testing.T
	c       *ClientSession
	sockets [2]*Socket // which it moves between
	moves   *atomic.Int64
}

func (u *atOnce) use(ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 8 {
				st, err := u.c.OpenStream(ctx, StreamOptions{})
				if err != nil {
					u.Errorf("OpenStream: %v", err)
					return
				}
				u.stream(st, r)
				u.call(ctx, st, r)
			}
		})
	}
	wg.Wait()
}

// stream echoes some bytes, or gives up in one of several ways.
func (u *atOnce) stream(st *Stream, r *rand.Rand) {
	defer st.Close()
	size := []int{0, 1, 100, 5_000, 100_000}[r.IntN(5)]
	want := bytes.Repeat([]byte{byte(st.ID()), byte(st.ID() >> 8), 7}, size/3+1)[:size]
	how := r.IntN(10)
	go func() {
		switch {
		case how < 6:
			st.Write(want[:size/2])
			st.End(want[size/2:])
		case how == 6:
			st.Write(want)
			st.Reset(3)
		case how == 7:
			st.End(want)
			st.Stop(4)
		case how == 8:
			st.SetDeadline(time.Now().Add(time.Duration(size)))
			st.End(want)
		case how == 9:
			st.Write(want)
			st.Destroy(nil)
		}
	}()
	got, err := io.ReadAll(st)
	if !bytes.HasPrefix(want, got) {
		u.Errorf("stream %d: other bytes came back", st.ID())
	}
	if how < 6 && (err != nil || len(got) != size) {
		u.Errorf("stream %d: %d of %d bytes, %v", st.ID(), len(got), size, err)
	}
}

// call calls something else of the session's.
func (u *atOnce) call(ctx context.Context, st *Stream, r *rand.Rand) {
	switch r.IntN(8) {
	case 0:
		u.c.Ping()
	case 1:
		u.c.Stats()
		st.Stats()
	case 2:
		u.c.UpdateKey()
	case 3, 4:
		from, to := u.c.Socket(), u.sockets[r.IntN(2)]
		switch err := u.c.SetSocket(ctx, to, r.IntN(2) == 0); {
		case err == nil && from != to:
			u.moves.Add(1)
		case err != nil && !errors.Is(err, ErrOperationFailed): // another move is under way, or there is no ID for it
			u.Errorf("SetSocket: %v", err)
		}
	case 5:
		if at := u.c.RemoteAddress(); at.Port() == 0 {
			u.Errorf("the server is at %v", at)
		}
		u.c.Address()
	}
}
