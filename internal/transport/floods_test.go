package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What a peer can pile up ends somewhere, and an honest peer is not caught by it.

// RFC 9000 §19.16: an ID that the peer cannot know cannot be retired, so that one
// packet does not make us issue IDs without end.
func TestS03RetireUnsentID(t *testing.T) {
	besiege(t, 0)
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
