package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// heldKeys are keys of a connection that somebody keeps after it has dropped them. How they are
// overwritten is for package protect to show; here it is seen from what they still do.
type heldKeys struct {
	tc      *testConn
	openers map[wire.PacketType]*protect.Opener
	sealers map[wire.PacketType]*protect.Sealer
	sealed  map[wire.PacketType]string
}

func (tc *testConn) holdKeys() *heldKeys {
	k := &heldKeys{tc, make(map[wire.PacketType]*protect.Opener), make(map[wire.PacketType]*protect.Sealer), make(map[wire.PacketType]string)}
	for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
		s := tc.conn.hs.spaces[spaceOf(typ)]
		k.openers[typ], k.sealers[typ] = s.opener, s.sealer
	}
	if tc.side == serverSide {
		k.openers[wire.ZeroRTT] = tc.conn.hs.earlyIn
	} else {
		k.sealers[wire.ZeroRTT] = tc.conn.hs.early
	}
	for typ := range k.sealers {
		k.sealed[typ] = k.seal(typ)
	}
	return k
}

func (k *heldKeys) seal(typ wire.PacketType) string {
	return string(k.sealers[typ].Seal(make([]byte, 40, 40+protect.Overhead), 5, 2, 1<<20))
}

func (k *heldKeys) opens(typ wire.PacketType) bool {
	b := k.tc.build(testPacket{typ: typ, frames: []wire.Frame{wire.Ping{}}})
	h, ok := wire.ParseLong(b)
	if !ok {
		k.tc.Fatal("not a packet")
	}
	_, ok = k.openers[typ].Open(b, h.PNOffset, k.tc.peer.next[spaceOf(typ)]-1)
	return ok
}

// want wants the keys to be there still, or to be overwritten.
func (k *heldKeys) want(when string, there bool) {
	k.tc.Helper()
	for typ := range k.openers {
		if k.opens(typ) != there {
			k.tc.Errorf("%s: keys to open %v: there %v", when, typ, !there)
		}
	}
	for typ := range k.sealers {
		if (k.seal(typ) == k.sealed[typ]) != there {
			k.tc.Errorf("%s: keys to seal %v: there %v", when, typ, !there)
		}
	}
}

// Keys that are dropped are overwritten, and not only forgotten: those of the handshake's levels when it is
// confirmed, or the connection ends before (RFC 9001 §4.9).
func TestDroppedKeysAreErased(t *testing.T) {
	early := func(s *scriptedTLS) { s.early = true }
	resumed := func(c *Config) { p := testParams(); c.Resumed = &p }
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello, early, resumed)
		k := tc.holdKeys()
		k.want("in the handshake", true)
		tc.step(stageConfirmed)
		k.want("confirmed", false)
		tc.abandon()

		tc = newTestConn(t, s, stageHello, early, resumed)
		k = tc.holdKeys()
		k.want("in the handshake", true)
		tc.conn.Destroy(tc.now)
		tc.pump()
		k.want("ended", false)
		tc.abandon()
	})
}

// So are the secrets of 1-RTT keys at the end of the connection: with a copy of what is left of them
// nobody comes to the next key phase (RFC 9001 §6.1).
func TestLastSecretIsErased(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, ends := range []bool{false, true} {
			tc := newTestConn(t, s)
			tc.conn.Ping()
			tc.pump()
			tc.clear()
			tc.ack(wire.OneRTT)
			kept := tc.conn.oneRTT // shares the secrets' memory
			if ends {
				tc.conn.Destroy(tc.now)
				tc.pump()
				if tc.conn.oneRTT.CanRead() || tc.conn.oneRTT.CanWrite() {
					t.Error("there are keys after the end")
				}
			}
			kept.Update()
			b := append(make([]byte, 0, 64), 0x43)
			b = append(b, tc.peer.id.Bytes()...)
			if kept.Phase() {
				b[0] |= 0x04
			}
			pn := tc.peer.got[recovery.App].Max() + 1
			off := len(b)
			b = wire.AppendPacketNumber(b, pn, 4)
			b = kept.Seal(append(b, make([]byte, 20)...), off, 4, pn)
			if _, got := tc.peer.oneRTT.Open(tc.now, b, off, pn-1); (got == protect.OpenUpdated) == ends {
				t.Errorf("the connection has ended %v: the next key phase is %v", ends, got)
			}
			tc.abandon()
		}
	})
}

// An endpoint keeps the secrets that it has made keys of no longer than it needs them.
func TestMuxSecretsAreErased(t *testing.T) {
	r := newMuxRig(t, nil)
	if r.mux.cfg.TokenSecret != [32]byte{} || r.mux.cfg.ResetSecret == [32]byte{} {
		t.Errorf("secrets %x and %x", r.mux.cfg.TokenSecret, r.mux.cfg.ResetSecret)
	}
	once, again := r.mux.ResetToken(r.dcid), r.mux.ResetToken(r.dcid)
	if once != again {
		t.Error("an ID has two tokens")
	}
	r.mux.Erase()
	once, again = r.mux.ResetToken(r.dcid), r.mux.ResetToken(r.dcid)
	if r.mux.cfg.ResetSecret != [32]byte{} || once == again {
		t.Errorf("a token of %x", r.mux.cfg.ResetSecret)
	}
}
