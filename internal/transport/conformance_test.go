package transport

// The violations that a conformance tester provokes in a server, by their numbers,
// each with its twin for a client, and each with the exact code. Those that need
// crypto/tls (T28 to T33) are in quic.

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// breaks runs a violation in a 1-RTT packet against a confirmed server and client:
// the peer sends the frame made for its side, which is the one at fault.
func breaks(t *testing.T, code wire.ErrorCode, frame func(s side) wire.Frame) {
	t.Helper()
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		f := frame(s)
		tc.write(wire.OneRTT, f)
		if c := tc.wantClose(f.String(), code); c.Frame&^7 != f.Type()&^7 {
			t.Errorf("CONNECTION_CLOSE names frame %v, want %v", c.Frame, f.Type())
		}
	})
}

// refuses runs a handshake with an evil peer's transport parameters, which end it.
func refuses(t *testing.T, s side, code wire.ErrorCode, options ...any) {
	t.Helper()
	tc := newTestConn(t, append(options, s, stageStart)...)
	tc.failHandshake()
	tc.wantClose("transport parameters", code)
	tc.wantNoEvent("never secure", EventSecure)
}

// refusesBoth runs the same violation for a server and for a client, in subtests.
func refusesBoth(t *testing.T, server, client any) {
	bothSides(t, func(t *testing.T, s side) {
		edit := client
		if s == serverSide {
			edit = server
		}
		refuses(t, s, wire.TransportParameterError, edit)
	})
}

// setParam returns an option that gives a parameter these bytes.
func setParam(id uint64, value []byte) func([]byte) []byte {
	return func(b []byte) []byte { return withParam(withoutParam(b, id), id, value) }
}

// RFC 9000 §4.1
func TestT01StreamFlowControl(t *testing.T) {
	breaks(t, wire.FlowControlError, func(s side) wire.Frame {
		return wire.Stream{ID: (!s).streamID(bidi, 0), Offset: 100_000_000, Fin: true, HasLen: true}
	})
}

// RFC 9000 §4.6 (RFC 9000 §19.11)
func TestT02StreamLimit(t *testing.T) {
	breaks(t, wire.StreamLimitError, func(s side) wire.Frame { return data((!s).streamID(bidi, 250_000_000), 0, 1, false) })
}

// RFC 9000 §7.3
func TestT03NoInitialSourceConnectionID(t *testing.T) {
	without := func(p *wire.Parameters) { p.HasInitialSCID = false }
	refusesBoth(t, without, without)
}

// RFC 9000 §7.3, §18.2
func TestT04OriginalDestinationConnectionID(t *testing.T) {
	refusesBoth(t,
		func(p *wire.Parameters) { p.HasOriginalDCID, p.OriginalDCID = true, retryID },
		func(p *wire.Parameters) { p.HasOriginalDCID = false })
}

// RFC 9000 §18.2
func TestT05PreferredAddress(t *testing.T) {
	empty := make([]byte, 4+2+16+2+1+0+16)
	refusesBoth(t, offer, setParam(0x0d, empty))
	t.Run("client, of a server without an ID", func(t *testing.T) {
		refuses(t, clientSide, wire.TransportParameterError, offer, emptyPeerID)
	})
}

// RFC 9000 §7.3, §18.2
func TestT06RetrySourceConnectionID(t *testing.T) {
	unasked := func(p *wire.Parameters) { p.HasRetrySCID, p.RetrySCID = true, retryID }
	refusesBoth(t, unasked, unasked)
	t.Run("client, missing after a Retry", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageStart, func(p *wire.Parameters) { p.HasRetrySCID = false })
		tc.retry(retryID, "token")
		tc.failHandshake()
		tc.wantClose("no retry_source_connection_id", wire.TransportParameterError)
	})
}

// RFC 9000 §18.2
func TestT07StatelessResetToken(t *testing.T) {
	refusesBoth(t, func(p *wire.Parameters) { p.HasResetToken = true }, setParam(0x02, make([]byte, 15)))
}

