package quic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// newWideNet is newMemNet with a server that has every address of its network, at port
// 4433, and clients of both families.
func newWideNet(t testing.TB, so SocketOptions, lo ListenOptions, client netip.Addr) *memNet {
	t.Helper()
	m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})}
	m.server = m.socketAt(netip.AddrPortFrom(netip.IPv6Unspecified(), memServer.Port()), so)
	if lo.TLS == nil {
		lo.TLS = serverConfig()
	}
	if err := m.server.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	m.client = m.socketAt(netip.AddrPortFrom(client, 1001), SocketOptions{})
	return m
}

// wide connects to the server of newWideNet, at its first address of the client's family.
func (m *memNet) wide(co ConnectOptions) *pair {
	m.t.Helper()
	co = m.options(co)
	if m.client.opts.PacketConn.(memConn).c.LocalAddr().Addr().Is6() {
		co.Address, co.Type = "2001:db8::1", UDP6
	}
	c, err := m.client.Connect(m.t.Context(), co)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := c.Handshake(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	s, err := m.server.Accept(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return &pair{m.server, c, s}
}

var (
	wideClients = [2]netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")}
	wideHomes   = [2]netip.AddrPort{memServer, netip.MustParseAddrPort("[2001:db8::1]:4433")}
	widePrefs   = []PreferredAddress{{Address: "10.0.0.9"}, {Address: "2001:db8::9", Port: 4433, Type: UDP6}}
	wideGoals   = [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:4433"), netip.MustParseAddrPort("[2001:db8::9]:4433")}
)

// A client that accepts goes to the server's preferred address of its own family, and
// says so once; then everything goes on there.
func TestPreferredAddressAccepted(t *testing.T) {
	for k, client := range wideClients {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: widePrefs}, client)
			defer m.close()
			p := m.wide(ConnectOptions{PreferredAddressPolicy: "accept", Hooks: SessionHooks{
				UsePreferredAddress: func(a netip.AddrPort) error {
					family := UDP4
					if a.Addr().Is6() {
						family = UDP6
					}
					j.add("%s %d %s", a.Addr(), a.Port(), family)
					return nil
				},
				PathValidation: func(ok bool, _, remote netip.AddrPort) error {
					j.add("%v %v", ok, remote)
					return nil
				},
			}})
			if p.client.Client() != p.client || p.client.Server() != nil || p.server.Client() != nil {
				t.Error("what Connect returns is not a client's session")
			}
			covers(t, "CLI-001")
			if at := p.client.RemoteAddress(); at != wideHomes[k] {
				t.Errorf("the handshake was with %v", at)
			}
			p.exchange(t)
			time.Sleep(time.Second)
			goal := wideGoals[k]
			if at := p.client.RemoteAddress(); at != goal {
				t.Errorf("the client speaks to %v, want %v", at, goal)
			}
			wideStays(t, k, m, "") // which is "reject"
			wideStays(t, k, m, "reject")
			covers(t, "CON-039")
			if at := p.server.Address(); at != goal {
				t.Errorf("the server speaks from %v, want %v", at, goal)
			}
			covers(t, "LIS-034")
			// The second validation of the same path, if there is one, is not told again.
			next := m.socketAt(netip.AddrPortFrom(client, 1002), SocketOptions{})
			defer next.Destroy(nil)
			if err := p.client.SetSocket(t.Context(), next, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			p.exchange(t)
			synctest.Wait()
			var told, valid []string
			for _, l := range j.lines {
				if strings.HasPrefix(l, "true") {
					valid = append(valid, l)
				} else {
					told = append(told, l)
				}
			}
			want := fmt.Sprintf("%s %d %s", goal.Addr(), goal.Port(), [2]string{UDP4, UDP6}[k])
			if len(told) != 1 || told[0] != want {
				t.Errorf("told %q, want once %q", told, want)
			}
			silent := PreferredAddress{Address: goal.Addr().String(), Port: 9, Type: [2]string{UDP4, UDP6}[k]}
			for _, offer := range [][]PreferredAddress{nil, widePrefs[1-k : 2-k], {silent}} {
				other := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: offer}, client)
				wideStays(t, k, other, "accept")
				other.close()
			}
			covers(t, "CLI-009")
			covers(t, "CON-039")
			covers(t, "CLI-010")
			covers(t, "CLI-011")
			covers(t, "CLI-012")
			if len(valid) != 2 || valid[0] != fmt.Sprintf("true %v", goal) {
				t.Errorf("validated %q", valid)
			}
		})
	}
}

