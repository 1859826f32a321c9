package quic

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A server that dies without a word, and another one in its place that has its secrets.

// secrets are what a server takes along when it is restarted.
func secrets(o SocketOptions) SocketOptions {
	o.StatelessResetSecret = []byte("reset secret of ")
	o.TokenSecret = []byte("the secret behind tokens, 32 B..")
	return o
}

var ticketKeys = [][32]byte{{1, 2, 3}}

// restart puts a server into the place of the one that is there, which says nothing more.
func (m *memNet) restart(so SocketOptions, lo ListenOptions) {
	m.t.Helper()
	m.net.SetFilter(func(*dgram.Datagram) bool { return true })
	m.server.Destroy(nil)
	synctest.Wait()
	m.net.SetFilter(nil)
	m.server = m.socketAt(memServer, so)
	if lo.TLS == nil {
		lo.TLS = serverConfig()
	}
	if err := m.server.Listen(m.t.Context(), lo); err != nil {
		m.t.Fatal(err)
	}
}

// Old sessions are reset as soon as they say anything: those that only keep alive, those that
// send, and those that wait for an answer. More of them from one host than the limit on
// resets have to find out by their idle timeout.
func TestRestartResetsSessions(t *testing.T) {
	const sessions, delay = 60, 5 * time.Millisecond
	for _, test := range []struct{ most, resets int }{{sessions, sessions}, {0, 10}} {
		synctest.Test(t, func(t *testing.T) {
			so := secrets(SocketOptions{MaxStatelessResetsPerHost: test.most})
			m := newMemNet(t, udp.NetworkOptions{Delay: delay}, so, ListenOptions{})
			defer m.close()
			var clients []*ClientSession
			calls := make(chan error, sessions)
			for i := range sessions {
				p := m.pair(ConnectOptions{})
				clients = append(clients, p.client)
				c, s := p.streams(t)
				switch i % 3 {
				case 0:
					go func() {
						_, err := c.Write(make([]byte, 10<<20))
						calls <- err
					}()
					go io.Copy(io.Discard, s)
				case 1:
					go func() {
						_, err := c.Read(make([]byte, 1))
						calls <- err
					}()
				default:
					go func() { calls <- c.Context().Err() }() // nothing waits
				}
			}
			time.Sleep(time.Second / 10)
			m.restart(so, ListenOptions{})
			restarted := time.Now()
			for _, c := range clients {
				_ = c.Ping()
			}
			resets := 0
			for i, c := range clients {
				<-c.Closed()
				var reset *StatelessResetError
				if took := time.Since(restarted); errors.As(c.Err(), &reset) && c.Stats().StatelessReset {
					resets++
					if took > 20*delay {
						t.Errorf("session %d is reset after %v", i, took)
					}
				} else if !errors.As(c.Err(), new(*IdleTimeoutError)) {
					t.Errorf("session %d ends with %v", i, c.Err())
				}
			}
			for range sessions {
				if err := <-calls; err != nil && !errors.As(err, new(*StatelessResetError)) && !errors.As(err, new(*IdleTimeoutError)) {
					t.Errorf("a call fails with %v", err)
				}
			}
			if n := m.server.Stats().StatelessResetCount; resets != test.resets || n < uint64(resets) {
				t.Errorf("%d of %d sessions are reset, by %d packets; want %d", resets, sessions, n, test.resets)
			}
			time.Sleep(time.Second)
			if a, b := m.client.routed(), m.server.routed(); a+b != 0 {
				t.Errorf("%d and %d sessions are still routed", a, b)
			}
		})
	}
}

// A ticket of before resumes a session with the server that has its keys. What comes early
// with it is taken if the register of used tickets has survived too, and then once; a server
// with a new register cannot know what was used, and refuses: it comes again after the handshake.
func TestRestartHonoursTickets(t *testing.T) {
	for _, test := range []struct {
		name     string
		survives bool
		keys     [][32]byte // of the second server
		resumes  []bool     // the ticket, used twice
		early    []bool
	}{
		{"register survives", true, ticketKeys, []bool{true, true}, []bool{true, false}},
		{"new register", false, ticketKeys, []bool{true, true}, []bool{false, false}},
		{"other keys", true, [][32]byte{{9}}, []bool{false, false}, []bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var register ReplayRegister
				if test.survives {
					register = NewReplayRegister(0)
					time.Sleep(time.Second) // no ticket is from before the register
				}
				lo := ListenOptions{TicketKeys: ticketKeys, ReplayRegister: register}
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, secrets(SocketOptions{}), lo)
				defer m.close()
				r := m.first(ConnectOptions{})
				lo.TicketKeys = test.keys
				m.restart(secrets(SocketOptions{}), lo)
				for i := range test.early {
					c, s := m.early(r)
					if c.ConnectionState().DidResume != test.resumes[i] || s.ConnectionState().DidResume != test.resumes[i] {
						t.Errorf("time %d: resumed %v", i, c.ConnectionState().DidResume)
					}
					if c.UsingEarlyData() != test.early[i] || s.EarlyDataAccepted() != test.early[i] {
						t.Errorf("time %d: early data %v and %v", i, c.UsingEarlyData(), s.EarlyDataAccepted())
					}
					m.wantEarly(s, "x", test.early[i])
					// What was used before is used after another restart too.
					m.restart(secrets(SocketOptions{}), lo)
				}
			})
		})
	}
}

