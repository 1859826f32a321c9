package transport

import (
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client's first ID for its server is random and long enough, and stays until
// the server has answered; then the server's own takes its place, once (RFC 9000 §7.2).
func TestHandshakeIDs(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	p := tc.wantPacket("ClientHello", wire.Initial)
	if p.dcid.Len() < 8 || p.scid != tc.conn.ID() || p.dcid == p.scid {
		t.Errorf("IDs %v, %v", p.dcid, p.scid)
	}
	tc.clear()
	tc.advanceToPTO()
	if again := tc.wantPacket("again", wire.Initial); again.dcid != p.dcid || again.scid != p.scid {
		t.Errorf("IDs %v, %v", again.dcid, again.scid)
	}
	tc.clear()
	tc.write(wire.Initial, wire.Ping{})
	tc.advanceToPTO()
	if answer := tc.wantPacket("to the server's ID", wire.Initial); answer.dcid != tc.peer.id || answer.scid != p.scid {
		t.Errorf("IDs %v, %v", answer.dcid, answer.scid)
	}
	tc.clear()
}

// After that a packet from another source ID is dropped, at both ends
// (RFC 9000 §7.2).
func TestOtherSourceID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		other := wire.MakeConnectionID([]byte("another"))
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc := newTestConn(t, s, stageHello)
			tc.clear()
			before := tc.conn.Stats()
			tc.writePacket(testPacket{typ: typ, scid: &other, frames: []wire.Frame{wire.Ping{}}})
			after := tc.conn.Stats()
			if after.PacketsReceived != before.PacketsReceived || after.PacketsIgnored == before.PacketsIgnored {
				t.Errorf("%v was taken", typ)
			}
			tc.abandon()
		}
	})
}

// A server's forged first answer does not bind the client: only an authentic
// packet chooses the server's ID (RFC 9000 §7.2).
func TestForgedAnswerDoesNotBind(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	other := wire.MakeConnectionID([]byte("another"))
	b := tc.build(testPacket{typ: wire.Initial, scid: &other, frames: []wire.Frame{wire.Ping{}}})
	b[len(b)-1] ^= 1
	tc.inject(b)
	tc.step(stageConfirmed)
	tc.wantEvent("confirmed", EventConfirmed)
}

// withoutParam removes a parameter from an encoded list.
func withoutParam(b []byte, id uint64) []byte {
	var out []byte
	c := varint.NewCursor(b)
	for c.Len() > 0 {
		at := c.Peek()
		got := c.Varint()
		c.VarintBytes()
		if got != id {
			out = append(out, at[:len(at)-c.Len()]...)
		}
	}
	return out
}

// withParam adds one.
func withParam(b []byte, id uint64, value []byte) []byte {
	b = varint.Append(b, id)
	b = varint.Append(b, uint64(len(value)))
	return append(b, value...)
}

// The IDs of the handshake's packets are vouched for by TLS: what is missing,
// wrong or not called for ends the connection (RFC 9000 §7.3).
func TestAuthenticateIDs(t *testing.T) {
	other := wire.MakeConnectionID([]byte("another"))
	for _, tt := range []struct {
		name   string
		side   side
		option any
	}{
		{"initial_source_connection_id is another", serverSide, func(p *wire.Parameters) { p.InitialSCID = other }},
		{"initial_source_connection_id is another", clientSide, func(p *wire.Parameters) { p.InitialSCID = other }},
		{"initial_source_connection_id is empty", clientSide, func(p *wire.Parameters) { p.InitialSCID = wire.ConnectionID{} }},
		{"original_destination_connection_id is another", clientSide, func(p *wire.Parameters) { p.OriginalDCID = other }},
	} {
		t.Run(fmt.Sprintf("%s, %v", tt.name, tt.side), func(t *testing.T) {
			tc := newTestConn(t, tt.side, stageStart, tt.option)
			tc.failHandshake()
			tc.wantClose(tt.name, wire.TransportParameterError)
			tc.wantNoEvent("never secure", EventSecure)
		})
	}
}

