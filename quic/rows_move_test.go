package quic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// paths writes down what the PathValidation hook is told.
func (j *journal) paths(name string) SessionHooks {
	return SessionHooks{PathValidation: func(ok bool, local, remote netip.AddrPort) error {
		j.add("%s %v %v %v", name, ok, local, remote)
		return nil
	}}
}

func (j *journal) has(format string, args ...any) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) count(prefix string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// bothWays sends bytes both ways over a stream that is open, and checks what comes.
type bothWays struct {
	wg sync.WaitGroup
}

func (b *bothWays) send(t testing.TB, c, s *Stream, size int) {
	for _, ends := range [][2]*Stream{{c, s}, {s, c}} {
		data := bytes.Repeat([]byte("to and fro "), size/11+1)[:size]
		b.wg.Add(2)
		go func() {
			defer b.wg.Done()
			if _, err := ends[0].End(data); err != nil {
				t.Errorf("writing: %v", err)
			}
		}()
		go func() {
			defer b.wg.Done()
			got, err := io.ReadAll(ends[1])
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes of %d, %v", len(got), size, err)
			}
		}()
	}
}

// A session moves to a socket that had no port, in the middle of transfers both ways,
// and its old socket goes at that moment: nothing is lost.
func TestSetSocketInTransfer(t *testing.T) {
	for _, rebinding := range []bool{false, true} {
		for _, destroy := range []bool{false, true} {
			t.Run(fmt.Sprintf("rebinding %v destroy %v", rebinding, destroy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var j journal
					m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: j.paths("server")})
					defer m.close()
					p := m.pair(ConnectOptions{Hooks: j.paths("client")})
					c, s := p.streams(t)
					var b bothWays
					b.send(t, c, s, 1<<20)
					time.Sleep(50 * time.Millisecond)
					next := m.socket(SocketOptions{})
					defer next.Destroy(nil)
					if next.Bound() {
						t.Fatal("the target is bound already")
					}
					if err := p.client.SetSocket(t.Context(), next, rebinding); err != nil {
						t.Fatal(err)
					}
					if destroy {
						m.client.Destroy(nil)
					} else if err := m.client.Close(); err != nil {
						t.Error(err)
					}
					<-m.client.Closed()
					if !next.Bound() || p.client.Socket() != next || next.Stats().ClientSessions != 1 {
						t.Errorf("bound %v, moved %v", next.Bound(), p.client.Socket() == next)
					}
					covers(t, "CLI-018")
					b.wg.Wait()
					time.Sleep(5 * time.Second)
					p.exchange(t)
					if p.client.Destroyed() || p.server.Destroyed() {
						t.Errorf("%v, %v", p.client.Err(), p.server.Err())
					}
					if a, b := p.client.Address(), p.server.RemoteAddress(); a != next.Address() || a != b {
						t.Errorf("client at %v, server sends to %v, want %v", a, b, next.Address())
					}
					covers(t, "SES-106")
					// Only the server asks after a rebinding, and the client asks before any other move.
					asked := j.has("client true %v %v", next.Address(), memServer)
					if asked == rebinding || j.count("client") > 1 {
						t.Errorf("rebinding %v: %q", rebinding, j.lines)
					}
					covers(t, "CLI-020")
					if !j.has("server true %v %v", memServer, next.Address()) {
						t.Errorf("%q", j.lines)
					}
				})
			})
		}
	}
}

// What a server sends reaches a client that has nothing to say but has moved.
func TestSetSocketOfListener(t *testing.T) {
	for _, rebinding := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			c, s := p.streams(t)
			time.Sleep(time.Second)
			next := m.socket(SocketOptions{})
			defer next.Destroy(nil)
			if err := p.client.SetSocket(t.Context(), next, rebinding); err != nil {
				t.Fatal(err)
			}
			m.client.Destroy(nil)
			time.Sleep(time.Second)
			s.End([]byte("news"))
			if got, err := io.ReadAll(c); string(got) != "news" || err != nil {
				t.Errorf("rebinding %v: %q, %v", rebinding, got, err)
			}
		})
	}
}

