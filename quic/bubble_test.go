package quic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: 3 * time.Second})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: 5 * time.Second})
		start := time.Now()
		<-p.client.Closed()
		if d := time.Since(start); d < 2900*time.Millisecond || d > 3100*time.Millisecond {
			t.Errorf("idle timeout after %v, want the smaller one of both ends, 3s", d)
		}
		var idle *IdleTimeoutError
		if err := p.client.Err(); !errors.As(err, &idle) || !errors.Is(err, net.ErrClosed) || !idle.Timeout() {
			t.Errorf("Err is %v", err)
		}
		if !p.client.Stats().IdleTimeout || p.client.Stats().StatelessReset {
			t.Error("stats do not tell that the session idled out")
		}
		if c := p.client.CloseCode(); c != (CloseCode{0, CloseApplication, true}) {
			t.Errorf("CloseCode is %+v", c)
		}
		<-p.server.Closed()
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{}); !errors.Is(err, ErrInvalidState) || !errors.As(err, &idle) {
			t.Errorf("OpenStream afterwards: %v", err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: 3 * time.Second})
		defer m.close()
		p := m.pair(ConnectOptions{KeepAlive: time.Second})
		time.Sleep(time.Minute)
		if err := p.client.Err(); err != nil {
			t.Fatal(err)
		}
		p.client.SetKeepAlive(0)
		time.Sleep(4 * time.Second)
		if p.client.Err() == nil {
			t.Fatal("session is alive without keep-alive")
		}
	})
}

func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drop := func(*dgram.Datagram) bool { return true }
		m := newMemNet(t, udp.NetworkOptions{Filter: drop}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{IdleTimeout: None})
		start := time.Now()
		err := c.Handshake(t.Context())
		var timeout *HandshakeTimeoutError
		if !errors.As(err, &timeout) || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Handshake: %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %v, want 10s", d)
		}
	})
}

// A context that ends takes only the call with it.
func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsUni: 1})
		defer m.close()
		p := m.pair(ConnectOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.client.OpenStream(ctx, StreamOptions{HalfOpen: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.client.OpenStream(ctx, StreamOptions{HalfOpen: true}); err != context.DeadlineExceeded {
			t.Errorf("OpenStream: %v", err)
		}
		if _, err := p.client.AcceptStream(ctx); err != context.DeadlineExceeded {
			t.Errorf("AcceptStream: %v", err)
		}
		if _, err := m.server.Accept(ctx); err != context.DeadlineExceeded {
			t.Errorf("Accept: %v", err)
		}
		if err := p.client.Handshake(ctx); err != nil {
			t.Errorf("Handshake: %v, but a result that is there wins over a context that is over", err)
		}
		if _, err := p.client.TryOpenStream(StreamOptions{HalfOpen: true}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("TryOpenStream: %v", err)
		}
		// The session goes on, and later calls are served.
		go func() {
			time.Sleep(time.Second)
			st, err := p.server.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			st.End([]byte("x"))
		}()
		if _, err := p.client.AcceptStream(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Credit for streams comes back when streams end, and wakes who waits for it.
func TestStreamCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsBidi: 2})
		defer m.close()
		p := m.pair(ConnectOptions{})
		go func() {
			for {
				st, err := p.server.AcceptStream(t.Context())
				if err != nil {
					return
				}
				go func() {
					io.Copy(st, st)
					st.CloseWrite()
				}()
			}
		}()
		done := make(chan bool)
		for range 20 {
			go func() {
				defer func() { done <- true }()
				st, err := p.client.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				st.End([]byte("hello"))
				if b, err := io.ReadAll(st); string(b) != "hello" || err != nil {
					t.Errorf("%q, %v", b, err)
				}
			}()
		}
		for range 20 {
			<-done
		}
		if n := p.client.Stats().SelfInitiatedStreamCount; n != 20 {
			t.Errorf("%d streams were opened", n)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: None})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: None})
		c, s := p.streams(t)
		start := time.Now()
		c.SetReadDeadline(start.Add(time.Second))
		n, err := c.Read(make([]byte, 10))
		var ne net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("Read: %d, %v", n, err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("after %v", d)
		}
		// A deadline that is moved while a read waits counts anew.
		c.SetReadDeadline(time.Now().Add(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { c.SetReadDeadline(time.Now().Add(time.Hour)) })
		time.AfterFunc(2*time.Second, func() { s.Write([]byte("x")) })
		if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		// A write that the peer does not take ends too, and tells how far it came.
		c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err = c.Write(make([]byte, 10<<20))
		if n == 0 || n == 10<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %d, %v", n, err)
		}
		// Past deadlines fail at once, and the zero time takes them away.
		c.SetDeadline(time.Now().Add(-time.Second))
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
		c.SetDeadline(time.Time{})
		s.Write([]byte("y"))
		if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
	})
}

