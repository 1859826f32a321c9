package quic

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
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
		everythingAtOnce(ctx, t, socket, client, ConnectOptions{TLS: clientConfig(), Port: int(socket.Address().Port())}, seed)
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 100))
			drop := func(*dgram.Datagram) bool { return r.IntN(50) == 0 }
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: drop}, SocketOptions{}, ListenOptions{})
			defer m.close()
			everythingAtOnce(t.Context(), t, m.server, m.client, m.options(ConnectOptions{}), seed)
		})
	})
}

func everythingAtOnce(ctx context.Context, t *testing.T, socket, client *Socket, o ConnectOptions, seed uint64) {
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
				c, err := client.Connect(ctx, o)
				if err != nil {
					t.Error(err)
					return
				}
				useAtOnce(ctx, t, c, r.Uint64())
				if r.IntN(2) == 0 {
					c.CloseWithError(uint64(r.IntN(3)), "done")
				} else if err := c.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := client.Shutdown(ctx); err != nil {
		t.Errorf("socket's Shutdown: %v", err)
	}
}

func serveAtOnce(ctx context.Context, v *ServerSession) {
	for {
		st, err := v.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			defer st.Close()
			io.Copy(st, st)
		}()
	}
}

func useAtOnce(ctx context.Context, t *testing.T, c *ClientSession, seed uint64) {
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 8 {
				st, err := c.OpenStream(ctx, StreamOptions{})
				if err != nil {
					t.Errorf("OpenStream: %v", err)
					return
				}
				useStream(t, c, st, r)
			}
		})
	}
	wg.Wait()
}

// useStream echoes some bytes, or gives up in one of several ways.
func useStream(t *testing.T, c *ClientSession, st *Stream, r *rand.Rand) {
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
		t.Errorf("stream %d: other bytes came back", st.ID())
	}
	if how < 6 && (err != nil || len(got) != size) {
		t.Errorf("stream %d: %d of %d bytes, %v", st.ID(), len(got), size, err)
	}
	switch r.IntN(8) {
	case 0:
		c.Ping()
	case 1:
		c.Stats()
		st.Stats()
	case 2:
		c.UpdateKey()
	}
}