// wideStays wants a client with that policy to stay where its handshake was, and to be told of nothing.
func wideStays(t *testing.T, k int, m *memNet, policy string) {
	t.Helper()
	p := m.wide(ConnectOptions{PreferredAddressPolicy: policy, Hooks: SessionHooks{UsePreferredAddress: func(a netip.AddrPort) error {
		t.Errorf("with the policy %q, the client is told to use %v", policy, a)
		return nil
	}}})
	time.Sleep(2 * time.Second)
	p.exchange(t)
	synctest.Wait()
	if at := p.client.RemoteAddress(); at != wideHomes[k] {
		t.Errorf("with the policy %q, the client speaks to %v", policy, at)
	}
	p.client.Destroy(nil)
}

// A client stays where it is if it was not told to accept, or if the server offers
// nothing of its family.
func TestPreferredAddressDeclined(t *testing.T) {
	for k, client := range wideClients {
		for _, test := range []struct {
			name   string
			policy string
			offer  []PreferredAddress
		}{
			{"rejected", "reject", widePrefs},
			{"default", "", widePrefs},
			{"other family", "accept", widePrefs[1-k : 2-k]},
			{"no offer", "accept", nil},
			{"already there", "accept", []PreferredAddress{{
				Address: wideHomes[k].Addr().String(), Type: [2]string{UDP4, UDP6}[k],
			}}},
		} {
			t.Run(fmt.Sprint(test.name, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: test.offer}, client)
					defer m.close()
					p := m.wide(ConnectOptions{PreferredAddressPolicy: test.policy, Hooks: SessionHooks{
						UsePreferredAddress: func(a netip.AddrPort) error {
							t.Errorf("the client uses %v", a)
							return nil
						},
					}})
					time.Sleep(time.Second)
					p.exchange(t)
					synctest.Wait()
					covers(t, "CLI-009")
					if at := p.client.RemoteAddress(); at != wideHomes[k] {
						t.Errorf("the client speaks to %v, want %v", at, wideHomes[k])
					}
					covers(t, "CON-039")
				})
			})
		}
	}
}

// Nothing answers at the preferred address: the client is told, and stays.
func TestPreferredAddressSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		offer := []PreferredAddress{{Address: "10.0.0.9", Port: 9}}
		m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: offer}, wideClients[0])
		defer m.close()
		p := m.wide(ConnectOptions{PreferredAddressPolicy: "accept", Hooks: SessionHooks{
			UsePreferredAddress: func(a netip.AddrPort) error { j.add("uses %v", a); return nil },
			PathValidation: func(ok bool, local, remote netip.AddrPort) error {
				j.add("%v %v %v", ok, local, remote)
				return nil
			},
		}})
		time.Sleep(5 * time.Second)
		p.exchange(t)
		j.want(t, "false 10.0.0.2:1001 10.0.0.9:9")
		covers(t, "LIS-036")
		if at := p.client.RemoteAddress(); at != memServer {
			t.Errorf("the client speaks to %v", at)
		}
	})
}

