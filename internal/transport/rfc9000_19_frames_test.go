package transport

import (
	"fmt"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// encode returns a frame of a type and integers, each in its shortest form.
func encode(t wire.FrameType, fields ...uint64) rawFrame { return evil.Encode(t, fields...) }

// A frame that ends before all of its fields are there is a FRAME_ENCODING_ERROR,
// wherever it is cut, and has no effect (RFC 9000 §12.4, §19).
func TestS32TruncatedFrames(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, ft := range allFrameTypes() {
			if ft == wire.FrameDatagram || ft == wire.FrameDatagramLen {
				continue // not negotiated, so not even read
			}
			whole := sampleFrame(ft, s).Append(nil)
			for n := varint.Len(uint64(ft)); n < len(whole); n++ {
				if ft.IsStream() && ft&2 == 0 && n >= 2+int(ft>>2&1) || ft == wire.FrameDatagram {
					continue // the rest of the packet is its data
				}
				t.Run(fmt.Sprintf("%#x cut to %d", uint64(ft), n), func(t *testing.T) {
					tc := newTestConn(t, s)
					lead := rawFrame{1, 1, 1, 1} // so that no PADDING is needed
					tc.write(wire.OneRTT, lead, rawFrame(whole[:n]))
					tc.wantClose("cut short", wire.FrameEncodingError)
					tc.wantNoEvent("no effect", EventStream)
				})
			}
		}
	})
}

// Values out of a field's range close the connection with the code that the
// frame's section names (RFC 9000 §19), to either end.
func TestFrameLimits(t *testing.T) {
	const top = 1<<62 - 1
	bothSides(t, func(t *testing.T, s side) {
		theirs, ours := uint64((!s).streamID(bidi, 0)), uint64(s.streamID(bidi, 0))
		ourUni, theirUni := uint64(s.streamID(uni, 0)), uint64((!s).streamID(uni, 0))
		for _, tt := range []struct {
			name  string
			frame rawFrame
			code  wire.ErrorCode
		}{
			// RFC 9000 §19.3.1
			{"ACK whose first range goes below zero", encode(2, 1, 0, 0, 2), wire.FrameEncodingError},
			{"ACK whose gap goes below zero", encode(2, 5, 0, 1, 2, 2, 0), wire.FrameEncodingError},
			{"ACK whose second range goes below zero", encode(2, 9, 0, 1, 2, 2, 4), wire.FrameEncodingError},
			{"ACK with more ranges than bytes", encode(2, 1, 0, top, 0), wire.FrameEncodingError},
			{"ACK of the largest number", encode(2, top, 0, 0, 0), wire.ProtocolViolation},
			// RFC 9000 §19.4
			{"RESET_STREAM for our stream that is not open", encode(4, ours, 0, 0), wire.StreamStateError},
			{"RESET_STREAM beyond the stream's limit", encode(4, theirs, 0, top), wire.FlowControlError},
			// RFC 9000 §19.5
			{"STOP_SENDING for a stream we only receive on", encode(5, theirUni, 0), wire.StreamStateError},
			// RFC 9000 §19.6
			{"CRYPTO past the last offset", append(encode(6, top, 1), 'x'), wire.FrameEncodingError},
			{"CRYPTO far ahead", append(encode(6, 1<<30, 1), 'x'), wire.CryptoBufferExceeded},
			// RFC 9000 §19.8
			{"STREAM past the last offset", append(encode(0x0e, theirs, top, 1), 'x'), wire.FrameEncodingError},
			{"STREAM at the last offset", append(encode(0x0e, theirs, top-1, 1), 'x'), wire.FlowControlError},
			{"STREAM with a number over the limit", encode(8, theirs+4*100), wire.StreamLimitError},
			{"STREAM with the largest number", encode(8, top&^3|theirs), wire.StreamLimitError},
			// RFC 9000 §19.13
			{"STREAM_DATA_BLOCKED for a stream we only send on", encode(0x15, ourUni, 0), wire.StreamStateError},
			{"STREAM_DATA_BLOCKED for our stream that is not open", encode(0x15, ours, 0), wire.StreamStateError},
			// RFC 9000 §19.15
			{"NEW_CONNECTION_ID of 21 bytes", rawID(2, 0, "123456789012345678901"), wire.FrameEncodingError},
			// RFC 9000 §19.16
			{"RETIRE_CONNECTION_ID never issued", encode(0x19, 99), wire.ProtocolViolation},
			{"RETIRE_CONNECTION_ID of the packet's own", encode(0x19, 0), wire.ProtocolViolation},
			// RFC 9000 §19.19
			{"CONNECTION_CLOSE with a reason that is not there", encode(0x1c, 0, 0, top), wire.FrameEncodingError},
			{"APPLICATION_CLOSE with a reason that is not there", encode(0x1d, 0, 1000), wire.FrameEncodingError},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tc := newTestConn(t, s)
				tc.write(wire.OneRTT, tt.frame)
				if c := tc.wantClose(tt.name, tt.code); c.Frame&^7 != wire.FrameType(tt.frame[0])&^7 {
					t.Errorf("CONNECTION_CLOSE names frame %v, want %#x", c.Frame, tt.frame[0])
				}
			})
		}
	})
}