// RFC 9000 §7.4, §18.2
func TestT08MaxUDPPayloadSize(t *testing.T) {
	refusesBoth(t, setParam(0x03, integer(1090)), setParam(0x03, integer(1090)))
}

// RFC 9000 §7.4, §18.2
func TestT09AckDelayExponent(t *testing.T) {
	refusesBoth(t, setParam(0x0a, integer(30)), setParam(0x0a, integer(30)))
}

// RFC 9000 §7.4, §18.2
func TestT10MaxAckDelay(t *testing.T) {
	refusesBoth(t, setParam(0x0b, integer(1<<15)), setParam(0x0b, integer(1<<15)))
}

// RFC 9000 §12.4
func TestT11UnknownFrame(t *testing.T) {
	breaks(t, wire.FrameEncodingError, func(side) wire.Frame { return evil.Raw{0x20} })
}

// RFC 9000 §12.4: a packet must have a frame. With a four-byte packet number one
// without any can be protected.
func TestT12EmptyPacket(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			t.Run(typ.String(), func(t *testing.T) {
				tc := connFor(t, s, typ)
				b := tc.build(testPacket{typ: typ, bare: true})
				if typ == wire.Initial && s == serverSide {
					b = append(b, make([]byte, wire.MinInitialSize-len(b))...)
				}
				tc.inject(b)
				tc.wantClose("no frame", wire.ProtocolViolation)
			})
		}
	})
}

// RFC 9000 §17.2
func TestT13ReservedBitsInHandshake(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := connFor(t, s, wire.Handshake)
		if tc.peer.next[spaceOf(wire.Handshake)] == 0 {
			t.Fatal("not behind another Handshake packet")
		}
		tc.writePacket(testPacket{typ: wire.Handshake, flip: 0x0c, frames: []wire.Frame{wire.Ping{}}})
		tc.wantClose("reserved bits", wire.ProtocolViolation)
	})
}

// RFC 9000 §17.2.4
func TestT14PathChallengeInHandshake(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := connFor(t, s, wire.Handshake)
		tc.write(wire.Handshake, wire.PathChallenge{})
		tc.wantClose("PATH_CHALLENGE", wire.ProtocolViolation)
	})
}

// RFC 9000 §17.3.1
func TestT15ReservedBitsInShort(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.writePacket(testPacket{typ: wire.OneRTT, flip: 0x18, frames: []wire.Frame{wire.Ping{}}})
		tc.wantClose("reserved bits", wire.ProtocolViolation)
	})
}

// RFC 9000 §19.4
func TestT16ResetOfSendOnlyStream(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return wire.ResetStream{ID: s.streamID(uni, 0)} })
}

// RFC 9000 §19.5
func TestT17StopOfStreamNotCreated(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return wire.StopSending{ID: s.streamID(bidi, 25)} })
}

// RFC 9000 §19.7
func TestT18NewToken(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		tc := newTestConn(t, serverSide)
		tc.write(wire.OneRTT, wire.NewToken{Token: []byte("token")})
		tc.wantClose("NEW_TOKEN from a client", wire.ProtocolViolation)
	})
	t.Run("client", func(t *testing.T) {
		tc := newTestConn(t, clientSide)
		tc.write(wire.OneRTT, evil.Encode(wire.FrameNewToken, 0))
		tc.wantClose("an empty token", wire.FrameEncodingError)
	})
}

// RFC 9000 §19.8
func TestT19StreamNotCreated(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return data(s.streamID(bidi, 0), 0, 1, false) })
}

// RFC 9000 §19.8
func TestT20StreamOfSendOnlyStream(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return data(s.streamID(uni, 0), 0, 1, false) })
}

// RFC 9000 §19.10
func TestT21MaxStreamDataNotCreated(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return wire.MaxStreamData{ID: s.streamID(bidi, 25), Max: 9} })
}

