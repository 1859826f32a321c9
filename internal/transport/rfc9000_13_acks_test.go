package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// An ACK of a number that was never sent is a lie, in every space (RFC 9000 §13.1).
func TestS11AckOfUnsent(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			t.Run(typ.String(), func(t *testing.T) {
				tc := connFor(t, s, typ)
				tc.write(typ, ackOf(tc.peer.got[spaceOf(typ)].Max()+1))
				tc.wantClose("never sent", wire.ProtocolViolation)
			})
		}
	})
}

// Numbers are left out now and then, in every space, and whoever acknowledges one has not been
// receiving but guessing (RFC 9000 §21.4).
func TestS11AckOfSkipped(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			t.Run(typ.String(), func(t *testing.T) {
				tc := connFor(t, s, typ)
				tc.ignore(wire.FramePing, wire.FrameCrypto)
				tc.ack(typ)
				got := &tc.peer.got[spaceOf(typ)]
				holes := len(*got) // numbers are of ranges: one more is a skip
				for i := 0; len(*got) == holes; i++ {
					if i > 1000 {
						t.Fatal("no number is ever skipped")
					}
					if typ == wire.OneRTT {
						tc.conn.Ping()
					} else {
						tc.tlsData(levelFor(typ), []byte("more"))
					}
					tc.clear()
					if i%8 == 7 && len(*got) == holes {
						tc.ack(typ)
					}
				}
				tc.ack(typ)
				tc.wantOpen("what was received")
				tc.write(typ, ackOf((*got)[holes-1].End))
				tc.wantClose("skipped", wire.ProtocolViolation)
			})
		}
	})
}

// levelFor returns the level of TLS whose bytes go into packets of a type.
func levelFor(typ wire.PacketType) Level {
	return map[wire.PacketType]Level{wire.Initial: LevelInitial, wire.Handshake: LevelHandshake, wire.OneRTT: LevelApp}[typ]
}

// Whoever acknowledges more or earlier than it has received gains no window by it (RFC 9000 §21.4): as long as
// it is not found out it has what an honest peer has that receives everything. All that the liar
// tells is that what was sent has arrived, so that it is the same whether anything has.
func TestS11OptimisticAcks(t *testing.T) {
	besiege(t, 0)
	for name, try := range map[string]struct {
		ahead int64 // how far it guesses
		early bool  // it does not wait for what is under way
	}{
		"hides losses":     {},
		"early":            {early: true},
		"of one not sent":  {ahead: 1},
		"of a thousand so": {ahead: 1000, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			bothSides(t, func(t *testing.T, s side) {
				liar, honest := newTestConn(t, s, wide, noIdle), newTestConn(t, s, wide, noIdle)
				liar.ignore(wire.FramePing)
				to, too := liar.open(bidi), honest.open(bidi)
				for round := 0; liar.closed == nil; round++ {
					if round > 30 {
						t.Fatalf("not found out after %d packets", liar.peer.got[2].Max())
					}
					liar.fill(to)
					honest.fill(too)
					honest.advance(10 * time.Millisecond)
					if honest.ack(wire.OneRTT); !try.early {
						liar.advance(10 * time.Millisecond)
					}
					var all ranges.Set
					all.Add(0, liar.peer.got[2].Max()+1+try.ahead)
					liar.write(wire.OneRTT, wire.MakeAck(all, 0, nil))
					if l, h := liar.conn.loss.Window(), honest.conn.loss.Window(); l > h {
						t.Fatalf("round %d: a window of %d, an honest peer has %d", round, l, h)
					}
				}
				liar.wantClose("found out", wire.ProtocolViolation)
				honest.clear()
			})
		})
	}
}