// failHandshake carries the handshake on to where parameters are looked at, and
// keeps what is said then.
func (tc *testConn) failHandshake() {
	tc.Helper()
	tc.clear()
	if tc.side == clientSide {
		tc.step(stageHello)
		tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
		return
	}
	tc.write(wire.Initial, wire.Crypto{Data: message('C', tc.tls.clientHello)})
}

// After a Retry the server names three IDs: the client's first, the Retry's and
// its own (RFC 9000 §7.3).
func TestAuthenticateRetry(t *testing.T) {
	other := wire.MakeConnectionID([]byte("another"))
	for _, tt := range []struct {
		name string
		edit func(p *wire.Parameters)
		good bool
	}{
		{"right", func(p *wire.Parameters) {}, true},
		{"another", func(p *wire.Parameters) { p.RetrySCID = other }, false},
		{"the second ID as the original", func(p *wire.Parameters) { p.OriginalDCID = p.RetrySCID }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, clientSide, stageStart, func(p *wire.Parameters) {
				p.HasRetrySCID, p.RetrySCID = true, retryID
				tt.edit(p)
			})
			tc.retry(retryID, "token")
			if tt.good {
				tc.step(stageConfirmed)
				tc.wantEvent("confirmed", EventConfirmed)
				return
			}
			tc.failHandshake()
			tc.wantClose(tt.name, wire.TransportParameterError)
		})
	}
}

// A server tells all that its client must check (RFC 9000 §7.3, §18.2).
func TestServerParameters(t *testing.T) {
	tc := newTestConn(t, serverSide, stageStart, func(o *Opening) {
		o.Retried, o.OriginalDCID = true, wire.MakeConnectionID([]byte("very first"))
	})
	p, err := wire.ParseParameters(tc.conn.LocalParameters(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !p.HasOriginalDCID || p.OriginalDCID != wire.MakeConnectionID([]byte("very first")) ||
		!p.HasRetrySCID || p.RetrySCID != tc.peer.original || !p.HasInitialSCID || p.InitialSCID != tc.conn.ID() ||
		!p.HasResetToken || p.ResetToken != tc.cfg.ResetToken(tc.conn.ID()) {
		t.Errorf("%+v", p)
	}
	tc.write(wire.Initial, wire.Ping{})
	tc.abandon()
}

// TLS may end without the peer's parameters: that is a missing_extension
// (RFC 9001 §8.2).
func TestNoParameters(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello, func(s *scriptedTLS) { s.manual = true })
		tc.clear()
		for _, k := range []TLSEventKind{TLSReadSecret, TLSWriteSecret} {
			tc.tlsSecret(k, LevelHandshake)
			tc.tlsSecret(k, LevelApp)
		}
		tc.tls1(TLSEvent{Kind: TLSDone})
		tc.wantClose("no parameters", wire.CryptoError(109))
	})
}

// An alert of TLS goes to the peer as it is (RFC 9001 §4.8).
func TestTLSAlert(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for to := stageStart; to <= stageConfirmed; to++ {
			tc := newTestConn(t, s, to)
			if to == stageStart && s == serverSide {
				tc.write(wire.Initial, wire.Ping{})
			}
			tc.tls1(TLSEvent{Kind: TLSError, Err: &wire.Error{Code: wire.CryptoError(42), Frame: wire.FrameCrypto, Reason: "bad certificate"}})
			tc.wantClose("alert", wire.CryptoError(42))
		}
	})
}

// Handshake bytes come in any order and any pieces; TLS gets them in order, once
// (RFC 9000 §7.5, §19.6).
func TestS04CryptoReassembly(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart, func(s *scriptedTLS) { s.manual = true })
		tc.clear()
		const n = 4096 // as much as anyone must buffer
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 11)
		}
		for at := n - 64; at >= 0; at -= 48 {
			tc.write(wire.Initial, wire.Crypto{Offset: int64(at), Data: data[at : at+64]})
			if at > 0 && len(tc.tls.got[LevelInitial]) > 0 {
				t.Fatalf("%d bytes before the first", len(tc.tls.got[LevelInitial]))
			}
		}
		tc.write(wire.Initial, wire.Crypto{Data: data[:64]})
		tc.write(wire.Initial, wire.Crypto{Data: data[:64]})
		if got := tc.tls.got[LevelInitial]; string(got) != string(data) {
			t.Errorf("%d bytes reached TLS", len(got))
		}
		tc.forsake("there is no TLS")
	})
}

