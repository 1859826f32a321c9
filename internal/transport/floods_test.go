package transport

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What a peer can pile up ends somewhere, and an honest peer is not caught by it.

// TLS may be busy in user code for long; handshake bytes that wait for it are
// bounded in all, in order or not (RFC 9000 §7.5).
func TestCryptoFlood(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.ignore(wire.FrameCrypto)
	message := make([]byte, 1000)
	var off int64
	for ; off+1000 <= cryptoTotal[LevelApp]; off += 1000 {
		tc.write(wire.OneRTT, wire.Crypto{Offset: off, Data: message})
		tc.wantOpen("within the bound")
	}
	tc.write(wire.OneRTT, wire.Crypto{Offset: off, Data: message})
	tc.wantClose("past the bound", wire.CryptoBufferExceeded)
}

// RFC 9000 §19.16: an ID that the peer cannot know cannot be retired, so that one
// packet does not make us issue IDs without end.
func TestRetireUnsentID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		sent := tc.conn.ids.localSent
		var frames []wire.Frame
		for seq := int64(1); seq <= sent+1; seq++ {
			frames = append(frames, wire.RetireConnectionID{Seq: seq})
		}
		tc.write(wire.OneRTT, frames...)
		tc.wantClose("the last of them was issued in answer to the others, and not sent", wire.ProtocolViolation)
		if n := tc.conn.ids.localNext; n > sent+1+sent+1 {
			t.Errorf("%d IDs issued", n)
		}
	})
}

// A peer that challenges and acknowledges nothing makes us remember no more than
// a window of answers (RFC 9000 §8.2.2, §21.5).
func TestChallengeFlood(t *testing.T) {
	tc := newTestConn(t, serverSide)
	answers := 0
	for i := range 20_000 {
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], uint64(i))
		tc.write(wire.OneRTT, wire.PathChallenge{Data: data})
		for _, d := range tc.datagrams {
			if d.size >= wire.MinInitialSize {
				answers++
			}
		}
		tc.out, tc.datagrams = nil, nil
	}
	tc.wantOpen("a nuisance, and no more")
	if got, window := tc.conn.loss.InFlight(), tc.conn.loss.Window(); got > window {
		t.Errorf("%d bytes in flight, window %d", got, window)
	}
	if n := tc.conn.paths.responses; n > maxResponses {
		t.Errorf("%d answers wait", n)
	}
	if most := tc.conn.loss.Window()/wire.MinInitialSize + 2; answers > most {
		t.Errorf("%d answers sent, none of which was acknowledged, window of %d", answers, most)
	}
	tc.abandon()
}

// RFC 9000 §5.2.2: a late copy of the client's first packet belongs to the
// connection that it made, also when the handshake is over.
func TestLateFirstInitial(t *testing.T) {
	var first []byte
	p := newPair(t, nil)
	first = append(first, p.flight[0].data...)
	p.handshake()
	p.deliver(flight{to: p.server, data: first, path: dgram.Path{Local: p.server.addr, Remote: p.client.addr}})
	if got := p.server.mux.Stats().Initials; got != 1 {
		t.Errorf("%d connections were begun, want 1", got)
	}
	routed := func() bool { return p.server.mux.conns[p.server.conn.OriginalDCID()] != nil }
	if !routed() {
		t.Error("the first ID is not routed")
	}
	p.runUntil(10*time.Second, func() bool { return !routed() })
	if routed() {
		t.Error("the first ID is routed for ever")
	}
}

// RFC 9000 §4.6: stream credit does not wait for STREAMS_BLOCKED. When the peer has
// opened the last stream it may, what has been saved up is granted.
func TestStreamCreditUnasked(t *testing.T) {
	tc := newTestConn(t, serverSide, func(c *Config) { c.Params.MaxStreamsUni = 100 })
	open := func(from, to int64, fin bool) {
		for n := from; n < to; n++ {
			tc.write(wire.OneRTT, wire.Stream{ID: clientSide.streamID(uni, n), Data: []byte("x"), HasLen: true, Fin: fin})
			if st := tc.wantEvent("a new stream", EventStream).Stream; fin {
				if data, _ := tc.read(st); data != "x" {
					t.Fatalf("read %q", data)
				}
			}
		}
	}
	tc.ignore(wire.FramePing)
	open(0, 10, true)
	tc.wantIdle("ten of a hundred are not worth a packet")
	open(10, 100, false)
	tc.want("the last one is open", wire.OneRTT, wire.MaxStreams{Uni: true, Max: 110})
	tc.abandon()
}

// A peer that talks and acknowledges nothing does not keep a connection for ever.
func TestZombie(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.send(tc.open(bidi), "never acknowledged")
		start := tc.now
		for tc.closed == nil && tc.now.Sub(start) < time.Hour {
			tc.advance(time.Second)
			tc.write(wire.OneRTT, wire.Ping{})
			tc.out, tc.datagrams = nil, nil
		}
		if tc.closed == nil {
			t.Fatal("open after an hour")
		}
		if lived := tc.now.Sub(start); lived < zombieTime {
			t.Errorf("closed after %v", lived)
		}
		tc.abandon()
	})
}