// 1-RTT packets are acknowledged: one alone within max_ack_delay, the second and
// any out of order at once, with ECN counts where marks were seen (RFC 9000
// §13.2.1, §13.2.2) (RFC 9000 §13.2.5, §13.2.6).
func TestAckTimes(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck, wire.FrameAckECN)
		next := tc.peer.next[2]
		tc.write(wire.OneRTT, wire.Ping{})
		tc.wantIdle("one packet can wait")
		start := tc.now
		tc.advanceToTimer()
		ack := tc.wantType("but not longer than max_ack_delay", wire.OneRTT, wire.FrameAck).(wire.Ack)
		field := func(d time.Duration) uint64 { return uint64(d/time.Microsecond) >> tc.cfg.Params.AckDelayExponent }
		if d := tc.now.Sub(start); d > tc.cfg.Params.MaxAckDelay || ack.Largest != next || ack.Delay != field(d) {
			t.Errorf("%v after %v, want a delay of %d", ack, d, field(d))
		}
		tc.write(wire.OneRTT, wire.Ping{})
		tc.write(wire.OneRTT, wire.Ping{})
		if ack := tc.wantType("every second packet", wire.OneRTT, wire.FrameAck).(wire.Ack); ack.Largest != next+2 {
			t.Errorf("%v", ack)
		}
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: next + 5})
		if ack := tc.wantType("a gap", wire.OneRTT, wire.FrameAck).(wire.Ack); ack.Delay != 0 {
			t.Errorf("at once: %v", ack)
		}
		tc.advance(8 * time.Millisecond)
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: next + 4})
		if ack := tc.wantType("a late packet", wire.OneRTT, wire.FrameAck).(wire.Ack); ack.Largest != next+5 || ack.Delay != field(8*time.Millisecond) {
			t.Errorf("%v: the delay is that of the largest number", ack)
		}
		tc.ecn = dgram.CE
		tc.write(wire.OneRTT, wire.Ping{})
		if ack := tc.wantType("a CE mark", wire.OneRTT, wire.FrameAckECN).(wire.Ack); ack.CE != 1 || ack.ECT0 != 0 {
			t.Errorf("%v", ack)
		}
	})
}

// What is not authentic is not acknowledged, nor is a packet of which one frame was refused: not even along
// with the close that it leads to (RFC 9000 §13.1).
func TestNoAckOfRefused(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		junk := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		junk[len(junk)-1] ^= 1
		tc.inject(junk)
		first := tc.peer.next[2] - 1
		tc.write(wire.OneRTT, wire.Ping{}, rawFrame{0x20})
		for i := range tc.out {
			for _, f := range tc.out[i].frames {
				if a, ok := f.(wire.Ack); ok && a.Largest >= first {
					t.Errorf("%v acknowledges %d", &tc.out[i], a.Largest)
				}
			}
		}
		tc.wantClose("unknown frame", wire.FrameEncodingError)
	})
}

// Initial and Handshake packets are acknowledged at once, each in its own space
// (RFC 9000 §13.2.1, §13.2.6).
func TestAckHandshakeAtOnce(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc := newTestConn(t, s, stageHello)
			tc.see(wire.FrameAck)
			tc.ignore(wire.FrameCrypto)
			tc.clear()
			pn := tc.peer.next[spaceOf(typ)]
			tc.write(typ, wire.Ping{})
			if ack := tc.wantType("at once", typ, wire.FrameAck).(wire.Ack); ack.Largest != pn {
				t.Errorf("%v, want %d", ack, pn)
			}
			tc.clear()
		}
	})
}

// 0-RTT packets are acknowledged in 1-RTT ones: they share a space (RFC 9000 §13.2.6).
func TestAckOfEarlyData(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello, func(s *scriptedTLS) { s.early = true })
	tc.see(wire.FrameAck)
	tc.clear()
	tc.write(wire.ZeroRTT, wire.Ping{})
	tc.write(wire.ZeroRTT, wire.Ping{})
	tc.want("0-RTT", wire.OneRTT, ackOf(0, 1))
}

// What only acknowledges is not acknowledged, or two ends would never be quiet
// (RFC 9000 §13.2.1). Nor is PADDING.
func TestNoAckOfAck(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck)
		for range 10 {
			tc.ack(wire.OneRTT)
			tc.write(wire.OneRTT, wire.Padding{N: 20})
		}
		tc.advance(time.Second)
		tc.wantIdle("nothing elicits an ACK")
	})
}

