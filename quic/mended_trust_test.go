package quic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// A ticket's early data is taken by the listener that has issued it, and not again by
// another with the same keys, unless they share a register.
func TestEarlyDataAtTwoListeners(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			lo := ListenOptions{ALPN: "test", TLS: serverConfig(), TicketKeys: [][32]byte{{1}}}
			if shared {
				lo.ReplayRegister = NewReplayRegister(0)
			}
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, lo)
			defer m.close()
			other := m.socket(SocketOptions{})
			defer other.Destroy(nil)
			if err := other.Listen(t.Context(), lo); err != nil {
				t.Fatal(err)
			}
			accepted := func(first, second *Socket, r *resumption) (n int) {
				for _, at := range []*Socket{first, second} {
					o := m.options(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params})
					to := at.Endpoints()[0].Address()
					o.Address, o.Port = to.Addr().String(), int(to.Port())
					c, err := m.client.Connect(t.Context(), o)
					if err != nil {
						t.Fatal(err)
					}
					st, err := c.TryOpenStream(StreamOptions{})
					if err != nil {
						t.Fatal(err)
					}
					st.End([]byte("pay"))
					s, err := at.Accept(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if err := s.Handshake(t.Context()); err != nil || !s.ConnectionState().DidResume {
						t.Errorf("not resumed: %v", err)
					}
					if s.EarlyDataAccepted() {
						n++
					}
				}
				return n
			}
			if n := accepted(m.server, other, m.first(ConnectOptions{})); n != 1 {
				t.Errorf("shared register %v: early data of one ticket was taken %d times", shared, n)
			}
			want := 0
			if shared {
				want = 1
			}
			if n := accepted(other, other, m.first(ConnectOptions{})); n != want {
				t.Errorf("shared register %v: the other listener has taken early data %d times, want %d", shared, n, want)
			}
		})
	}
}

// Nothing is sent early to a server that a strict session would not go on with: who TLS
// does not look at because the session's own verification does, is looked at before.
func TestEarlyDataNeedsTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, other := newIssuer(t, "root", nil, nil), newIssuer(t, "other", nil, nil)
		leaf := root.leaf(t, "server")
		now := time.Now()
		m := serveSecure(t, leaf.options(t), ListenOptions{})
		defer m.close()
		ticket := func(o securecontext.Options, co ConnectOptions) *resumption {
			co.ALPN, co.SecureContext = "test", newContext(t, o)
			return m.first(co)
		}
		listed := func(certs ...*issuer) securecontext.Options {
			o := trusting(root)
			o.CRL = [][]byte{root.revokes(t, now.Add(-time.Hour), now.Add(time.Hour), certs...)}
			return o
		}
		anyHost := ConnectOptions{SkipHostnameVerification: true, ServerName: "elsewhere"}
		soft := ConnectOptions{AllowUnauthenticated: true}
		for _, test := range []struct {
			name          string
			first, second securecontext.Options
			co, again     ConnectOptions
			early, up     bool
		}{
			{"tolerated, then not", trusting(other), trusting(other), soft, anyHost, false, false},
			{"other anchors, any host", trusting(root), trusting(other), anyHost, anyHost, false, false},
			{"any host again", trusting(root), trusting(root), anyHost, anyHost, true, true},
			{"revoked since, any host", trusting(root), listed(leaf), anyHost, anyHost, false, false},
			{"revoked since", listed(), listed(leaf), ConnectOptions{}, ConnectOptions{}, false, false},
			{"revoked since, no list before", trusting(root), listed(leaf), ConnectOptions{}, ConnectOptions{}, false, false},
			{"not revoked", listed(), listed(), ConnectOptions{}, ConnectOptions{}, true, true},
			{"no list before", trusting(root), listed(), ConnectOptions{}, ConnectOptions{}, false, true},
			{"revoked, but tolerated", listed(), listed(leaf), ConnectOptions{}, soft, true, true},
		} {
			r := ticket(test.first, test.co)
			o := test.again
			o.ALPN, o.SecureContext = "test", newContext(t, test.second)
			o.SessionTicket, o.RemoteTransportParams = r.ticket, r.params
			c := m.connect(o)
			st, err := c.TryOpenStream(StreamOptions{})
			if test.early && err != nil || !test.early && err == nil && !c.HandshakeComplete() {
				t.Errorf("%s: TryOpenStream: %v", test.name, err)
			}
			if err == nil {
				st.End([]byte("secret"))
			}
			if err := c.Handshake(t.Context()); (err == nil) != test.up || err == nil && !c.ConnectionState().DidResume {
				t.Errorf("%s: handshake: %v", test.name, err)
			}
			if c.conn.SentEarly() && !test.early {
				t.Errorf("%s: data was sent early", test.name)
			}
			c.Destroy(nil)
		}
	})
}

// What a client sends early is not for the program before the client's certificate is
// looked at: that of the ticket may be revoked by now.
func TestEarlyDataOfRevokedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, clients := newIssuer(t, "root", nil, nil), newIssuer(t, "clients", nil, nil)
		leaf, card := root.leaf(t, "server"), clients.leaf(t, "card")
		now := time.Now()
		server := leaf.options(t)
		server.CA = [][]byte{clients.pem()}
		lo := ListenOptions{ALPN: "test", RequestCert: true, TicketKeys: [][32]byte{{1}}, ReplayRegister: NewReplayRegister(0)}
		lo.SecureContext = newContext(t, server)
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, lo)
		defer func() { m.close() }()
		own := card.options(t)
		own.CA = [][]byte{root.pem()}
		client := newContext(t, own)
		for _, revoked := range []bool{false, true} {
			r := m.first(ConnectOptions{ALPN: "test", SecureContext: client})
			if revoked {
				server.CRL = [][]byte{clients.revokes(t, now, now.Add(time.Hour), card)}
			}
			lo.SecureContext = newContext(t, server)
			streams := make(chan bool, 1)
			lo.Handler = func(s *ServerSession) error {
				s.SetHooks(SessionHooks{Stream: func(st *Stream) error {
					streams <- st.Early()
					return nil
				}})
				return nil
			}
			m.listenAgain(lo)
			c := m.connect(ConnectOptions{ALPN: "test", SecureContext: client, SessionTicket: r.ticket, RemoteTransportParams: r.params})
			st, err := c.TryOpenStream(StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			st.End([]byte("pay"))
			if err := c.Handshake(t.Context()); (err != nil) != revoked {
				t.Errorf("revoked %v: %v", revoked, err)
			}
			synctest.Wait()
			select {
			case early := <-streams:
				if revoked || !early {
					t.Errorf("revoked %v: a stream came, early %v", revoked, early)
				}
			default:
				if !revoked {
					t.Error("no stream came")
				}
			}
			lo.Handler = nil
			m.listenAgain(lo)
		}
	})
}
