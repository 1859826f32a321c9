package protect

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

const pto = 100 * time.Millisecond

// ready gives both ends what CanUpdate asks for: a packet of theirs was acknowledged.
func ready(a, b *end) {
	a.t.Helper()
	b.want("first packet", a.send(), OpenOK)
	a.want("first packet", b.send(), OpenOK)
	a.keys.Acked(a.next - 1)
	b.keys.Acked(b.next - 1)
}

// updated is what a transport does after OpenUpdated.
func (e *end) updated() { e.keys.KeepPrevious(e.now.Add(3 * pto)) }

// RFC 9001 §6.1, §6.2: one end begins, the other answers with the next packet it sends.
func TestUpdate(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		a, b := newPair(t, suite)
		for n := 1; n <= 5; n++ {
			ready(a, b)
			a.state("before", n-1, true)
			a.keys.Update()
			a.state("began", n, false)
			b.want("b learns of it", a.send(), OpenUpdated)
			b.updated()
			b.state("followed at once", n, false)
			b.want("more in this key phase", a.send(), OpenOK)
			a.want("a has its answer", b.send(), OpenUpdated)
			a.updated()
			a.state("old key not gone", n, false)

			a.keys.Acked(a.next - 1)
			a.state("acknowledged, but b may still need its old key", n, false)
			a.now, b.now = a.now.Add(3*pto), b.now.Add(3*pto)
			a.keys.Discard(a.now)
			b.keys.Discard(b.now)
			a.state("next update allowed", n, true)
			b.state("nothing of b acknowledged in this key phase", n, false)
			a, b = b, a // next time the other one begins
		}
	})
}

// RFC 9001 §6: both ends may begin the same update without knowing of the other.
func TestUpdateFromBothEnds(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	a.keys.Update()
	b.keys.Update()
	fromA, fromB := a.send(), b.send()
	a.want("crossing", fromB, OpenUpdated)
	b.want("crossing", fromA, OpenUpdated)
	a.state("one update", 1, false)
	b.state("one update", 1, false)
	b.want("going on", a.send(), OpenOK)
	a.want("going on", b.send(), OpenOK)
}

// RFC 9001 §6.1: until the peer answers, what it sends with its old key is welcome.
func TestPeerNotYetUpdated(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	a.keys.Update()
	a.want("b does not know yet", b.send(), OpenOK)
	a.want("b does not know yet", b.send(), OpenOK)
	if at := a.keys.DiscardAt(); at != mono.Never {
		t.Errorf("discard at %v with no old read key", at)
	}
	a.state("waiting for the answer", 1, false)
	a.keys.Acked(a.next) // of nothing sent in this key phase
	a.state("waiting for the answer", 1, false)

	before := a.next - 1
	b.want("update", a.send(), OpenUpdated)
	a.want("answer", b.send(), OpenUpdated)
	a.keys.KeepPrevious(a.now)
	a.keys.Discard(a.now)
	a.keys.Acked(before)
	a.state("only the key phase before was acknowledged", 1, false)
	a.keys.Acked(before + 1)
	a.state("acknowledged", 1, true)
}

// RFC 9001 §6.5: packets that were overtaken by the update open with the old key,
// until its time is over.
func TestLatePackets(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	late := [][]byte{a.send(), a.send(), a.send()}
	a.keys.Update()
	b.want("overtakes", a.send(), OpenUpdated)
	b.want("late, before the transport has set a time", late[0], OpenOK)
	b.updated()
	if at := b.keys.DiscardAt(); at != b.now.Add(3*pto) {
		t.Errorf("discard at %v", at)
	}
	b.now = b.now.Add(3*pto - 1)
	b.want("late", late[1], OpenOK)
	b.now++
	b.want("too late", late[2], OpenDropped)
	if at := b.keys.DiscardAt(); at != mono.Never || b.keys.Failures() != 1 {
		t.Errorf("discard at %v, %d failures", at, b.keys.Failures())
	}
	b.want("the current key phase", a.send(), OpenOK)
}

// RFC 9001 §6.5: a peer whose idea of the PTO is shorter may update again while we
// keep the old key.
func TestSecondUpdateWhileOldKeyIsKept(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	first := a.send()
	b.want("first update", a.cheat(a.next, 1), OpenUpdated)
	b.updated()
	second := a.cheat(a.next+1, 1)
	b.send() // carries the acknowledgment that allows a the next one
	b.want("second update", a.cheat(a.next+2, 2), OpenUpdated)
	b.updated()
	b.state("two updates", 2, false)
	b.want("late by one update", second, OpenOK)
	// Its bit is the current one, so it fails under the current key.
	b.want("late by two updates", first, OpenDropped)
}