// Who only receives sends a PING with an ACK now and then, so that it learns
// which of its ACKs arrived and can forget ranges: but rarely (RFC 9000 §13.2.4, RFC 9000 §13.2.1).
func TestS14PingAmongAcks(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	pings := 0
	for i := range 400 {
		tc.write(wire.OneRTT, wire.Ping{})
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			if p.seen++; f.Type() == wire.FramePing {
				pings++
			}
		}
		if i%100 == 99 {
			tc.ack(wire.OneRTT)
		}
	}
	if pings < 5 || pings > 15 {
		t.Errorf("%d PINGs with 200 ACKs, want about 10", pings)
	}
}

// Nothing an ACK says moves the connection out of its mind: a delay without
// end, at any exponent (RFC 9000 §13.2.5, §19.3).
func TestS12AckDelayExtremes(t *testing.T) {
	besiege(t, 0)
	for _, exponent := range []uint8{0, 3, 20} {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.AckDelayExponent = exponent })
		for _, delay := range []uint64{0, 1, 1 << 40, 1<<62 - 1} {
			tc.conn.Ping()
			tc.wantType("PING", wire.OneRTT, wire.FramePing)
			tc.advance(20 * time.Millisecond)
			tc.write(wire.OneRTT, wire.MakeAck(tc.peer.got[2], delay, nil))
			if rtt := tc.conn.Stats().RTT; rtt.Smoothed <= 0 || rtt.Smoothed > 50*time.Millisecond {
				t.Errorf("exponent %d, delay %d: RTT %v", exponent, delay, rtt)
			}
		}
	}
}

// repeated makes a Conn send each kind of frame that goes again if it is lost.
var repeated = []struct {
	name string
	make func(tc *testConn) wire.Frame
}{
	{"STREAM", func(tc *testConn) wire.Frame {
		st := tc.open(bidi)
		tc.send(st, "data")
		must(tc.conn.CloseWrite(st))
		return wire.Stream{ID: st.ID(), Data: []byte("data"), Fin: true}
	}},
	{"an empty STREAM with FIN", func(tc *testConn) wire.Frame {
		st := tc.open(bidi)
		must(tc.conn.CloseWrite(st))
		return wire.Stream{ID: st.ID(), Fin: true}
	}},
	{"RESET_STREAM", func(tc *testConn) wire.Frame {
		st := tc.open(bidi)
		tc.conn.Reset(st, 5)
		return wire.ResetStream{ID: st.ID(), Code: 5}
	}},
	{"STOP_SENDING", func(tc *testConn) wire.Frame {
		st := tc.accept((!tc.side).streamID(uni, 0), "x")
		tc.conn.Stop(tc.now, st, 6)
		return wire.StopSending{ID: st.ID(), Code: 6}
	}},
	{"STREAM_DATA_BLOCKED", func(tc *testConn) wire.Frame {
		st := tc.open(bidi)
		tc.send(st, "0123456789a")
		tc.wantType("what the limit allows", wire.OneRTT, wire.FrameStream)
		tc.write(wire.OneRTT, ackOf(tc.last.pn))
		return wire.StreamDataBlocked{ID: st.ID(), Limit: 10}
	}},
	{"DATA_BLOCKED", func(tc *testConn) wire.Frame {
		for range 2 {
			tc.send(tc.open(bidi), "0123456789")
			tc.wantPacket("what the limit allows", wire.OneRTT)
		}
		tc.ack(wire.OneRTT)
		tc.send(tc.open(bidi), "0")
		return wire.DataBlocked{Limit: 20}
	}},
	{"STREAMS_BLOCKED", func(tc *testConn) wire.Frame {
		if tc.conn.OpenStream(tc.now, uni) != nil {
			tc.Fatal("a stream over the limit")
		}
		return wire.StreamsBlocked{Uni: true, Limit: 0}
	}},
	{"MAX_STREAMS", func(tc *testConn) wire.Frame {
		tc.write(wire.OneRTT, wire.StreamsBlocked{Limit: 1})
		return wire.MaxStreams{Max: 100}
	}},
	{"MAX_DATA", func(tc *testConn) wire.Frame {
		tc.write(wire.OneRTT, wire.DataBlocked{Limit: 1})
		return wire.MaxData{Max: 1 << 20}
	}},
	{"MAX_STREAM_DATA", func(tc *testConn) wire.Frame {
		id := (!tc.side).streamID(uni, 0)
		tc.write(wire.OneRTT, wire.StreamDataBlocked{ID: id, Limit: 1})
		return wire.MaxStreamData{ID: id, Max: 256 << 10}
	}},
	{"NEW_CONNECTION_ID", func(tc *testConn) wire.Frame {
		tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 1})
		id := tc.ids()[len(tc.ids())-1]
		return wire.NewConnectionID{Seq: 4, ID: id, Token: tc.cfg.ResetToken(id)}
	}},
	{"RETIRE_CONNECTION_ID", func(tc *testConn) wire.Frame {
		tc.write(wire.OneRTT, wire.NewConnectionID{Seq: 1, RetirePriorTo: 1, ID: wire.MakeConnectionID([]byte("peer-001"))})
		return wire.RetireConnectionID{Seq: 0}
	}},
	{"CRYPTO", func(tc *testConn) wire.Frame {
		tc.tlsData(LevelApp, []byte("ticket"))
		return wire.Crypto{Data: []byte("ticket")}
	}},
}