// Right after the handshake the session cannot move yet: SetSocket waits.
func TestSetSocketRightAway(t *testing.T) {
	for _, rebinding := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			c := m.connect(ConnectOptions{})
			next := m.socket(SocketOptions{})
			defer next.Destroy(nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := c.SetSocket(ctx, next, rebinding); !errors.Is(err, context.DeadlineExceeded) || c.Socket() != m.client {
				t.Errorf("in the handshake: %v", err)
			}
			if err := c.SetSocket(t.Context(), next, rebinding); err != nil || c.Socket() != next {
				t.Errorf("rebinding %v: %v", rebinding, err)
			}
			covers(t, "CLI-018")
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m.client.Destroy(nil)
			(&pair{m.server, c, s}).exchange(t)
		})
	}
}

// Nobody moves to what is closing or gone, nor what is; everything stays as it was.
func TestSetSocketRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		gone, closing := m.socket(SocketOptions{}), m.socket(SocketOptions{})
		gone.Destroy(nil)
		own, err := closing.Connect(t.Context(), m.options(ConnectOptions{})) // keeps it closing
		if err != nil || own.Handshake(t.Context()) != nil {
			t.Fatal(err)
		}
		st, err := own.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte("x"))
		if err := closing.Close(); err != nil || !closing.Closing() {
			t.Fatalf("%v, closing %v", err, closing.Closing())
		}
		defer closing.Destroy(nil)
		refused := func(what string, s *ClientSession, to *Socket) {
			t.Helper()
			for _, rebinding := range []bool{false, true} {
				from := s.Socket()
				err := s.SetSocket(t.Context(), to, rebinding)
				var se *StateError
				if !errors.As(err, &se) || !errors.Is(err, net.ErrClosed) || se.Op != "ClientSession.SetSocket" || s.Socket() != from {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
		refused("destroyed target", p.client, gone)
		refused("closing target", p.client, closing)
		covers(t, "CLI-019")
		p.exchange(t)
		var oe *OptionError
		if err := p.client.SetSocket(t.Context(), nil, false); !errors.As(err, &oe) || oe.Code() != CodeInvalidArgType {
			t.Errorf("no target: %v", err)
		}
		if err := p.client.SetSocket(t.Context(), m.client, false); err != nil {
			t.Errorf("to where it is: %v", err)
		}
		good := m.socket(SocketOptions{})
		defer good.Destroy(nil)
		p.streams(t)
		p.client.Close()
		refused("closing session", p.client, good)
		p.client.Destroy(nil)
		refused("destroyed session", p.client, good)
		covers(t, "CLI-019")
		if good.Bound() {
			t.Error("the target was bound for nothing")
		}
	})
}

// A target that goes while a session is on its way there leaves it where it was; one
// that was told to close waits for it.
func TestSetSocketTargetGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		begin := func() *Socket {
			to := m.socket(SocketOptions{})
			if err := to.bind(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			if _, err := to.expect("test", p.client.conn, memServer.Addr(), m.client); err != nil {
				t.Fatal(err)
			}
			m.client.part(&p.client.Session)
			return to
		}
		to := begin()
		to.Destroy(nil)
		if to.join(&p.client.Session, to.all[0]) {
			t.Fatal("a session was put on a socket that is destroyed")
		}
		covers(t, "CLI-019")
		if !m.client.rejoin(&p.client.Session) || m.client.alive != 1 || m.client.first != &p.client.Session {
			t.Fatal("the session did not come back")
		}
		p.exchange(t)

		to = begin()
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if to.Destroyed() || !to.join(&p.client.Session, to.all[0]) || to.alive != 1 || m.client.alive != 0 {
			t.Errorf("destroyed %v; %d and %d sessions", to.Destroyed(), to.alive, m.client.alive)
		}
		p.client.mu.Lock()
		p.client.socket, p.client.endpoint = to, to.endpoints[0]
		p.client.mu.Unlock()
		to.Destroy(nil)
		if !p.client.Destroyed() {
			t.Error("the session outlives its socket")
		}
	})
}