// Everything arrives over a network that loses, doubles nothing and delays.
func TestLossyNetwork(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		drop := func(*dgram.Datagram) bool { return r.IntN(20) == 0 }
		m := newMemNet(t, udp.NetworkOptions{Filter: drop, Delay: 10 * time.Millisecond, MTU: 1500}, SocketOptions{}, ListenOptions{IdleTimeout: time.Minute})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: time.Minute})
		const streams, size = 8, 300 << 10
		done := make(chan error)
		go func() {
			for range streams {
				st, err := p.server.AcceptStream(t.Context())
				if err != nil {
					done <- err
					return
				}
				go func() {
					_, err := io.Copy(st, st)
					st.CloseWrite()
					done <- err
				}()
			}
		}()
		for i := range streams {
			go func() {
				want := bytes.Repeat([]byte{byte(i), byte(i * 7), 3, 4, 5}, size/5)
				st, err := p.client.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					done <- err
					return
				}
				go st.End(want)
				got, err := io.ReadAll(st)
				if err == nil && !bytes.Equal(got, want) {
					err = errors.New("other bytes came back")
				}
				done <- err
			}()
		}
		for range 2 * streams {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if s := p.client.Stats(); s.PacketsLost == 0 || s.LossRetransmitCount == 0 {
			t.Errorf("no loss was seen: %+v", s)
		}
	})
}

// A server that has lost everything ends a client's session with a stateless reset,
// if it has the same secret.
func TestStatelessReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := SocketOptions{StatelessResetSecret: []byte("0123456789abcdef")}
		m := newMemNet(t, udp.NetworkOptions{}, secret, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		m.net.SetFilter(func(*dgram.Datagram) bool { return true }) // the old server dies without a word
		m.server.Destroy(nil)
		m.net.SetFilter(nil)
		m.server = m.socketAt(memServer, secret)
		if err := m.server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		p.client.Ping()
		<-p.client.Closed()
		var reset *StatelessResetError
		if !errors.As(p.client.Err(), &reset) || !p.client.Stats().StatelessReset {
			t.Errorf("Err is %v", p.client.Err())
		}
		if n := m.server.Stats().StatelessResetCount; n == 0 {
			t.Error("no reset was counted")
		}
	})
}

// Graceful close: streams run to their end, no new ones are opened.
func TestGracefulClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		if !p.client.Closing() || p.client.Destroyed() {
			t.Error("session is not closing")
		}
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{}); !errors.Is(err, ErrInvalidState) {
			t.Errorf("OpenStream: %v", err)
		}
		// A new stream of the peer's is turned away.
		turned, err := p.server.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		turned.Write([]byte("hello"))
		if _, err := turned.Read(make([]byte, 1)); !errors.As(err, new(*StreamError)) {
			t.Errorf("a stream that should be turned away reads %v", err)
		}
		// The open one goes on.
		if _, err := s.End([]byte("the end")); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "the end" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		wait := make(chan error)
		go func() { wait <- p.client.Shutdown(t.Context()) }()
		synctest.Wait()
		if p.client.Destroyed() {
			t.Error("session is over before its stream is")
		}
		c.CloseWrite()
		io.ReadAll(s)
		if err := <-wait; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-p.server.Closed()
		for _, v := range []*Session{&p.client.Session, &p.server.Session} {
			if c := v.CloseCode(); c.Code != 0 || c.Family != CloseApplication {
				t.Errorf("CloseCode is %+v", c)
			}
		}
		if err := p.client.Close(); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Close of a session that is over: %v", err)
		}
	})
}

// Shutdown with a context that ends cuts the streams off.
func TestShutdownTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, _ := p.streams(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.client.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		<-p.server.Closed()
	})
}

// A socket that is closed lets its sessions end, and takes no others.
func TestSocketShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		wait := make(chan error)
		go func() { wait <- m.server.Shutdown(t.Context()) }()
		synctest.Wait()
		if !m.server.Closing() || m.server.Destroyed() {
			t.Error("socket is not closing")
		}
		if _, err := m.server.Accept(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Accept: %v", err)
		}
		late := m.connect(ConnectOptions{HandshakeTimeout: time.Second})
		if err := late.Handshake(t.Context()); err == nil {
			t.Error("a closing socket took a session")
		}
		s.End([]byte("bye"))
		if b, err := io.ReadAll(c); string(b) != "bye" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
		if err := <-wait; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if !m.server.Destroyed() {
			t.Error("socket is not destroyed")
		}
		if err := m.server.Close(); !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close again: %v", err)
		}
	})
}
