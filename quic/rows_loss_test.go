package quic

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

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
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{}); err != nil {
			t.Fatal(err)
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
		m.client.Destroy(nil)
		err = m.client.SetDiagnosticPacketLoss(DiagnosticPacketLoss{})
		if !errors.Is(err, ErrInvalidState) {
			t.Errorf("after the end: %v", err)
		}
		wantCode(t, err, CodeInvalidState)
		covers(t, "SOC-059")
	})
}