// Whatever the moment at which a target is destroyed: the session is moved and ends with
// it, or has stayed and works.
func TestSetSocketRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for i := range 60 {
			p := m.pair(ConnectOptions{})
			time.Sleep(time.Second)
			to := m.socket(SocketOptions{})
			if err := to.bind(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- p.client.SetSocket(t.Context(), to, i%2 == 0) }()
			to.Destroy(nil)
			err := <-done
			if moved := p.client.Socket() == to; moved != p.client.Destroyed() || moved != (err == nil) {
				t.Fatalf("moved %v, session destroyed %v, %v", moved, p.client.Destroyed(), err)
			}
			if err == nil {
				continue
			}
			covers(t, "CLI-019")
			if !errors.Is(err, ErrInvalidState) {
				t.Fatal(err)
			}
			p.exchange(t)
			p.client.Destroy(nil)
		}
	})
}

// A path that does not carry anything is given up, and said to be; the session stays.
func TestPathValidationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: j.paths("server")})
		defer m.close()
		p := m.pair(ConnectOptions{Hooks: j.paths("client")})
		time.Sleep(time.Second)
		next := m.socket(SocketOptions{})
		defer next.Destroy(nil)
		dead := next.opts.PacketConn.(memConn).c.LocalAddr()
		m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Remote == dead })
		if err := p.client.SetSocket(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		p.exchange(t) // meanwhile
		time.Sleep(5 * time.Second)
		j.want(t, fmt.Sprintf("client false %v %v", dead, memServer))
		covers(t, "SES-014")
		covers(t, "SES-015")
		covers(t, "SES-016")
		covers(t, "SES-017")
		old := m.client.Address()
		if a, b := p.client.Address(), p.server.RemoteAddress(); a != old || b != old {
			t.Errorf("client at %v, server sends to %v, want %v", a, b, old)
		}
		covers(t, "SES-106")
		p.exchange(t)
		// The way back goes too: the new socket is all there is.
		m.net.SetFilter(nil)
		m.client.Destroy(nil)
		p.exchange(t)
		if a := p.client.Address(); a != dead {
			t.Errorf("client at %v, want %v", a, dead)
		}
		time.Sleep(5 * time.Second)
		j.want(t, fmt.Sprintf("server true %v %v", memServer, dead))
		// A path that works is told as one, at both ends.
		third := m.socket(SocketOptions{})
		defer third.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), third, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		alive := third.opts.PacketConn.(memConn).c.LocalAddr()
		if c, s := fmt.Sprintf("client true %v %v", alive, memServer), fmt.Sprintf("server true %v %v", memServer, alive); j.count("client") != 1 || j.count(c) != 1 || j.count(s) != 1 || j.count("server false") != 0 {
			t.Errorf("hooks say %q, want %q and %q", j.lines, c, s)
		}
		covers(t, "SES-015")
		covers(t, "SES-016")
		covers(t, "SES-017")
	})
}

// nat gives a client another address from now on, and forgets the old one.
func (m *memNet) nat(inner, outer netip.AddrPort) {
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		switch {
		case d.Path.Remote == inner:
			d.Path.Remote = outer
		case d.Path.Local == outer:
			d.Path.Local = inner
		case d.Path.Local == inner:
			return true
		}
		return false
	})
}