// The token of an earlier session saves the round trip of a Retry at a server that has the secret
// behind it, and is of no use at one that has not.
func TestRestartHonoursTokens(t *testing.T) {
	const delay = 10 * time.Millisecond
	took := map[string]time.Duration{}
	for _, test := range []struct {
		name   string
		second SocketOptions
		retry  bool
	}{
		{"same secret", secrets(SocketOptions{ValidateAddress: true}), false},
		{"another secret", SocketOptions{ValidateAddress: true}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: delay}, secrets(SocketOptions{ValidateAddress: true}), ListenOptions{})
			defer m.close()
			m.pair(ConnectOptions{}).exchange(t)
			time.Sleep(time.Second)
			if n := m.client.opts.TokenStore.Len(); n != 1 || m.server.Stats().RetryCount == 0 {
				t.Fatalf("%d tokens after a first session", n)
			}
			m.restart(test.second, ListenOptions{})
			c := m.connect(ConnectOptions{})
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			took[test.name] = c.Stats().HandshakeDuration
			if st := m.server.Stats(); st.RetryCount > 0 != test.retry || st.ServerSessions != 1 {
				t.Errorf("%s: %+v", test.name, st)
			}
		})
	}
	if saved := took["another secret"] - took["same secret"]; saved != 2*delay {
		t.Errorf("the token saves %v, and not a round trip of %v", saved, 2*delay)
	}
}

// A client shows a token to nobody but the server that gave it: not to another address, and not to another name at
// the same one (RFC 9000 §8.1.3).
func TestTokenOfItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.pair(ConnectOptions{}).exchange(t)
		time.Sleep(time.Second)
		if n := m.client.opts.TokenStore.Len(); n != 1 {
			t.Fatalf("%d tokens after a first session", n)
		}
		for _, test := range []struct {
			address, name string
			shown         bool
		}{
			{"10.0.0.3", "localhost", false},
			{memServer.Addr().String(), "another.example", false},
			{memServer.Addr().String(), "localhost", true},
		} {
			if token := m.firstToken(test.address, test.name); len(token) > 0 != test.shown {
				t.Errorf("%s at %s is shown the token %x", test.name, test.address, token)
			}
		}
	})
}

// firstToken returns the token in what a client sends first; it does not arrive.
func (m *memNet) firstToken(address, name string) []byte {
	m.t.Helper()
	var flight [][]byte
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		flight = append(flight, bytes.Clone(d.Data))
		return true
	})
	c, err := m.client.Connect(m.t.Context(), ConnectOptions{Address: address, Port: int(memServer.Port()), ServerName: name, TLS: clientConfig()})
	if err != nil {
		m.t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	c.Destroy(nil)
	time.Sleep(5 * time.Millisecond)
	m.net.SetFilter(nil)
	for _, b := range flight {
		if h, ok := wire.ParseLong(b); ok && h.Type == wire.Initial {
			return h.Token
		}
	}
	m.t.Fatalf("no Initial among %d datagrams", len(flight))
	return nil
}

// All at once, as a client sees it that keeps its tickets and tokens: its session is reset, and the
// next one is resumed, sends early and needs no Retry.
func TestRestartAsSeenByClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		so := secrets(SocketOptions{ValidateAddress: true})
		lo := ListenOptions{TicketKeys: ticketKeys, ReplayRegister: NewReplayRegister(0)}
		time.Sleep(time.Second)
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, so, lo)
		defer m.close()
		config := clientConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		p := m.pair(ConnectOptions{TLS: config, KeepAlive: time.Second})
		p.exchange(t)
		time.Sleep(time.Second / 2)
		m.restart(so, lo)
		restarted := time.Now()
		<-p.client.Closed()
		if !errors.As(p.client.Err(), new(*StatelessResetError)) || time.Since(restarted) > 2*time.Second {
			t.Errorf("the session ends after %v with %v", time.Since(restarted), p.client.Err())
		}
		c, s := m.sendEarly(ConnectOptions{TLS: config}, "early")
		m.wantEarly(s, "early", true)
		if err := c.Handshake(t.Context()); err != nil || !c.UsingEarlyData() {
			t.Errorf("%v, early data %v", err, c.UsingEarlyData())
		}
		if st := m.server.Stats(); st.RetryCount != 0 || st.InvalidTokens != 0 || st.StatelessResetCount == 0 || st.ServerSessions != 1 {
			t.Errorf("%+v", st)
		}
	})
}