// RFC 9001 §6.4: an old key for a packet behind newer ones is an error (RFC 9001 §5.5).
func TestOldKeyForNewerPacket(t *testing.T) {
	for _, tc := range []struct {
		name    string
		packets func(a *end) [][]byte // after packet 0 of phase 0; the last is the error
	}{
		{"after the update", func(a *end) [][]byte {
			return [][]byte{a.cheat(1, 1), a.cheat(2, 0)}
		}},
		{"between packets of the new key phase", func(a *end) [][]byte {
			return [][]byte{a.cheat(5, 1), a.cheat(9, 1), a.cheat(7, 0)}
		}},
		{"between reordered packets of the new key phase", func(a *end) [][]byte {
			return [][]byte{a.cheat(9, 1), a.cheat(5, 1), a.cheat(7, 0)}
		}},
		{"new key before the old one's last", func(a *end) [][]byte {
			return [][]byte{a.cheat(8, 0), a.cheat(7, 1)}
		}},
		{"new key before the old one's last, update already known", func(a *end) [][]byte {
			return [][]byte{a.cheat(8, 0), a.cheat(9, 1), a.cheat(7, 1)}
		}},
		{"new key before a late packet of the old", func(a *end) [][]byte {
			return [][]byte{a.cheat(9, 1), a.cheat(8, 0), a.cheat(7, 1)}
		}},
		{"next key between packets of the current", func(a *end) [][]byte {
			return [][]byte{a.cheat(2, 1), a.cheat(6, 1), a.cheat(4, 2)}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := newPair(t, allSuites[0])
			ready(a, b)
			packets := tc.packets(a)
			for i, pkt := range packets {
				got, result := b.keys.Open(b.now, pkt, 5, b.largest)
				if want := i == len(packets)-1; (result == OpenKeyUpdateError) != want || result == OpenDropped {
					t.Fatalf("packet %d of the script: %v", i, result)
				}
				if result == OpenUpdated {
					b.updated()
					b.send() // so that only the order is wrong
				}
				b.largest = max(b.largest, got.PN)
			}
		})
	}
}

// RFC 9001 §6.2: a second update before we could confirm the first is an error.
func TestUpdateTwiceWithoutAcknowledgment(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	b.want("first", a.cheat(1, 1), OpenUpdated)
	b.updated()
	b.want("second", a.cheat(2, 2), OpenKeyUpdateError)
}

// RFC 9001 §6.1: the first update may come before we sent anything in 1-RTT
// packets, as when a server updates the moment the handshake is complete.
func TestFirstUpdateComesFirst(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	b.want("the very first packet", a.cheat(0, 1), OpenUpdated)
	b.state("followed", 1, false)
	b.want("late", a.cheat(1, 1), OpenOK)
}

// An update that we could not answer, for want of write keys, is not accepted.
func TestUpdateBeforeWriteKeys(t *testing.T) {
	a, _ := newPair(t, allSuites[0])
	b := &end{t: t, name: "b", suite: a.suite, largest: -1}
	if err := b.keys.SetRead(wire.Version1, a.suite, a.secret); err != nil {
		t.Fatal(err)
	}
	b.want("in time", a.send(), OpenOK)
	b.want("early", a.cheat(1, 1), OpenDropped)
	if b.keys.CanWrite() || b.keys.Updates() != 0 || b.keys.Seal(make([]byte, 30, 60), 5, 2, 0) != nil {
		t.Error("there are write keys")
	}
}

// RFC 9001 §6.2: the peer opens our update but answers with an old key.
func TestStaleAck(t *testing.T) {
	a, b := newPair(t, allSuites[0])
	ready(a, b)
	old := a.next - 1
	if a.keys.StaleAck(0x41, old) {
		t.Error("before any update")
	}
	a.keys.Update()
	if a.keys.StaleAck(0x41, old) || a.keys.StaleAck(0x41, a.next) {
		t.Error("nothing sent with the new key yet")
	}
	a.send()
	if a.keys.StaleAck(0x41, old) || a.keys.StaleAck(0x45, a.next-1) {
		t.Error("an acknowledgment that is fine is stale")
	}
	if !a.keys.StaleAck(0x41, a.next-1) {
		t.Error("an acknowledgment under an old key is not stale")
	}
}

