package protect

import (
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9001 §6.6: the limits of each AEAD.
func TestDefaultLimits(t *testing.T) {
	for _, tc := range []struct {
		suite                            uint16
		want, confidentiality, integrity int64
	}{
		{allSuites[0], 1 << 20, 1 << 23, 1 << 52},
		{allSuites[1], 1 << 20, 1 << 23, 1 << 52},
		{allSuites[2], 1 << 20, 1 << 62, 1 << 36},
	} {
		a, b := newPair(t, tc.suite)
		w := &a.keys.write
		limits := func(sealed int64) (want, close bool) {
			w.sealed = sealed
			return a.keys.WantUpdate(), a.keys.SendLimit()
		}
		for _, l := range []struct {
			sealed      int64
			want, close bool
		}{
			{0, false, false}, {tc.want - 1, false, false}, {tc.want, true, false},
			{tc.confidentiality - closeReserve - 1, true, false}, {tc.confidentiality - closeReserve, true, true},
		} {
			if want, close := limits(l.sealed); want != l.want || close != l.close {
				t.Errorf("suite %#x, %d packets: want update %v, must close %v", tc.suite, l.sealed, want, close)
			}
		}
		w.sealed = tc.confidentiality - 1
		b.want("the last packet", a.send(), OpenOK)
		if a.keys.Seal(make([]byte, 40, 60), 5, 2, a.next) != nil {
			t.Errorf("suite %#x: sealed past the limit", tc.suite)
		}
		b.keys.AddFailures(tc.integrity - 2)
		b.want("one failure short of the limit", make([]byte, 40), OpenDropped)
		b.want("the limit", make([]byte, 40), OpenLimit)
	}
}

// RFC 9001 §6.6: an update comes before the confidentiality limit, if the peer lets us (RFC 9001 §5.3).
func TestUpdateBeforeLimit(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	a.keys.ConfidentialityLimit = 40
	for round := range 5 {
		for i := range 20 {
			if a.keys.WantUpdate() {
				t.Fatalf("round %d: update wanted after %d packets", round, i)
			}
			pkt := a.send()
			if i == 0 && round > 0 {
				b.want("update", pkt, OpenUpdated)
				continue
			}
			b.want("in this key phase", pkt, OpenOK)
		}
		if a.want("answer", b.send(), map[bool]OpenResult{true: OpenUpdated, false: OpenOK}[round > 0]); !a.keys.WantUpdate() {
			t.Fatalf("round %d: no update wanted at half the limit", round)
		}
		a.keys.Acked(a.next - 1)
		a.keys.KeepPrevious(a.now)
		a.keys.Discard(a.now)
		a.keys.Update()
	}
	if a.keys.SendLimit() || a.keys.Updates() != 5 {
		t.Errorf("send limit %v after %d updates", a.keys.SendLimit(), a.keys.Updates())
	}
}

// RFC 9001 §6.6: without an update the connection closes, with packets to spare for saying so.
func TestSendLimit(t *testing.T) {
	a, _ := newPair(t, allSuites[0])
	a.keys.ConfidentialityLimit = 40
	for !a.keys.SendLimit() {
		a.send()
	}
	if a.next != 30 {
		t.Errorf("the limit came after %d packets", a.next)
	}
	a.keys.Acked(5)
	if a.keys.SendLimit() || !a.keys.CanUpdate() {
		t.Error("the limit stays although an update is possible")
	}
	for range 10 {
		a.send()
	}
	if a.keys.Seal(make([]byte, 40, 60), 5, 2, a.next) != nil {
		t.Error("sealed past the limit")
	}
	a.keys.Update()
	a.send()
}

// UpdateAfter lowers the default, and nothing raises a limit above the RFC's.
func TestLoweredLimits(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	a.keys.UpdateAfter = 3
	for i := range 4 {
		if got := a.keys.WantUpdate(); got != (i == 3) {
			t.Errorf("after %d packets: want update %v", i, got)
		}
		a.send()
	}
	a.keys.UpdateAfter, a.keys.ConfidentialityLimit, b.keys.IntegrityLimit = 1<<60, 1<<60, 1<<60
	a.keys.write.sealed = 1 << 22
	b.keys.AddFailures(1 << 52)
	b.want("limit", a.send(), OpenLimit)
	if !a.keys.WantUpdate() || a.keys.confidentialityLimit() != 1<<23 {
		t.Error("the limits were raised")
	}
}

// RFC 9001 §6.6: failures count over all keys of a connection, and after the limit
// nothing is processed any more.
func TestIntegrityLimit(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	b.keys.IntegrityLimit = 6
	o, _ := NewOpener(wire.Version1, allSuites[0], testSecret(allSuites[0], 1))
	o.Open(make([]byte, 40), 5, -1)
	o.Open(make([]byte, 40), 5, -1)
	b.keys.AddFailures(o.Failures())
	ready(a, b)
	forged := func() []byte {
		pkt := a.send()
		pkt[20] ^= 1
		return pkt
	}
	b.want("current key", forged(), OpenDropped)
	flipped := forged()
	flipped[0] ^= keyPhaseBit
	b.want("next key", flipped, OpenDropped)
	late := forged()
	a.keys.Update()
	b.want("update", a.send(), OpenUpdated)
	b.want("previous key", late, OpenDropped)
	b.want("current key", forged(), OpenLimit)
	count := b.count()
	b.want("genuine", a.send(), OpenLimit)
	if b.keys.Failures() != 6 || count.n != 0 {
		t.Errorf("%d failures, %d openings after the limit", b.keys.Failures(), count.n)
	}
}

// A packet that may not be sealed does not leave in clear by mistake.
func TestPastLimitErases(t *testing.T) {
	a, _ := newPair(t, allSuites[0])
	s, _ := NewSealer(wire.Version1, allSuites[0], a.secret)
	a.keys.write.sealed, s.sealed = 1<<23, 1<<23
	for _, seal := range []func([]byte, int, int, int64) []byte{a.keys.Seal, s.Seal, new(OneRTT).Seal} {
		pkt := append(make([]byte, 0, 40), "\x41dcid\x00\x07in clear"...)
		if seal(pkt, 5, 2, 7) != nil || string(pkt) != "\x41dcid"+strings.Repeat("\x00", 10) {
			t.Errorf("left %q", pkt)
		}
	}
}

// A sealer outside 1-RTT has the same limit, though no handshake comes near it.
func TestSealerLimit(t *testing.T) {
	s, _ := NewSealer(wire.Version1, allSuites[0], testSecret(allSuites[0], 1))
	s.sealed = 1<<23 - 1
	if sealed(s, 1, "the last") == nil || sealed(s, 2, "one too many") != nil {
		t.Error("the limit is elsewhere")
	}
}
