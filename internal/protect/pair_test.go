package protect

import (
	"crypto/cipher"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// end is one of two endpoints whose keys match. Tests read as a script of what
// ends send and what becomes of it at the other.
type end struct {
	t       testing.TB
	name    string
	suite   uint16
	keys    OneRTT
	secret  []byte // first write secret
	now     mono.Time
	next    int64 // packet number of the next packet sent
	largest int64 // packet number received
}

func newPair(t testing.TB, suite uint16) (a, b *end) {
	t.Helper()
	a = &end{t: t, name: "a", suite: suite, secret: testSecret(suite, 0xa), largest: -1}
	b = &end{t: t, name: "b", suite: suite, secret: testSecret(suite, 0xb), largest: -1}
	for _, err := range []error{
		a.keys.SetWrite(wire.Version1, suite, a.secret), a.keys.SetRead(wire.Version1, suite, b.secret),
		b.keys.SetWrite(wire.Version1, suite, b.secret), b.keys.SetRead(wire.Version1, suite, a.secret),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// sealInto appends the next packet to a header of five bytes, made n bytes long before its tag.
func (e *end) sealInto(header []byte, n int) []byte {
	header[0] = 0x41
	if e.keys.Phase() {
		header[0] |= keyPhaseBit
	}
	pkt := append(header[:5], byte(e.next>>8), byte(e.next))[:n]
	pkt = e.keys.Seal(pkt, 5, 2, e.next)
	e.next++
	return pkt
}

// send returns the next packet of e, as its keys would have it.
func (e *end) send() []byte {
	e.t.Helper()
	pkt := e.sealInto(append(make([]byte, 0, 100), 0x41, 'd', 'c', 'i', 'd'), 40)
	if pkt == nil {
		e.t.Fatalf("%s cannot seal packet %d", e.name, e.next-1)
	}
	return pkt
}

// cheat returns a packet pn of e under the keys of any key phase, with the key
// phase bit that belongs to them.
func (e *end) cheat(pn int64, phase int) []byte {
	e.t.Helper()
	info, err := suiteInfo(wire.Version1, e.suite)
	if err != nil {
		e.t.Fatal(err)
	}
	var header headerKey
	header.init(info, e.secret)
	secret := e.secret
	for range phase {
		secret = info.nextSecret(secret)
	}
	var key packetKey
	key.init(info, secret)
	pkt := append(make([]byte, 0, 100), 0x41|byte(phase&1)*keyPhaseBit, 'd', 'c', 'i', 'd', byte(pn>>8), byte(pn))
	pkt = key.seal(pkt, []byte("a payload"), pn)
	header.apply(pkt, 5, 2)
	return pkt
}

// want opens pkt and checks what becomes of it.
func (e *end) want(reason string, pkt []byte, want OpenResult) {
	e.t.Helper()
	got, result := e.keys.Open(e.now, append([]byte(nil), pkt...), 5, e.largest)
	if result != want {
		e.t.Fatalf("%s: %s opened the packet: %v, want %v", reason, e.name, result, want)
	}
	if result == OpenOK || result == OpenUpdated {
		e.largest = max(e.largest, got.PN)
	}
}

// state checks what the keys say of themselves.
func (e *end) state(reason string, updates int, canUpdate bool) {
	e.t.Helper()
	k := &e.keys
	if k.Updates() != updates || k.Phase() != (updates%2 == 1) || k.CanUpdate() != canUpdate {
		e.t.Fatalf("%s: %s has %d updates, phase %v, may update %v; want %d, %v, %v",
			reason, e.name, k.Updates(), k.Phase(), k.CanUpdate(), updates, updates%2 == 1, canUpdate)
	}
}

// openings counts how often an AEAD key of its was asked to open.
type openings struct{ n int }

type countingAEAD struct {
	cipher.AEAD
	count *openings
}

func (c countingAEAD) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	c.count.n++
	return c.AEAD.Open(dst, nonce, ciphertext, data)
}

// count wraps all read keys of e that there are now.
func (e *end) count() *openings {
	c := &openings{}
	for _, k := range []*packetKey{e.keys.read.previous, &e.keys.read.current, &e.keys.read.next} {
		if k != nil && k.aead != nil {
			k.aead = countingAEAD{k.aead, c}
		}
	}
	return c
}