func TestPreferredAddressOptions(t *testing.T) {
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	refused := func(option, code string, list ...PreferredAddress) {
		t.Helper()
		err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig(), PreferredAddress: list})
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Option != "ListenOptions.PreferredAddress"+option || oe.Code() != code || !strings.Contains(err.Error(), oe.Option) {
			t.Errorf("%+v: %v, want %s about %s", list, err, code, option)
		}
		if s.Bound() || s.Listening() {
			t.Error("bound in spite of it")
		}
	}
	refused("[0].Address", CodeInvalidArgType, PreferredAddress{})
	refused("[0].Address", CodeInvalidArgType, PreferredAddress{Port: 65_536, Type: "udp5"})
	refused("[0].Address", CodeInvalidArgValue, PreferredAddress{Address: "::1"})
	refused("[0].Address", CodeInvalidArgValue, PreferredAddress{Address: "10.0.0.1", Type: UDP6})
	refused("[0].Address", CodeInvalidArgValue, PreferredAddress{Address: "0.0.0.0"})
	refused("[0].Address", CodeInvalidArgValue, PreferredAddress{Address: "224.0.0.1"})
	refused("[0].Address", CodeInvalidArgValue, PreferredAddress{Address: "fe80::1%lo", Type: UDP6})
	covers(t, "LIS-035")
	refused("[0].Port", CodeSocketBadPort, PreferredAddress{Address: "10.0.0.1", Port: -1})
	refused("[0].Port", CodeSocketBadPort, PreferredAddress{Address: "10.0.0.1", Port: 65_536, Type: "udp5"})
	covers(t, "LIS-036")
	refused("[0].Type", CodeInvalidArgValue, PreferredAddress{Address: "10.0.0.1", Type: "udp5"})
	refused("[0].Type", CodeInvalidArgValue, PreferredAddress{Address: "::1", Type: UDP6Only})
	refused("[1].Type", CodeInvalidArgValue, PreferredAddress{Address: "10.0.0.1"}, PreferredAddress{Address: "10.0.0.2", Type: UDP4})
	covers(t, "LIS-037")
	_, err = NewSocket(SocketOptions{Server: ListenOptions{PreferredAddress: []PreferredAddress{{Address: "a", Port: -1}}}})
	var oe *OptionError
	if !errors.As(err, &oe) || oe.Option != "SocketOptions.Server.PreferredAddress[0].Port" {
		t.Errorf("%v", err)
	}

	// What is good fills the place of its family, with its port.
	synctest.Test(t, func(t *testing.T) {
		offer := []PreferredAddress{{Address: "2001:db8::9", Port: 65_535, Type: UDP6}, {Address: "10.0.0.9", Port: 9}}
		m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: offer}, wideClients[0])
		defer m.close()
		got := m.wide(ConnectOptions{}).client.conn.PeerParameters().PreferredAddress
		if got == nil {
			t.Fatal("nothing is offered")
		}
		if got.IPv4.Port() != 9 || got.IPv6.Port() != 65_535 {
			t.Errorf("offered %v and %v", got.IPv4, got.IPv6)
		}
		covers(t, "LIS-036")
		if got.IPv4.Addr().String() != "10.0.0.9" || got.IPv6.Addr().String() != "2001:db8::9" {
			t.Errorf("offered %v and %v", got.IPv4, got.IPv6)
		}
		covers(t, "LIS-035")
		covers(t, "LIS-037")
	})
	lookedUp(t)
	covers(t, "LIS-035")
}

// Names are resolved by the call's own Lookup, or else the socket's, for the family that
// the type says.
func TestPreferredAddressLookup(t *testing.T) {
	lookedUp(t)
	covers(t, "LIS-018")
	covers(t, "LIS-035")
	covers(t, "LIS-037")
}

func lookedUp(t *testing.T) {
	for _, own := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			lookup := func(_ context.Context, address string, family int) (netip.Addr, error) {
				if address != "elsewhere.test" {
					t.Errorf("Lookup of %q", address)
				}
				return map[int]netip.Addr{4: wideGoals[0].Addr(), 6: wideGoals[1].Addr()}[family], nil
			}
			wrong := func(context.Context, string, int) (netip.Addr, error) {
				t.Error("the wrong Lookup was asked")
				return netip.Addr{}, nil
			}
			so := SocketOptions{Lookup: lookup}
			lo := ListenOptions{PreferredAddress: []PreferredAddress{{Address: "elsewhere.test"}, {Address: "elsewhere.test", Type: UDP6}}}
			if own {
				so.Lookup, lo.Lookup = wrong, lookup
			}
			m := newWideNet(t, so, lo, wideClients[1])
			defer m.close()
			p := m.wide(ConnectOptions{PreferredAddressPolicy: "accept"})
			time.Sleep(time.Second)
			if at := p.client.RemoteAddress(); at != wideGoals[1] {
				t.Errorf("the client speaks to %v", at)
			}
			offer := p.client.conn.PeerParameters().PreferredAddress
			if offer.IPv4 != wideGoals[0] || offer.IPv6 != wideGoals[1] {
				t.Errorf("offered %v and %v", offer.IPv4, offer.IPv6)
			}
		})
	}
}