// RFC 9001 §6.3, §9.5: a packet with a forged key phase costs one opening, changes
// nothing, and derives nothing, before, during and after an update.
func TestForgedKeyPhase(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		a, b := newPair(t, suite)
		ready(a, b)
		flip := func(pkt []byte) []byte {
			pkt[0] ^= keyPhaseBit
			return pkt
		}
		forge := func(reason string, want int) {
			t.Helper()
			before := b.keys
			count := b.count()
			b.want(reason, flip(a.send()), OpenDropped)
			if count.n != want || b.keys.Failures() != before.failures+1 {
				t.Fatalf("%s: %d openings, want %d; failures %d after %d",
					reason, count.n, want, b.keys.Failures(), before.failures)
			}
			if &b.keys.read.secret[0] != &before.read.secret[0] || &b.keys.write.secret[0] != &before.write.secret[0] {
				t.Fatalf("%s: a key was derived", reason)
			}
		}
		forge("before", 1)
		a.keys.Acked(a.next - 1)
		stale := a.send()
		a.keys.Update()
		b.want("update", a.send(), OpenUpdated)
		b.updated()
		b.want("late and forged", flip(stale), OpenDropped)
		for range limits.Bound(t, "old-key-probes") {
			forge("while the old key is kept, the first times", 2)
		}
		for range 10 {
			forge("while the old key is kept", 1)
		}
		b.now = b.now.Add(3 * pto)
		for range 10 {
			forge("after", 1)
		}
		b.want("genuine", a.send(), OpenOK)
		b.state("one update", 1, false)
	})
}

// RFC 9001 §9.5: whichever byte of a packet is wrong, it costs one opening, and no key is derived.
func TestGarbageCostsOneOpening(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		a, b := newPair(t, suite)
		ready(a, b)
		for i := range a.send() {
			for bit := range 8 {
				pkt := a.send()
				pkt[i] ^= 1 << bit
				before, count := b.keys, b.count()
				b.want("garbage", pkt, OpenDropped)
				if count.n != 1 || b.keys.Failures() != before.failures+1 || &b.keys.read.secret[0] != &before.read.secret[0] {
					t.Fatalf("bit %d of byte %d: %d openings, failures %d after %d", bit, i, count.n, b.keys.Failures(), before.failures)
				}
			}
		}
		b.want("genuine", a.send(), OpenOK)
	})
}

// Packets of random order, with updates of both ends whenever allowed, all open,
// and both ends keep step (RFC 9001 §6.4).
func TestRandomUpdates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	a, b := newPair(t, allSuites[rng.IntN(len(allSuites))])
	for range 2000 {
		for _, e := range []*end{a, b} {
			e.now = e.now.Add(pto / 10)
			e.keys.Discard(e.now)
			if e.keys.CanUpdate() && rng.IntN(4) == 0 {
				e.keys.Update()
			}
		}
		exchange(rng, a, b)
		exchange(rng, b, a)
		if d := a.keys.Updates() - b.keys.Updates(); d < -1 || d > 1 {
			t.Fatalf("%d and %d updates", a.keys.Updates(), b.keys.Updates())
		}
	}
	if a.keys.Updates() < 10 || a.keys.Failures()+b.keys.Failures() != 0 {
		t.Errorf("%d updates, %d and %d failures", a.keys.Updates(), a.keys.Failures(), b.keys.Failures())
	}
}

// exchange sends a few packets, some of them overtaken, and acknowledges them.
func exchange(rng *rand.Rand, from, to *end) {
	from.t.Helper()
	var flight [][]byte
	for range rng.IntN(5) {
		flight = append(flight, from.send())
	}
	rng.Shuffle(len(flight), func(i, j int) { flight[i], flight[j] = flight[j], flight[i] })
	for _, pkt := range flight {
		got, result := to.keys.Open(to.now, pkt, 5, to.largest)
		switch result {
		case OpenUpdated:
			to.updated()
		case OpenOK:
		default:
			from.t.Fatalf("packet of %s: %v", from.name, result)
		}
		to.largest = max(to.largest, got.PN)
		from.keys.Acked(got.PN)
	}
}