// Beyond the buffer, in bytes or in holes, the connection ends, at every level
// (RFC 9000 §7.5).
func TestS04CryptoBuffer(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			reader := func() *testConn {
				if typ == wire.Initial {
					return newTestConn(t, s, stageStart, func(s *scriptedTLS) { s.manual = true })
				}
				return connFor(t, s, typ)
			}
			tc := reader()
			tc.write(typ, wire.Crypto{Offset: cryptoWindow, Data: []byte("x")})
			tc.wantClose("too far ahead", wire.CryptoBufferExceeded)

			tc = reader()
			for i := int64(0); i < 5000 && tc.closed == nil; i += 10 {
				var frames []wire.Frame
				for j := range int64(10) {
					frames = append(frames, wire.Crypto{Offset: 2 + 2*(i+j), Data: []byte("x")})
				}
				tc.write(typ, frames...)
			}
			tc.wantClose("too many holes", wire.CryptoBufferExceeded)
		}
	})
}

// New bytes at a level that TLS has left behind are no handshake any more
// (RFC 9001 §4.1.3); old ones again are harmless.
func TestCryptoAtOldLevel(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		n := len(tc.tls.got[LevelInitial])
		tc.write(wire.Initial, wire.Crypto{Offset: int64(n) - 5, Data: []byte("again")})
		tc.wantOpen("old bytes")
		tc.write(wire.Initial, wire.Crypto{Offset: int64(n), Data: []byte("x")})
		tc.wantClose("new bytes", wire.ProtocolViolation)
	})
}

// Packets that overtake the keys they need are kept, a few of them, and read when
// the keys come (RFC 9000 §7.5, RFC 9001 §5.7).
func TestEarlyPackets(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart)
		tc.clear()
		id := (!s).streamID(bidi, 0)
		flight, name := tc.tls.serverFlight, byte('E')
		if s == serverSide {
			flight, name = tc.tls.finished, 'F'
		}
		tc.write(wire.OneRTT, wire.Stream{ID: id, Data: []byte("early"), HasLen: true})
		tc.write(wire.Handshake, wire.Crypto{Data: message(name, flight)})
		tc.wantNoEvent("not readable yet", EventStream)
		tc.step(stageHello)
		tc.wantEvent("the handshake's packet was kept", EventSecure)
		if e := tc.wantEvent("and the data", EventStream); e.Stream.ID() != id {
			t.Errorf("stream %d", e.Stream.ID())
		}
		tc.abandon()
	})
}

// Packets without keys do not pile up (RFC 9001 §5.7).
func TestEarlyPacketsAreFew(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart)
		tc.clear()
		for range 1000 {
			tc.write(wire.OneRTT, wire.Padding{N: 1000})
			tc.write(wire.Handshake, wire.Padding{N: 1000})
		}
		if n, size := len(tc.conn.waiting.list), tc.conn.waiting.bytes; n > maxUndecryptable || size > maxUndecryptableBytes {
			t.Errorf("%d packets, %d bytes kept", n, size)
		}
		tc.step(stageConfirmed)
		tc.wantEvent("confirmed", EventConfirmed)
		if n := len(tc.conn.waiting.list); n != 0 {
			t.Errorf("%d packets still kept", n)
		}
	})
}

// A server's Handshake packets and its data may be a flight that is larger than a
// client's patience: whatever single datagram is lost, the handshake ends
// (RFC 9000 §8.1).
func TestHandshakeSurvivesLoss(t *testing.T) {
	for lost := range 12 {
		n := 0
		p := newPair(t, nil)
		p.drop = func(*node, []byte) bool { n++; return n-1 == lost }
		p.handshake()
		p.runUntil(time.Second, func() bool { return false })
	}
}