// A resolver's failure, or its answer that is of no use, is Listen's; the socket is as before.
func TestPreferredAddressLookupFails(t *testing.T) {
	boom := errors.New("boom")
	answer := netip.Addr{}
	s, err := NewSocket(SocketOptions{Lookup: func(context.Context, string, int) (netip.Addr, error) {
		if answer.IsValid() {
			return answer, nil
		}
		return answer, boom
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	lo := ListenOptions{TLS: serverConfig(), PreferredAddress: []PreferredAddress{{Address: "elsewhere.test"}}}
	if err := s.Listen(t.Context(), lo); !errors.Is(err, boom) || s.Bound() {
		t.Errorf("%v, bound %v", err, s.Bound())
	}
	answer = netip.IPv4Unspecified()
	var oe *OptionError
	if err := s.Listen(t.Context(), lo); !errors.As(err, &oe) || oe.Option != "ListenOptions.PreferredAddress[0].Address" || s.Bound() {
		t.Errorf("%v, bound %v", err, s.Bound())
	}
	lo.PreferredAddress = nil
	s.endpoints[0].opts.Address = "127.0.0.1"
	if err := s.Listen(t.Context(), lo); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A preferred address does not stand in the way of 0-RTT.
func TestPreferredAddressAndEarlyData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: widePrefs}, wideClients[0])
		defer m.close()
		var co ConnectOptions
		co.PreferredAddressPolicy = "accept"
		co.Hooks.SessionTicket = func(ticket, params []byte) error {
			co.SessionTicket, co.RemoteTransportParams = ticket, params
			return nil
		}
		p := m.wide(co)
		time.Sleep(time.Second)
		synctest.Wait()
		p.client.CloseWithError(0, "")
		if co.SessionTicket == nil {
			t.Fatal("no ticket")
		}
		c, s := m.sendEarly(co, "early")
		m.wantEarly(s, "early", true)
		time.Sleep(time.Second)
		if !c.UsingEarlyData() || c.RemoteAddress() != wideGoals[0] {
			t.Errorf("early data %v, at %v", c.UsingEarlyData(), c.RemoteAddress())
		}
	})
}

// Over the kernel's sockets: the preferred address is another endpoint of the server's
// socket, which has a pair of them for each family.
func TestPreferredEndpoint(t *testing.T) {
	for _, family := range []struct{ kind, host string }{{UDP4, "127.0.0.1"}, {UDP6, "::1"}} {
		for _, policy := range []string{"accept", "reject"} {
			t.Run(family.kind+" "+policy, func(t *testing.T) {
				ctx := testContext(t)
				server, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Address: family.host, Type: family.kind}})
				if err != nil {
					t.Fatal(err)
				}
				defer server.Destroy(nil)
				second, err := server.AddEndpoint(EndpointOptions{Address: family.host, Type: family.kind})
				if err != nil {
					t.Fatal(err)
				}
				home, err := server.Endpoints()[0].Bind(ctx)
				if err != nil {
					t.Fatal(err)
				}
				goal, err := second.Bind(ctx)
				if err != nil {
					t.Fatal(err)
				}
				offer := []PreferredAddress{{Address: family.host, Port: int(goal.Port()), Type: family.kind}}
				if err := server.Listen(ctx, ListenOptions{TLS: serverConfig(), PreferredAddress: offer}); err != nil {
					t.Fatal(err)
				}
				told := make(chan netip.AddrPort, 1)
				client, err := Dial(ctx, home.String(), ConnectOptions{
					TLS: clientConfig(), ServerName: "localhost", PreferredAddressPolicy: policy,
					Hooks: SessionHooks{UsePreferredAddress: func(a netip.AddrPort) error { told <- a; return nil }},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Destroy(nil)
				s, err := server.Accept(ctx)
				if err != nil {
					t.Fatal(err)
				}
				p := &pair{server, client, s}
				want := home
				if policy == "accept" {
					want = goal
					if a := <-told; a != goal {
						t.Errorf("told %v, want %v", a, goal)
					}
					covers(t, "CLI-009")
				}
				p.exchange(t)
				if at := client.RemoteAddress(); at != want {
					t.Errorf("the client speaks to %v, want %v", at, want)
				}
				covers(t, "CON-039")
				p.exchange(t)
				if at := s.Address(); at != want || len(told) != 0 {
					t.Errorf("the server speaks from %v, want %v; told %d times more", at, want, len(told))
				}
				covers(t, "LIS-034")
			})
		}
	}
}