// RFC 9000 §19.10
func TestT22MaxStreamDataOfReceiveOnlyStream(t *testing.T) {
	breaks(t, wire.StreamStateError, func(s side) wire.Frame { return wire.MaxStreamData{ID: (!s).streamID(uni, 0), Max: 9} })
}

// RFC 9000 §19.11 (RFC 9000 §4.6)
func TestT23MaxStreams(t *testing.T) {
	for _, ft := range []wire.FrameType{wire.FrameMaxStreamsBidi, wire.FrameMaxStreamsUni} {
		breaks(t, wire.FrameEncodingError, func(side) wire.Frame { return evil.Encode(ft, 1<<60+1) })
	}
}

// RFC 9000 §19.14
func TestT24StreamsBlocked(t *testing.T) {
	for _, ft := range []wire.FrameType{wire.FrameStreamsBlockedBidi, wire.FrameStreamsBlockedUni} {
		breaks(t, wire.FrameEncodingError, func(side) wire.Frame { return evil.Encode(ft, 1<<60+1) })
	}
}

// rawID returns a NEW_CONNECTION_ID frame with an ID of any length.
func rawID(seq, prior uint64, id string) evil.Raw {
	b := evil.Encode(wire.FrameNewConnectionID, seq, prior, uint64(len(id)))
	return append(append(b, id...), make([]byte, 16)...)
}

// RFC 9000 §19.15
func TestT25RetirePriorToOverSequence(t *testing.T) {
	breaks(t, wire.FrameEncodingError, func(side) wire.Frame { return rawID(2, 3, "12345678") })
}

// RFC 9000 §19.15
func TestT26EmptyConnectionID(t *testing.T) {
	breaks(t, wire.FrameEncodingError, func(side) wire.Frame { return rawID(2, 0, "") })
}

// RFC 9000 §19.20. A client's twin is HANDSHAKE_DONE where a server cannot mean it:
// in a Handshake packet it is forbidden, and in a 1-RTT packet before the client's
// Finished it waits.
func TestT27HandshakeDone(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		tc := newTestConn(t, serverSide)
		tc.write(wire.OneRTT, wire.HandshakeDone{})
		tc.wantClose("HANDSHAKE_DONE from a client", wire.ProtocolViolation)
	})
	t.Run("client", func(t *testing.T) {
		tc := connFor(t, clientSide, wire.Handshake)
		tc.write(wire.Handshake, wire.HandshakeDone{})
		tc.wantClose("HANDSHAKE_DONE in a Handshake packet", wire.ProtocolViolation)
	})
	t.Run("client, early", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageHello)
		tc.tlsParameters()
		tc.tlsSecret(TLSReadSecret, LevelApp)
		tc.write(wire.OneRTT, wire.HandshakeDone{})
		tc.wantOpen("before our Finished it waits, as all 1-RTT packets do (RFC 9001 §5.7)")
		if tc.conn.Confirmed() {
			t.Error("confirmed before our Finished")
		}
		tc.clear()
	})
}

// RFC 9001 §8.3 (RFC 9001 §5.6)
func TestT34CryptoInEarlyPacket(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		tc := newTestConn(t, serverSide, stageHello, func(s *scriptedTLS) { s.early = true })
		tc.clear()
		tc.write(wire.ZeroRTT, wire.Crypto{Data: []byte{1}})
		tc.wantClose("CRYPTO in 0-RTT", wire.ProtocolViolation)
	})
	t.Run("client", func(t *testing.T) {
		for _, at := range []stage{stageStart, stageHello, stageSecure, stageConfirmed} {
			tc := newTestConn(t, clientSide, at)
			tc.clear()
			ignored := tc.packetsIgnored()
			tc.write(wire.ZeroRTT, wire.Crypto{Data: []byte{1}})
			tc.wantOpen("0-RTT at a client")
			if tc.packetsIgnored() != ignored+1 || len(tc.conn.waiting.list) != 0 {
				t.Errorf("stage %d: %d ignored, %d wait", at, tc.packetsIgnored()-ignored, len(tc.conn.waiting.list))
			}
		}
	})
}