// The largest values that the fields allow are taken as any others (RFC 9000
// §19.9-§19.14), and limits that fall are passed over.
func TestFrameExtremes(t *testing.T) {
	const top = 1<<62 - 1
	bothSides(t, func(t *testing.T, s side) {
		theirs := uint64((!s).streamID(bidi, 0))
		for _, f := range []rawFrame{
			encode(0x10, top), encode(0x10, 0), encode(0x11, theirs, top), encode(0x11, theirs, 0),
			encode(0x12, 1<<60), encode(0x12, 0), encode(0x13, 1<<60), encode(0x13, 0),
			encode(0x14, top), encode(0x14, 0), encode(0x15, theirs, top), encode(0x15, theirs, 0),
			encode(0x16, 1<<60), encode(0x16, 0), encode(0x17, 1<<60), encode(0x17, 0), encode(5, theirs, top),
		} {
			t.Run(f.String(), func(t *testing.T) {
				tc := newTestConn(t, s)
				tc.write(wire.OneRTT, f)
				tc.wantOpen("an extreme value")
				st := tc.open(uni)
				tc.send(st, "still works")
				for f := wire.Frame(nil); ; {
					f, _ = tc.next("stream data", "STREAM")
					if _, ok := f.(wire.Stream); ok {
						break
					}
				}
				tc.clear()
			})
		}
	})
}

// A client takes a token for later (RFC 9000 §19.7).
func TestS22NewToken(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide)
	tc.write(wire.OneRTT, wire.NewToken{Token: []byte("for later")})
	if e := tc.wantEvent("a token", EventNewToken); string(e.Data) != "for later" {
		t.Errorf("token %q", e.Data)
	}
}

// A server confirms a handshake once, however often it says so (RFC 9000 §19.20).
func TestHandshakeDone(t *testing.T) {
	tc := newTestConn(t, clientSide, stageSecure)
	tc.wantNoEvent("not yet", EventConfirmed)
	for range 3 {
		tc.write(wire.OneRTT, wire.HandshakeDone{})
	}
	tc.wantEvent("confirmed", EventConfirmed)
	tc.wantNoEvent("once", EventConfirmed)
}

// A frame that breaks a rule ends the packet: what comes behind it does nothing,
// and what came before it has been done (RFC 9000 §12.4, RFC 9000 §5.2).
func TestS32FramesBehindAnError(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, wire.Stream{ID: 0, Data: []byte("a"), HasLen: true}, rawFrame{0x20}, wire.Stream{ID: 4, Data: []byte("b"), HasLen: true})
	tc.wantClose("unknown frame", wire.FrameEncodingError)
	if e := tc.wantEvent("the first stream", EventStream); e.Stream.ID() != 0 {
		t.Errorf("stream %d", e.Stream.ID())
	}
	tc.wantNoEvent("not the second", EventStream)
}

// The same packet may close the connection and hold more: nothing behind
// CONNECTION_CLOSE counts (RFC 9000 §10.2.2, §19.19).
func TestFramesBehindClose(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.Close{App: true, Code: 9, Reason: []byte("bye\xff\x00")}, rawFrame{0x20})
		tc.wantClosed("closed by the peer", ClosePeer)
		if r := tc.closed; !r.App || r.Code != 9 || r.Reason != "bye\xff\x00" {
			t.Errorf("closed %+v", r)
		}
		tc.wantIdle("draining")
	})
}
