package transport

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// integer encodes the value of an integer parameter.
func integer(v uint64) []byte { return varint.Append(nil, v) }

// Values that a parameter may not have, at either end, are TRANSPORT_PARAMETER_ERRORs
// (RFC 9000 §7.4, §18.2, RFC 9000 §4.6).
func TestS29ParameterLimits(t *testing.T) {
	besiege(t, 0)
	long := make([]byte, 21)
	for _, tt := range []struct {
		name  string
		id    uint64
		value []byte
		ok    bool
	}{
		{"max_udp_payload_size 1199", 0x03, integer(1199), false},
		{"max_udp_payload_size 1200", 0x03, integer(1200), true},
		{"max_udp_payload_size without end", 0x03, integer(1<<62 - 1), true},
		{"ack_delay_exponent 20", 0x0a, integer(20), true},
		{"ack_delay_exponent 21", 0x0a, integer(21), false},
		{"ack_delay_exponent 256", 0x0a, integer(256), false},
		{"max_ack_delay 2^14-1", 0x0b, integer(1<<14 - 1), true},
		{"max_ack_delay 2^14", 0x0b, integer(1 << 14), false},
		{"initial_max_streams_bidi 2^60", 0x08, integer(1 << 60), true},
		{"initial_max_streams_bidi 2^60+1", 0x08, integer(1<<60 + 1), false},
		{"initial_max_streams_uni 2^60+1", 0x09, integer(1<<60 + 1), false},
		{"initial_max_data without end", 0x04, integer(1<<62 - 1), true},
		{"max_idle_timeout without end", 0x01, integer(1<<62 - 1), true},
		{"active_connection_id_limit 0", 0x0e, integer(0), false},
		{"active_connection_id_limit 1", 0x0e, integer(1), false},
		{"active_connection_id_limit without end", 0x0e, integer(1<<62 - 1), true},
		{"disable_active_migration with a value", 0x0c, []byte{1}, false},
		{"disable_active_migration", 0x0c, nil, true},
		{"initial_source_connection_id of 21 bytes", 0x0f, long, false},
		{"an integer of no bytes", 0x04, nil, false},
		{"an integer and a byte", 0x04, []byte{1, 0}, false},
		{"an integer cut short", 0x04, []byte{0x40}, false},
		{"an unknown parameter", 0x7777, long, true},
		{"a reserved parameter", 27 + 31*5, nil, true},
		{"the draft's codepoint", 0xffa5, long, true},
	} {
		bothSides(t, func(t *testing.T, s side) {
			t.Run(tt.name, func(t *testing.T) {
				tc := newTestConn(t, s, stageStart, func(b []byte) []byte {
					return withParam(withoutParam(b, tt.id), tt.id, tt.value)
				})
				tc.failHandshake()
				if !tt.ok {
					tc.wantClose(tt.name, wire.TransportParameterError)
					return
				}
				tc.wantOpen(tt.name)
				tc.step(stageConfirmed)
				tc.wantEvent("confirmed", EventConfirmed)
			})
		})
	}
}

// What only a server may say is checked in form as well (RFC 9000 §18.2).
func TestServerParameterForms(t *testing.T) {
	preferred := func(id string) []byte {
		b := make([]byte, 4+2+16+2)
		b = append(b, byte(len(id)))
		b = append(b, id...)
		return append(b, make([]byte, 16)...)
	}
	for _, tt := range []struct {
		name  string
		id    uint64
		value []byte
		ok    bool
	}{
		{"stateless_reset_token of 17 bytes", 0x02, make([]byte, 17), false},
		{"stateless_reset_token of 16 bytes", 0x02, make([]byte, 16), true},
		{"preferred_address with an ID of 21 bytes", 0x0d, preferred("123456789012345678901"), false},
		{"preferred_address", 0x0d, preferred("12345678"), true},
		{"preferred_address and a byte", 0x0d, append(preferred("12345678"), 0), false},
		{"preferred_address cut short", 0x0d, preferred("12345678")[:40], false},
		{"retry_source_connection_id of 21 bytes", 0x10, make([]byte, 21), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edit := func(b []byte) []byte { return withParam(withoutParam(b, tt.id), tt.id, tt.value) }
			tc := newTestConn(t, clientSide, stageStart, edit)
			tc.failHandshake()
			if !tt.ok {
				tc.wantClose(tt.name, wire.TransportParameterError)
				return
			}
			tc.wantOpen(tt.name)
			tc.abandon()
		})
	}
}

// A server whose ID is empty has no second one to offer (RFC 9000 §18.2).
func TestS50PreferredAddressWithEmptyID(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide, stageStart, offer, emptyPeerID)
	tc.failHandshake()
	tc.wantClose("preferred_address beside an empty ID", wire.TransportParameterError)
}