// What each frame carries goes again if it may be lost, in a new packet, and with
// the newest value (RFC 9000 §13.3).
func TestRetransmission(t *testing.T) {
	limits := func(p *wire.Parameters) {
		p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamsUni = 20, 10, 0
	}
	for _, tt := range repeated {
		bothSides(t, func(t *testing.T, s side) {
			t.Run(tt.name, func(t *testing.T) {
				lostAndPTO(t, func(t *testing.T, pto bool) {
					tc := newTestConn(t, s, limits)
					f := tt.make(tc)
					tc.want("sent", wire.OneRTT, f)
					tc.triggerLossOrPTO(pto)
					tc.want("sent again", wire.OneRTT, f)
					tc.settle()
					tc.advance(5 * time.Second)
					tc.wantIdle("acknowledged, so not sent any more")
				})
			})
		})
	}
}

// A server repeats HANDSHAKE_DONE and its token until they are acknowledged
// (RFC 9000 §13.3, RFC 9001 §4.1.2, RFC 9000 §19.7).
func TestRetransmissionOfServerFrames(t *testing.T) {
	tokens := func(c *Config) { c.Tokens = NewTokens([32]byte{1}, 0, c.Rand) }
	tc := newTestConn(t, serverSide, stageHello, tokens)
	tc.ignore(wire.FrameNewConnectionID, wire.FramePing, wire.FrameCrypto)
	tc.ack(wire.Initial)
	tc.write(wire.Handshake, wire.Crypto{Data: message('F', tc.tls.finished)})
	for range 3 {
		tc.wantType("again and again", wire.OneRTT, wire.FrameHandshakeDone)
		tc.wantType("with a token", wire.OneRTT, wire.FrameNewToken)
		tc.clear()
		tc.advanceToPTO()
	}
	tc.settle()
	tc.advance(5 * time.Second)
	tc.wantIdle("acknowledged")
}

