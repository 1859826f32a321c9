package quic

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// datagrams sends a server many datagrams that are nobody's, and returns how many of
// 1000 bytes it has counted.
func (m *memNet) datagrams(n int) (counted uint64) {
	m.t.Helper()
	c, err := m.net.Listen(netip.MustParseAddrPort("10.0.0.9:9"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	before := m.server.Stats().BytesReceived
	for range n {
		sendRaw(m.t, c, memServer, make([]byte, 1000))
		synctest.Wait()
	}
	return (m.server.Stats().BytesReceived - before) / 1000
}

// What a socket loses on purpose coming in is counted nowhere; 1 is everything.
func TestDiagnosticLossReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: 1}); err != nil {
			t.Fatal(err)
		}
		for range 50 { // 1 lets none of many through
			m.connect(ConnectOptions{HandshakeTimeout: 5 * time.Second})
		}
		if n := m.datagrams(2000); n != 0 {
			t.Errorf("%d of many got through", n)
		}
		time.Sleep(6 * time.Second)
		st := m.server.Stats()
		if st.BytesReceived != 0 || st.PacketsReceived != 0 || st.PacketsIgnored != 0 || st.PacketsSent != 0 || st.ServerSessions != 0 {
			t.Errorf("%+v", st)
		}
		for _, bad := range []float64{-0.1, 1.000001, math.NaN(), math.Inf(1), math.Inf(-1)} {
			err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: bad})
			wantOption(t, err, "DiagnosticPacketLoss.RX", CodeOutOfRange)
			if err == nil || !strings.Contains(err.Error(), "0 to 1") {
				t.Errorf("%v names no range", err)
			}
		}
		c := m.connect(ConnectOptions{HandshakeTimeout: time.Second})
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("a rate that was refused has replaced the one before")
		}
		// Between the ends it is a probability, and 0 is nothing.
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: 0.25}); err != nil {
			t.Fatal(err)
		}
		if n := m.datagrams(1000); n < 600 || n > 900 { // ten deviations
			t.Errorf("%d of 1000 got through a loss of a quarter", n)
		}
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{}); err != nil {
			t.Fatal(err)
		}
		if n := m.datagrams(1000); n != 1000 {
			t.Errorf("%d of 1000 got through no loss", n)
		}
		m.pair(ConnectOptions{}).exchange(t)
		covers(t, "DPL-001")
	})
}

// What a socket loses going out is counted by the session, not by the socket.
func TestDiagnosticLossSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		if err := m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{TX: 1}); err != nil {
			t.Fatal(err)
		}
		c := m.connect(ConnectOptions{HandshakeTimeout: 5 * time.Second})
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("a client that loses everything has shaken hands")
		}
		if st := m.client.Stats(); st.BytesSent != 0 || st.PacketsSent != 0 {
			t.Errorf("%+v", st)
		}
		if st := c.Stats(); st.BytesSent < 1200 || st.PacketsSent == 0 {
			t.Errorf("%+v", st)
		}
		if st := m.server.Stats(); st.BytesReceived != 0 || st.PacketsIgnored != 0 {
			t.Errorf("%+v", st)
		}
		for _, bad := range []float64{-0.1, 1.000001, math.NaN(), math.Inf(1), math.Inf(-1)} {
			wantOption(t, m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{TX: bad}), "DiagnosticPacketLoss.TX", CodeOutOfRange)
		}
		// Both rates are replaced: now it is the answers that are lost.
		if err := m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: 1}); err != nil {
			t.Fatal(err)
		}
		c = m.connect(ConnectOptions{HandshakeTimeout: 5 * time.Second})
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("a client that hears nothing has shaken hands")
		}
		if st, server := m.client.Stats(), m.server.Stats(); st.BytesSent == 0 || st.BytesSent != server.BytesReceived || st.BytesReceived != 0 {
			t.Errorf("%+v\n%+v", st, server)
		}
		covers(t, "DPL-002")
		sent := func(rate float64) (n uint64) { // of 1000 datagrams of 1000 bytes
			t.Helper()
			if err := m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{TX: rate}); err != nil {
				t.Fatal(err)
			}
			e, before := m.client.Endpoints()[0], m.client.Stats().BytesSent
			for range 1000 {
				if err := e.send(batchTo(e, netip.MustParseAddrPort("10.0.0.9:9"), strings.Repeat("x", 1000))); err != nil {
					t.Fatal(err)
				}
			}
			return (m.client.Stats().BytesSent - before) / 1000
		}
		if n := sent(1); n != 0 {
			t.Errorf("%d of 1000 were sent, with a rate of 1", n)
		}
		if n := sent(0.25); n < 600 || n > 900 { // ten deviations
			t.Errorf("%d of 1000 were sent, with a loss of a quarter", n)
		}
		if n := sent(0); n != 1000 {
			t.Errorf("%d of 1000 were sent, with no loss", n)
		}
		covers(t, "DPL-002")
	})
}

// Transfers get through a network that loses a fifth at each of four places.
func TestDiagnosticLossTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{IdleTimeout: time.Hour, HandshakeTimeout: time.Hour})
		defer m.close()
		for _, s := range []*Socket{m.client, m.server} {
			if err := s.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: 0.2, TX: 0.2}); err != nil {
				t.Fatal(err)
			}
		}
		p := m.pair(ConnectOptions{IdleTimeout: time.Hour, HandshakeTimeout: time.Hour})
		want := bytes.Repeat([]byte("cinnabar"), 20_000)
		st, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		go st.End(want)
		up, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(up)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		go up.End(got)
		if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
		if p.client.Stats().PacketsLost == 0 || p.server.Stats().PacketsLost == 0 {
			t.Error("nothing was lost")
		}
		if sent := m.client.Stats().BytesSent; sent == 0 || sent >= p.client.Stats().BytesSent {
			t.Errorf("the socket has sent %d bytes, its session %d", sent, p.client.Stats().BytesSent)
		}
		if sent, got := m.client.Stats().BytesSent, m.server.Stats().BytesReceived; got == 0 || got >= sent {
			t.Errorf("%d bytes were sent, and %d received", sent, got)
		}
		bothReplaced(t, m)
		m.client.Destroy(nil)
		err = m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{})
		if !errors.Is(err, ErrInvalidState) {
			t.Errorf("after the end: %v", err)
		}
		wantCode(t, err, CodeInvalidState)
		covers(t, "SOC-059")
	})
}

// bothReplaced checks that each call replaces both rates, by what gets to the server and
// back from it.
func bothReplaced(t *testing.T, m *memNet) {
	t.Helper()
	for _, c := range []struct {
		l              DiagnosticPacketLoss
		sends, carries bool
	}{
		{DiagnosticPacketLoss{RX: 1, TX: 1}, false, false},
		{DiagnosticPacketLoss{RX: 1}, true, false},
		{DiagnosticPacketLoss{TX: 1}, false, false},
		{DiagnosticPacketLoss{}, true, true},
	} {
		if err := errors.Join(m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{}), m.client.SetDiagnosticPacketLoss(c.l)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // until the server has given up what was before
		before := m.client.Stats()
		s := m.connect(ConnectOptions{HandshakeTimeout: 5 * time.Second})
		err := s.Handshake(t.Context())
		after := m.client.Stats()
		if sends, hears := after.BytesSent > before.BytesSent, after.BytesReceived > before.BytesReceived; sends != c.sends || hears != c.carries || (err == nil) != c.carries {
			t.Errorf("%+v: sends %v, hears %v, shakes hands: %v", c.l, sends, hears, err)
		}
	}
}