// Each parameter comes once (RFC 9000 §7.4), unknown ones too as far as that costs
// little.
func TestS29DuplicateParameters(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, id := range []uint64{0x01, 0x03, 0x04, 0x08, 0x0a, 0x0b, 0x0c, 0x0e, 0x20, 0x7777} {
			value := integer(1500)
			switch id {
			case 0x0a, 0x0b, 0x0e:
				value = integer(10)
			case 0x0c:
				value = nil
			}
			tc := newTestConn(t, s, stageStart, func(b []byte) []byte {
				return withParam(withParam(withoutParam(b, id), id, value), id, value)
			})
			tc.failHandshake()
			tc.wantClose(fmt.Sprintf("%#x twice", id), wire.TransportParameterError)
		}
	})
}

// A list cut short anywhere is an error, never a crash; one with a thousand
// unknown parameters or very large ones is none (RFC 9000 §7.4.2).
func TestS29OddParameterLists(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		whole := 0
		newTestConn(t, s, func(b []byte) []byte { whole = len(b); return b })
		for n := range whole {
			tc := newTestConn(t, s, stageStart, func(b []byte) []byte { return b[:n] })
			tc.failHandshake()
			if tc.closed != nil {
				tc.wantClose("cut short", wire.TransportParameterError)
			}
			tc.abandon()
		}
		tc := newTestConn(t, s, func(b []byte) []byte {
			for i := range uint64(1000) {
				b = wire.AppendGrease(b, i, []byte("grease"))
			}
			return withParam(b, 0x12345, make([]byte, 16_000))
		})
		tc.wantEvent("confirmed", EventConfirmed)
	})
}

// What we send is well-formed, each parameter once, with one that means nothing so
// that peers stay used to these; a client sends none that are a server's
// (RFC 9000 §7.4, §18.1, RFC 9000 §18.2).
func TestOwnParameters(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		b := tc.params
		seen, grease := map[uint64]bool{}, false
		for c := varint.NewCursor(b); c.Len() > 0; {
			id := c.Varint()
			c.VarintBytes()
			if seen[id] || c.Failed() {
				t.Fatalf("parameter %#x twice or cut short", id)
			}
			seen[id] = true
			grease = grease || id%31 == 27
		}
		if !grease {
			t.Error("no reserved parameter")
		}
		p, err := wire.ParseParameters(b, s == serverSide)
		if err != nil {
			t.Fatal(err)
		}
		if !p.HasInitialSCID || p.HasResetToken != (s == serverSide) || p.HasOriginalDCID != (s == serverSide) || p.HasRetrySCID {
			t.Errorf("%+v", p)
		}
		if again := tc.conn.LocalParameters(); s == serverSide && bytes.Equal(again, b) {
			t.Error("the reserved parameter is not random")
		}
	})
}

// The peer's exponent scales its ACK delays, and its max_ack_delay is in the probe
// timeout, once the handshake is confirmed (RFC 9000 §18.2, RFC 9002 §6.2.1).
func TestPeerAckParameters(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(p *wire.Parameters) {
			p.AckDelayExponent, p.MaxAckDelay = 10, 100*time.Millisecond
		})
		without := newTestConn(t, s, func(p *wire.Parameters) { p.MaxAckDelay = 0 })
		if d := tc.conn.loss.PTO(2) - without.conn.loss.PTO(2); d != 100*time.Millisecond {
			t.Errorf("max_ack_delay counts as %v", d)
		}
		for range 30 {
			tc.conn.Ping()
			tc.wantType("PING", wire.OneRTT, wire.FramePing)
			tc.advance(60 * time.Millisecond)
			tc.write(wire.OneRTT, wire.MakeAck(tc.peer.got[2], 50_000>>10, nil)) // 50 ms of these are the peer's
		}
		if rtt := tc.conn.Stats().RTT.Smoothed; rtt < 9*time.Millisecond || rtt > 15*time.Millisecond {
			t.Errorf("RTT %v, want about 10 ms", rtt)
		}
	})
}

// The values that 0-RTT relies on survive in what a client remembers, those of a
// single connection do not reach the next: a resumed client starts from the limits
// only (RFC 9000 §7.4.1).
func TestRememberedParameters(t *testing.T) {
	old := testParams()
	old.MaxStreamsBidi, old.MaxStreamDataBidiRemote, old.MaxData = 1, 10, 10
	tc := newTestConn(t, clientSide, stageStart, func(c *Config) { c.Resumed = &old }, func(s *scriptedTLS) { s.early = true })
	tc.clear()
	st := tc.open(bidi)
	tc.send(st, "more than ten bytes")
	tc.want("ten bytes", wire.ZeroRTT, wire.Stream{ID: 0, Data: []byte("more than ")})
	tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked)
	tc.wantIdle("no more")
	if tc.conn.OpenStream(tc.now, bidi) != nil {
		t.Error("a second stream")
	}
	if tc.conn.PeerParameters() != nil {
		t.Error("remembered parameters pass for the peer's")
	}
	tc.step(stageConfirmed)
	tc.pump()
	if n := st.Unsent(); n != 0 {
		t.Errorf("%d bytes wait though the new limits allow them", n)
	}
}