// Limits are repeated with their newest value, not the one that was lost
// (RFC 9000 §13.3).
func TestRetransmissionOfNewestValue(t *testing.T) {
	lostAndPTO(t, func(t *testing.T, pto bool) {
		tc := newTestConn(t, serverSide, func(c *Config) { c.Params.MaxData, c.MaxConnWindow = 100, 100 })
		st := tc.accept(0, "")
		data := make([]byte, 60)
		tc.write(wire.OneRTT, wire.Stream{ID: 0, Data: data, HasLen: true})
		tc.read(st)
		tc.want("half is used", wire.OneRTT, wire.MaxData{Max: 160})
		tc.write(wire.OneRTT, wire.Stream{ID: 0, Offset: 60, Data: data, HasLen: true})
		tc.read(st)
		tc.want("more is used", wire.OneRTT, wire.MaxData{Max: 220})
		tc.triggerLossOrPTO(pto)
		tc.want("both lost, one goes again", wire.OneRTT, wire.MaxData{Max: 220})
		tc.wantIdle("and not the older one")
	})
}

// A frame that has nothing more to say is not repeated (RFC 9000 §13.3).
func TestNoRetransmission(t *testing.T) {
	theirs := func(tc *testConn) int64 { return (!tc.side).streamID(bidi, 0) }
	for _, tt := range []struct {
		name  string
		frame func(tc *testConn)
		moot  func(tc *testConn)
		also  []wire.FrameType
	}{
		{"STREAM after RESET_STREAM", func(tc *testConn) {
			tc.send(tc.open(uni), "data")
			tc.wantType("data", wire.OneRTT, wire.FrameStream)
		}, func(tc *testConn) { tc.conn.Reset(tc.conn.streams.last, 1) }, []wire.FrameType{wire.FrameResetStream}},
		{"STREAM_DATA_BLOCKED after RESET_STREAM", func(tc *testConn) {
			tc.send(tc.open(uni), "0123456789a")
			tc.wantType("what the limit allows", wire.OneRTT, wire.FrameStream)
			tc.wantType("blocked", wire.OneRTT, wire.FrameStreamDataBlocked)
		}, func(tc *testConn) { tc.conn.Reset(tc.conn.streams.last, 1) }, []wire.FrameType{wire.FrameResetStream}},
		{"STREAM_DATA_BLOCKED after MAX_STREAM_DATA", func(tc *testConn) {
			tc.send(tc.open(uni), "0123456789a")
			tc.wantType("what the limit allows", wire.OneRTT, wire.FrameStream)
			tc.wantType("blocked", wire.OneRTT, wire.FrameStreamDataBlocked)
		}, func(tc *testConn) {
			tc.write(wire.OneRTT, wire.MaxStreamData{ID: tc.side.streamID(uni, 0), Max: 100})
		}, []wire.FrameType{wire.FrameStream}},
		{"DATA_BLOCKED after MAX_DATA", func(tc *testConn) {
			tc.send(tc.open(bidi), "0123456789")
			tc.send(tc.open(bidi), "0123456789")
			tc.send(tc.open(bidi), "0")
			tc.ignore(wire.FrameStream)
			tc.wantType("blocked", wire.OneRTT, wire.FrameDataBlocked)
		}, func(tc *testConn) { tc.write(wire.OneRTT, wire.MaxData{Max: 1000}) }, nil},
		{"STREAMS_BLOCKED after MAX_STREAMS", func(tc *testConn) {
			for tc.conn.OpenStream(tc.now, uni) != nil {
			}
			tc.wantType("blocked", wire.OneRTT, wire.FrameStreamsBlockedUni)
		}, func(tc *testConn) { tc.write(wire.OneRTT, wire.MaxStreams{Uni: true, Max: 1000}) }, nil},
		{"STOP_SENDING after RESET_STREAM", func(tc *testConn) {
			tc.conn.Stop(tc.now, tc.accept(theirs(tc), "x"), 1)
			tc.wantType("stop", wire.OneRTT, wire.FrameStopSending)
		}, func(tc *testConn) { tc.write(wire.OneRTT, wire.ResetStream{ID: theirs(tc), FinalSize: 1}) }, nil},
		{"STOP_SENDING after FIN", func(tc *testConn) {
			tc.conn.Stop(tc.now, tc.accept(theirs(tc), "x"), 1)
			tc.wantType("stop", wire.OneRTT, wire.FrameStopSending)
		}, func(tc *testConn) {
			tc.write(wire.OneRTT, wire.Stream{ID: theirs(tc), Offset: 1, Fin: true, HasLen: true})
		}, nil},
		{"MAX_STREAM_DATA after FIN", func(tc *testConn) {
			tc.accept(theirs(tc), "x")
			tc.write(wire.OneRTT, wire.StreamDataBlocked{ID: theirs(tc), Limit: 1})
			tc.wantType("limit", wire.OneRTT, wire.FrameMaxStreamData)
		}, func(tc *testConn) {
			tc.write(wire.OneRTT, wire.Stream{ID: theirs(tc), Offset: 1, Fin: true, HasLen: true})
		}, nil},
		{"NEW_CONNECTION_ID after RETIRE_CONNECTION_ID", func(tc *testConn) {
			tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 1})
			tc.wantType("seq 4", wire.OneRTT, wire.FrameNewConnectionID)
		}, func(tc *testConn) { tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 4}) }, []wire.FrameType{wire.FrameNewConnectionID}},
		{"PATH_RESPONSE", func(tc *testConn) {
			tc.write(wire.OneRTT, wire.PathChallenge{Data: [8]byte{7}})
			tc.want("once", wire.OneRTT, wire.PathResponse{Data: [8]byte{7}})
		}, func(tc *testConn) {}, nil},
		{"PING", func(tc *testConn) {
			tc.conn.Ping()
			tc.want("once", wire.OneRTT, wire.Ping{})
		}, func(tc *testConn) {}, nil},
	} {
		bothSides(t, func(t *testing.T, s side) {
			t.Run(tt.name, func(t *testing.T) {
				lostAndPTO(t, func(t *testing.T, pto bool) { testNoRetransmission(t, s, pto, tt.frame, tt.moot, tt.also) })
			})
		})
	}
}

