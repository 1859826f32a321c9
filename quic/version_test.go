package quic

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What two ends agree on, by what they speak and like (RFC 9368, RFC 9369 §4).
func TestVersions(t *testing.T) {
	const v1, v2 = Version1, Version2
	for _, tt := range []struct {
		name           string
		client, server []Version
		first, want    Version
		negotiated     bool // with a Version Negotiation packet
	}{
		{name: "nothing said", want: v1},
		{name: "server likes version 2", server: []Version{v2, v1}, want: v2},
		{name: "client likes version 2", client: []Version{v2, v1}, want: v2},
		{name: "both have a preference", client: []Version{v2, v1}, server: []Version{v1, v2}, want: v1},
		{name: "client has only version 1", client: []Version{v1}, server: []Version{v2, v1}, want: v1},
		{name: "client has only version 2", client: []Version{v2}, want: v2},
		{name: "client begins with version 2", first: v2, client: []Version{v2, v1}, want: v2},
		{name: "client begins with version 2 and likes version 1", first: v2, want: v1},
		{name: "server has only version 2", server: []Version{v2}, want: v2, negotiated: true},
		{name: "server has only version 1", server: []Version{v1}, first: v2, want: v1, negotiated: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Versions: tt.server})
				defer m.close()
				p := m.pair(ConnectOptions{Versions: tt.client, FirstVersion: tt.first})
				p.exchange(t)
				if p.client.Version() != tt.want || p.server.Version() != tt.want {
					t.Errorf("versions %v and %v, want %v", p.client.Version(), p.server.Version(), tt.want)
				}
				if n := m.server.Stats().VersionNegotiations; n > 0 != tt.negotiated {
					t.Errorf("%d Version Negotiation packets, want some: %v", n, tt.negotiated)
				}
				covers(t, "X-022")
			})
		})
	}
}

// Ends with no version in common: the client learns what the server has.
func TestVersionsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Versions: []Version{Version2}})
		defer m.close()
		c := m.connect(ConnectOptions{Versions: []Version{Version1}})
		var v *VersionNegotiationError
		if err := c.Handshake(t.Context()); !errors.As(err, &v) || v.Version != 1 || len(v.SupportedVersions) != 1 {
			t.Errorf("Handshake: %#v", err)
		}
	})
}

// Lists that make no sense are refused before anything happens.
func TestVersionOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for option, o := range map[string]ConnectOptions{
			"ConnectOptions.Versions":     {Versions: []Version{Version1, Version1}},
			"ConnectOptions.FirstVersion": {Versions: []Version{Version1}, FirstVersion: Version2},
		} {
			_, err := m.client.Connect(t.Context(), m.options(o))
			wantBad(t, err, option, CodeInvalidArgValue)
		}
		_, err := m.client.Connect(t.Context(), m.options(ConnectOptions{FirstVersion: 3}))
		wantBad(t, err, "ConnectOptions.FirstVersion", CodeInvalidArgValue)
		other := m.socketAt(otherServer, SocketOptions{})
		defer other.Destroy(nil)
		wantBad(t, other.Listen(t.Context(), ListenOptions{TLS: serverConfig(), Versions: []Version{7}}), "ListenOptions.Versions", CodeInvalidArgValue)
		_, err = NewSocket(SocketOptions{Server: ListenOptions{Versions: []Version{7}}})
		wantBad(t, err, "SocketOptions.Server.Versions", CodeInvalidArgValue)
	})
}

