package quic

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A token that comes back too late is refused with INVALID_TOKEN, and makes no session.
func TestRetryTokenTimeout(t *testing.T) {
	for _, test := range []struct {
		timeout, trip time.Duration
		late          bool
	}{
		{0, 9900 * time.Millisecond, false}, // the default is 10 s
		{0, 10100 * time.Millisecond, true},
		{time.Second, 900 * time.Millisecond, false},
		{time.Second, 1100 * time.Millisecond, true},
		{60 * time.Second, 59 * time.Second, false},
		{60 * time.Second, 61 * time.Second, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			taken := 0
			m := newMemNet(t, udp.NetworkOptions{Delay: test.trip / 2}, SocketOptions{ValidateAddress: true, RetryTokenTimeout: test.timeout}, ListenOptions{
				HandshakeTimeout: time.Hour, IdleTimeout: time.Hour,
				Handler: func(*ServerSession) error { taken++; return nil },
			})
			defer m.close()
			c := m.connect(ConnectOptions{HandshakeTimeout: time.Hour, IdleTimeout: time.Hour})
			err := c.Handshake(t.Context())
			st := m.server.Stats()
			if !test.late {
				if err != nil || st.ServerSessions != 1 || taken != 1 {
					t.Errorf("token of %v back in %v: %v, %+v", test.timeout, test.trip, err, st)
				}
				return
			}
			if !errors.Is(err, &TransportError{ErrorCode: 0xb, Remote: true}) || c.CloseCode() != (CloseCode{0xb, CloseTransport, true}) {
				t.Errorf("token of %v back in %v: %v, %+v", test.timeout, test.trip, err, c.CloseCode())
			}
			if st.ServerSessions != 0 || st.InvalidTokens == 0 || taken != 0 {
				t.Errorf("%d handlers, %+v", taken, st)
			}
		})
	}
	for _, d := range []time.Duration{None, 10, time.Second - 1, 1500 * time.Millisecond, 61 * time.Second, -time.Second} {
		_, err := NewSocket(SocketOptions{RetryTokenTimeout: d})
		wantOption(t, err, "SocketOptions.RetryTokenTimeout", CodeOutOfRange)
		if err == nil || !strings.Contains(err.Error(), "1s to 60s") {
			t.Errorf("%v names no range", err)
		}
	}
	covers(t, "CQS-013")
}

// With ValidateAddress a first packet is answered with a Retry and remembered by
// nobody; with the token there is a session, one round trip later.
func TestRetryRow(t *testing.T) {
	const delay = 10 * time.Millisecond
	took := func(o SocketOptions) (d time.Duration, retries uint64) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: delay}, o, ListenOptions{})
			defer m.close()
			c := m.connect(ConnectOptions{})
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			d, retries = c.Stats().HandshakeDuration, m.server.Stats().RetryCount
			if n := m.server.Stats().ServerSessions; n != 1 {
				t.Errorf("%d sessions", n)
			}
		})
		return d, retries
	}
	plain, none := took(SocketOptions{})
	validated, some := took(SocketOptions{ValidateAddress: true})
	if none != 0 || some == 0 || validated-plain != 2*delay {
		t.Errorf("%v with %d retries, and without: %v with %d", validated, some, plain, none)
	}
	synctest.Test(t, func(t *testing.T) { // nobody who does not get the Retry gets a session
		m := newMemNet(t, udp.NetworkOptions{Delay: delay}, SocketOptions{ValidateAddress: true}, ListenOptions{})
		defer m.close()
		var seen []wire.PacketType
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Remote != memServer {
				return false
			}
			if h, ok := wire.ParseLong(d.Data); ok {
				seen = append(seen, h.Type)
			}
			return true
		})
		c := m.connect(ConnectOptions{HandshakeTimeout: 2 * time.Second})
		_ = c.Handshake(t.Context())
		if st := m.server.Stats(); st.ServerSessions != 0 || st.RetryCount == 0 || uint64(len(seen)) != st.RetryCount || m.server.mux.Conns() != 0 {
			t.Errorf("%+v", st)
		}
		for _, typ := range seen {
			if typ != wire.Retry {
				t.Errorf("the server says %v", typ)
			}
		}
	})
	for _, thief := range []string{"10.0.0.7:1001", "10.0.0.2:7"} {
		tokenOfAnother(t, netip.MustParseAddrPort(thief))
	}
	covers(t, "CQS-016")
}

// tokenOfAnother wants a token to be of use to nobody at another address, nor at another
// port of the client's.
func tokenOfAnother(t *testing.T, thief netip.AddrPort) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{ValidateAddress: true}, ListenOptions{})
		defer m.close()
		if home := m.client.opts.PacketConn.(memConn).c.LocalAddr(); home == thief || home.Addr() != thief.Addr() && home.Port() != thief.Port() {
			t.Fatalf("the client is at %v", home)
		}
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if h, ok := wire.ParseLong(d.Data); ok && d.Path.Local == memServer && len(h.Token) > 0 {
				d.Path.Remote = thief
			}
			return false
		})
		c := m.connect(ConnectOptions{HandshakeTimeout: 2 * time.Second})
		if err := c.Handshake(t.Context()); err == nil {
			t.Errorf("a token was good for %v too", thief)
		}
		if st := m.server.Stats(); st.ServerSessions != 0 || st.InvalidTokens == 0 {
			t.Errorf("%+v", st)
		}
	})
}