func testNoRetransmission(t *testing.T, s side, pto bool, frame, moot func(*testConn), also []wire.FrameType) {
	tc := newTestConn(t, s, func(p *wire.Parameters) {
		p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni, p.MaxStreamsUni = 20, 10, 10, 2
	})
	frame(tc)
	moot(tc)
	tc.ignore(also...) // what takes the frame's place
	tc.ignore(wire.FramePing)
	tc.triggerLossOrPTO(pto)
	tc.wantIdle("not again")
}

// ACKs are not repeated either: the next one says it all (RFC 9000 §13.3).
func TestNoRetransmissionOfAck(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.see(wire.FrameAck)
	tc.write(wire.OneRTT, wire.Ping{})
	tc.write(wire.OneRTT, wire.Ping{})
	tc.wantType("two packets", wire.OneRTT, wire.FrameAck)
	tc.advance(10 * time.Second)
	tc.wantIdle("silence is no loss of an ACK")
	if tc.conn.loss.Deadline() != mono.Never {
		t.Error("a timer is set for a packet that elicits no ACK")
	}
}

// Handshake bytes are repeated at their level, whatever packets they were in
// (RFC 9000 §13.3), and gone with its keys.
func TestRetransmissionOfHandshake(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	hello := wire.Crypto{Data: message('C', tc.tls.clientHello)}
	tc.want("ClientHello", wire.Initial, hello)
	tc.ignore(wire.FramePing)
	tc.advanceToPTO()
	tc.want("ClientHello", wire.Initial, hello)
	tc.clear()
	tc.step(stageHello)
	tc.step(stageSecure)
	tc.advanceToPTO()
	tc.want("Finished", wire.Handshake, wire.Crypto{Data: message('F', tc.tls.finished)})
	tc.clear()
	tc.step(stageConfirmed)
	tc.advance(20 * time.Second)
	tc.wantIdle("confirmed")
}