// A NAT changes its mind twice during transfers, about the port and about the address:
// the server follows by itself, and nothing is lost.
func TestRebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: j.paths("server")})
		defer m.close()
		p := m.pair(ConnectOptions{Hooks: j.paths("client")})
		inner := m.client.Address()
		if at := p.server.RemoteAddress(); at != inner {
			t.Fatalf("the server sends to %v", at)
		}
		for _, outer := range []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:7777"), netip.MustParseAddrPort("10.9.9.9:8888")} {
			time.Sleep(time.Second)
			c, s := p.streams(t)
			var b bothWays
			b.send(t, c, s, 1<<20)
			time.Sleep(20 * time.Millisecond)
			m.nat(inner, outer)
			b.wg.Wait()
			time.Sleep(5 * time.Second)
			p.exchange(t)
			synctest.Wait()
			if at := p.server.RemoteAddress(); at != outer {
				t.Errorf("the server sends to %v, want %v", at, outer)
			}
			covers(t, "SES-106")
			if j.count(fmt.Sprintf("server true %v %v", memServer, outer)) != 1 {
				t.Errorf("%q", j.lines)
			}
			covers(t, "SES-014")
			covers(t, "SES-015")
			covers(t, "SES-016")
			covers(t, "SES-017")
		}
		if j.count("client") != 0 {
			t.Errorf("the client knows nothing of it: %q", j.lines)
		}

		// An address from where nothing comes but once is left again.
		m.net.SetFilter(nil)
		p.exchange(t)
		time.Sleep(5 * time.Second)
		if at := p.server.RemoteAddress(); at != inner {
			t.Errorf("without a NAT the server sends to %v, want %v", at, inner)
		}
		fake, once := netip.MustParseAddrPort("10.6.6.6:666"), false
		var tried atomic.Bool
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			switch {
			case d.Path.Local == fake:
				tried.Store(true)
				return false
			case d.Path.Remote != inner:
				return false
			case once:
				return true // nothing else brings the server back
			}
			d.Path.Remote, once = fake, true
			return false
		})
		p.client.Ping()
		time.Sleep(10 * time.Millisecond)
		if at := p.server.RemoteAddress(); at != inner || !tried.Load() {
			t.Errorf("the server says that the client is at %v, want %v; it has tried %v: %v", at, inner, fake, tried.Load())
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if at := p.server.RemoteAddress(); at != inner || !j.has("server false %v %v", memServer, fake) {
			t.Errorf("the server sends to %v, want %v; %q", at, inner, j.lines)
		}
		covers(t, "SES-106")
		m.net.SetFilter(nil)
		p.exchange(t)
	})
}

// When the server is told, it has moved already.
func TestPathValidationComesAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server *ServerSession
		told := 0
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: SessionHooks{
			PathValidation: func(ok bool, local, remote netip.AddrPort) error {
				if told++; ok && told == 1 && (server.RemoteAddress() != remote || server.Address() != local) {
					t.Errorf("%v to %v is valid, in use is %v to %v", local, remote, server.Address(), server.RemoteAddress())
				}
				return nil
			},
		}})
		defer m.close()
		p := m.pair(ConnectOptions{})
		server = p.server
		time.Sleep(time.Second)
		m.nat(m.client.Address(), netip.MustParseAddrPort("10.0.0.2:7777"))
		p.exchange(t)
		time.Sleep(time.Second)
		if synctest.Wait(); told == 0 {
			t.Error("told nothing")
		}
		covers(t, "SES-014")
	})
}

// Somebody sends a copy of a client's packet from elsewhere, faster than the client's
// own: the server tries that address, hears nothing, and goes back.
func TestSpoofedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: j.paths("server")})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		real, fake := m.client.Address(), netip.MustParseAddrPort("10.6.6.6:666")
		seen := false
		var tried atomic.Bool
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Local == fake {
				tried.Store(true)
			}
			if d.Path.Remote == real && !seen {
				d.Path.Remote, seen = fake, true
			}
			return false
		})
		c, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("one"))
		s, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		if at := p.server.RemoteAddress(); at != real || !tried.Load() {
			t.Errorf("the server says that the client is at %v, want %v; it has tried %v: %v", at, real, fake, tried.Load())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !j.has("server false %v %v", memServer, fake) || j.count("server false") != 1 {
			t.Errorf("%q", j.lines)
		}
		covers(t, "SES-015")
		covers(t, "SES-017")
		if at := p.server.RemoteAddress(); at != real {
			t.Errorf("the server sends to %v, want %v", at, real)
		}
		covers(t, "SES-106")
		go s.End([]byte("two"))
		if got, err := io.ReadAll(c); string(got) != "two" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}