// RFC 9368 §6: the connection that follows a Version Negotiation packet negotiates its protocol anew. The
// client offers all that it has in both, and gets what the server of the second wants: not what the ticket of
// a session in the first version was for.
func TestVersionNegotiationProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := [][32]byte{{1}}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "one", TicketKeys: keys})
		defer m.close()
		offered, log := []string{"one", "two"}, new(bytes.Buffer)
		config := clientConfig()
		config.NextProtos, config.KeyLogWriter = offered, log
		r := m.first(ConnectOptions{TLS: config})
		m.again(ListenOptions{ALPN: "two", Versions: []Version{Version2}, TicketKeys: keys})
		for _, o := range []ConnectOptions{{}, {SessionTicket: r.ticket, RemoteTransportParams: r.params}} {
			tr := m.record()
			o.TLS = config
			p := m.pair(o)
			p.exchange(t)
			if c, s := p.client.ALPNProtocol(), p.server.ALPNProtocol(); c != "two" || s != "two" || p.client.Version() != Version2 {
				t.Errorf("the ends speak %q and %q over version %v", c, s, p.client.Version())
			}
			var list []trace.Datagram
			for _, d := range tr.sent() {
				list = append(list, trace.Datagram{From: d.Path.Remote, To: d.Path.Local, FromClient: d.Path.Local == memServer, Data: d.Data})
			}
			seen := trace.Decode(list, log.Bytes())
			if err := trace.Negotiated(uint32(Version2))(&trace.Run{Client: seen, Server: seen}); err != nil {
				t.Error(err)
			}
			if len(seen.Conns) != 2 {
				t.Fatalf("%d connections were seen", len(seen.Conns))
			}
			for i, c := range seen.Conns {
				if !slices.Equal(c.Protocols, offered) {
					t.Errorf("connection %d offers %q, want %q", i, c.Protocols, offered)
				}
			}
			p.client.CloseWithError(0, "")
		}
	})
}

// RFC 9369 §5: a ticket serves a session that begins in the version of the one that it came
// from, which after an upgrade is the negotiated one, for 0-RTT too; and no other.
func TestTicketVersions(t *testing.T) {
	for _, keys := range [][][32]byte{nil, {{1}}} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TicketKeys: keys})
			defer m.close()
			both := []Version{Version2, Version1}
			r := m.first(ConnectOptions{Versions: both}) // begun in version 1
			resume := func(o ConnectOptions) *pair {
				o.SessionTicket, o.RemoteTransportParams = r.ticket, r.params
				p := m.pair(o)
				p.exchange(t)
				return p
			}
			p := resume(ConnectOptions{Versions: both})
			if !p.client.ConnectionState().DidResume || !p.client.EarlyDataAccepted() || !p.server.EarlyDataAccepted() || p.client.Version() != Version2 {
				t.Errorf("resumed %v, early %v, in version %v", p.client.ConnectionState().DidResume, p.client.EarlyDataAccepted(), p.client.Version())
			}
			for _, o := range []ConnectOptions{{Versions: []Version{Version1}}, {Versions: both, FirstVersion: Version1}} {
				if p := resume(o); p.client.ConnectionState().DidResume || p.client.EarlyDataAccepted() {
					t.Errorf("%+v: a ticket of version 2 is used in version 1", o.Versions)
				}
			}
		})
	}
}

// A server does not take the word of a client for it: one that presents a ticket in another
// version gets a whole handshake.
func TestTicketOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TicketKeys: [][32]byte{{1}}})
		defer m.close()
		for _, v := range []Version{Version1, Version2} {
			r := m.first(ConnectOptions{FirstVersion: v, Versions: []Version{v}})
			other := Version(wire.Version1 ^ wire.Version2 ^ uint32(v))
			forged := relabelled(t, r.ticket, uint32(other))
			c := m.connect(ConnectOptions{SessionTicket: forged, RemoteTransportParams: r.params, Versions: []Version{other}})
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatalf("a ticket of version %v: %v", v, err)
			}
			if c.Version() != other || c.ConnectionState().DidResume || c.EarlyDataAccepted() {
				t.Errorf("a ticket of version %v in version %v: resumed %v", v, c.Version(), c.ConnectionState().DidResume)
			}
			c.Destroy(nil)
		}
	})
}

// relabelled returns a ticket about which the client remembers another version.
func relabelled(t *testing.T, ticket []byte, version uint32) []byte {
	t.Helper()
	cs, state, err := decodeTicket(ticket)
	if err != nil {
		t.Fatal(err)
	}
	label, _, err := cs.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	state.Extra = slices.DeleteFunc(state.Extra, func(b []byte) bool { return bytes.HasPrefix(b, versionExtra) })
	state.Extra = withVersion(state.Extra, version)
	if cs, err = tls.NewResumptionState(label, state); err != nil {
		t.Fatal(err)
	}
	ticket, _, err = encodeTicket(cs)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestVersionString(t *testing.T) {
	for v, want := range map[Version]string{Version1: "1", Version2: "2", 0xff00001d: "0xff00001d", 7: "0x00000007"} {
		if v.String() != want {
			t.Errorf("%d is %q", uint32(v), v.String())
		}
	}
}