// Marks are for a path that has shown to carry them: without counts in ACKs, or
// with counts that cannot be, marking ends (RFC 9000 §13.4.2, RFC 9000 §13.4.2.2).
func TestS44ECNValidation(t *testing.T) {
	besiege(t, 0)
	for _, tt := range []struct {
		name   string
		counts func(marked uint64) *wire.ECNCounts
		fails  bool
	}{
		{"right", func(n uint64) *wire.ECNCounts { return &wire.ECNCounts{ECT0: n} }, false},
		{"none", func(n uint64) *wire.ECNCounts { return nil }, true},
		{"too few", func(n uint64) *wire.ECNCounts { return &wire.ECNCounts{ECT0: n - 1} }, true},
		{"more than were sent", func(n uint64) *wire.ECNCounts { return &wire.ECNCounts{ECT0: 1 << 61} }, true},
		{"of the other mark", func(n uint64) *wire.ECNCounts { return &wire.ECNCounts{ECT1: n} }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, serverSide, stageStart)
			tc.step(stageHello)
			marked := uint64(0)
			for _, d := range tc.datagrams {
				if d.ecn == dgram.ECT0 {
					marked++
				}
			}
			if marked == 0 || tc.datagrams[0].ecn != dgram.ECT0 {
				t.Fatal("the first datagrams are not marked")
			}
			handshake := uint64(tc.peer.got[1].Size())
			tc.write(wire.Handshake, wire.MakeAck(tc.peer.got[1], 0, tt.counts(handshake)))
			if got := tc.conn.Stats().ECNFailures == 1; got != tt.fails {
				t.Errorf("validation failed: %v, want %v", got, tt.fails)
			}
			tc.clear()
			tc.tls1(TLSEvent{Kind: TLSWriteData, Level: LevelHandshake, Data: []byte("more")})
			p := tc.wantPacket("more", wire.Handshake)
			if got := p.datagram.ecn == dgram.NotECT; got != tt.fails {
				t.Errorf("next datagram has mark %v", p.datagram.ecn)
			}
		})
	}
}

// An ACK that has arrived covers what it said, not what came late: that is still
// to be acknowledged, whether it came before the news or brings it itself
// (RFC 9000 §13.2.1, §13.2.4).
func TestLateAmongAcksOfAcks(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, own := range []bool{false, true} {
			tc := newTestConn(t, s)
			tc.see(wire.FrameAck)
			late := tc.peer.next[2]
			for i := range int64(2) {
				tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: late + 1 + i})
			}
			tc.conn.Ping() // so that the ACK is acknowledged
			tc.clear()
			ping := wire.Frame(wire.Ping{})
			packets := []testPacket{
				{typ: wire.OneRTT, frames: []wire.Frame{ping}, explicit: true, number: late},
				{typ: wire.OneRTT, frames: []wire.Frame{wire.MakeAck(tc.peer.got[2], 0, nil)}, explicit: true, number: late + 3},
			}
			if own {
				packets[1].frames = append(packets[1].frames, ping)
				packets[1].number = late
				packets = packets[1:]
			}
			for _, p := range packets {
				tc.conn.Receive(tc.now, &dgram.Datagram{Data: tc.build(p), Path: tc.path})
			}
			ack := tc.wantType("the late one", wire.OneRTT, wire.FrameAck).(wire.Ack)
			if !ack.Set().Contains(late) {
				t.Errorf("%v, want %d in it", ack, late)
			}
			tc.advance(time.Second)
			tc.clear()
		}
	})
}

// 0-RTT packets that come before we have keys to acknowledge them with wait for
// these; no timer runs for it meanwhile (RFC 9000 §13.2.1).
func TestAckWithoutKeys(t *testing.T) {
	tc := newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.manual = true })
	tc.see(wire.FrameAck)
	tc.write(wire.Initial, wire.Crypto{Data: message('C', 300)})
	tc.clear()
	tc.tlsParameters()
	tc.tlsSecret(TLSReadSecret, LevelEarly)
	tc.write(wire.ZeroRTT, wire.Ping{})
	tc.advance(time.Second)
	tc.wantIdle("no keys yet")
	tc.tlsSecret(TLSWriteSecret, LevelApp)
	tc.want("now there are", wire.OneRTT, ackOf(0))
	tc.abandon()
}
