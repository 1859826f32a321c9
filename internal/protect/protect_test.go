package protect

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

var allSuites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// testSecret is a traffic secret of the suite's length.
func testSecret(suite uint16, seed byte) []byte {
	info, err := suiteInfo(wire.Version1, suite)
	if err != nil {
		panic(err)
	}
	return bytes.Repeat([]byte{seed}, info.hash().Size())
}

func eachSuite(t *testing.T, f func(t *testing.T, suite uint16)) {
	for _, suite := range allSuites {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) { f(t, suite) })
	}
}

// A packet comes back as it was, whatever its form, packet number and length.
func TestSealOpen(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		for _, first := range []byte{0xc0, 0xd0, 0xe0, 0x40, 0x44, 0x60} {
			for pnLen := 1; pnLen <= 4; pnLen++ {
				for _, pn := range []int64{0, 1, 0x7f, 0xabcd, 0xabcdef, 1<<32 - 1, 1<<62 - 1} {
					for _, n := range []int{4 - pnLen, 1, 20, 1452 - 21} {
						roundTrip(t, s, o, first|byte(pnLen-1), pnLen, pn, max(n, 4-pnLen))
					}
				}
			}
		}
		if o.Failures() != 0 {
			t.Errorf("%d failures", o.Failures())
		}
	})
}

func roundTrip(t *testing.T, s *Sealer, o *Opener, first byte, pnLen int, pn int64, n int) {
	t.Helper()
	roundTripAt(t, s, o, first, pnLen, pn, bytes.Repeat([]byte{0x5a}, n), 5)
}

// roundTripAt seals and opens a packet whose packet number starts at pnOff.
func roundTripAt(t *testing.T, s *Sealer, o *Opener, first byte, pnLen int, pn int64, payload []byte, pnOff int) {
	t.Helper()
	name := fmt.Sprintf("first %#x, pn %d in %d bytes at %d, payload %d", first, pn, pnLen, pnOff, len(payload))
	size := pnOff + pnLen + len(payload) + Overhead
	pkt := append(make([]byte, 0, size), first)
	pkt = append(pkt, bytes.Repeat([]byte{'i'}, pnOff-1)...)
	pkt = wire.AppendPacketNumber(pkt, pn, pnLen)
	header := append([]byte(nil), pkt...)
	pkt = s.Seal(append(pkt, payload...), pnOff, pnLen, pn)
	if len(pkt) != size || len(payload) > 8 && bytes.Contains(pkt, payload) {
		t.Fatalf("%s: sealed as %x", name, pkt)
	}
	got, ok := o.Open(pkt, pnOff, pn-1)
	if !ok || got.PN != pn || got.First != first || !bytes.Equal(got.Payload, payload) {
		t.Fatalf("%s: opened as %+v, %v", name, got, ok)
	}
	if !bytes.Equal(pkt[:len(header)], header) {
		t.Fatalf("%s: header opened as %x", name, pkt[:len(header)])
	}
}

// sealed returns a short-header packet of pn, in two bytes behind a header of five.
func sealed(s *Sealer, pn int64, payload string) []byte {
	pkt := append(make([]byte, 0, 1500), 0x41, 'd', 'c', 'i', 'd', byte(pn>>8), byte(pn))
	return s.Seal(append(pkt, payload...), 5, 2, pn)
}

// Every bit of a packet counts, and what does not open leaves alone the last 16
// bytes, where a stateless reset token would stand (RFC 9000 §10.3.1).
func TestEveryBitCounts(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		good := sealed(s, 7, "some frames")
		for bit := range 8 * len(good) {
			pkt := append([]byte(nil), good...)
			pkt[bit/8] ^= 1 << (bit % 8)
			tail := append([]byte(nil), pkt[len(pkt)-16:]...)
			if _, ok := o.Open(pkt, 5, 6); ok {
				t.Errorf("opened with bit %d of byte %d flipped", bit%8, bit/8)
			}
			if !bytes.Equal(pkt[len(pkt)-16:], tail) {
				t.Fatalf("bit %d: the last 16 bytes became %x", bit, pkt[len(pkt)-16:])
			}
		}
		if want := int64(8 * len(good)); o.Failures() != want {
			t.Errorf("%d failures, want %d", o.Failures(), want)
		}
	})
}

// RFC 9001 §5.4.2: a packet too short to sample is dropped; it is no failure of the AEAD.
func TestTooShort(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		var k OneRTT
		if err := k.SetRead(wire.Version1, suite, testSecret(suite, 1)); err != nil {
			t.Fatal(err)
		}
		pkt := sealed(s, 7, "....")
		for n := range 5 + 4 + 16 {
			if _, ok := o.Open(append([]byte(nil), pkt[:n]...), 5, 6); ok {
				t.Errorf("opened %d bytes", n)
			}
			if _, result := k.Open(0, append([]byte(nil), pkt[:n]...), 5, 6); result != OpenDropped {
				t.Errorf("%d bytes: %v", n, result)
			}
		}
		if o.Failures() != 0 || k.Failures() != 0 {
			t.Errorf("failures: %d and %d", o.Failures(), k.Failures())
		}
	})
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); got != want {
			t.Errorf("panic %q, want %q", got, want)
		}
	}()
	f()
}

// What only a bug of ours can do is caught.
func TestSealBugs(t *testing.T) {
	s, _ := NewSealer(wire.Version1, allSuites[0], testSecret(allSuites[0], 1))
	mustPanic(t, "BUG: no room for the tag", func() { s.Seal(make([]byte, 30), 1, 1, 0) })
	mustPanic(t, "BUG: packet too short to sample: pad packet number and payload to four bytes",
		func() { s.Seal(make([]byte, 4, 30), 1, 1, 0) })
	var k OneRTT
	mustPanic(t, "BUG: key update is not allowed now", k.Update)
}

// There are no keys for a suite whose header protection is not specified (RFC 9001 §5.3).
func TestUnknownSuite(t *testing.T) {
	const want = "protect: cipher suite 0x1304 has no packet protection"
	var k OneRTT
	_, sealErr := NewSealer(wire.Version1, 0x1304, make([]byte, 32))
	_, openErr := NewOpener(wire.Version1, 0x1304, make([]byte, 32))
	for _, err := range []error{sealErr, openErr, k.SetRead(wire.Version1, 0x1304, make([]byte, 32)), k.SetWrite(wire.Version1, 0x1304, make([]byte, 32))} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if k.CanRead() || k.CanWrite() {
		t.Error("a refused suite left keys behind")
	}
}

// A random connection ID of any length gives both ends the same Initial keys.
func TestInitialSecretsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 21 {
		dcid := make([]byte, n)
		for i := range dcid {
			dcid[i] = byte(rng.Uint32())
		}
		client, server := InitialSecrets(wire.Version1, dcid)
		for _, secret := range [][]byte{client, server} {
			s, _ := NewSealer(wire.Version1, tls.TLS_AES_128_GCM_SHA256, secret)
			o, _ := NewOpener(wire.Version1, tls.TLS_AES_128_GCM_SHA256, secret)
			roundTrip(t, s, o, 0xc1, 2, 3, 40)
		}
		if bytes.Equal(client, server) {
			t.Error("both directions have one secret")
		}
	}
}

func TestNoAllocation(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		buf := append(make([]byte, 0, 1452), 0x41, 'd', 'c', 'i', 'd')
		pn := int64(0)
		got := testing.AllocsPerRun(100, func() {
			pkt := append(buf, byte(pn>>8), byte(pn))[:1400]
			pkt = s.Seal(pkt, 5, 2, pn)
			if _, ok := o.Open(pkt, 5, pn-1); !ok {
				t.Fatal("did not open")
			}
			buf[0] = 0x41
			pn++
		})
		if got != 0 {
			t.Errorf("Sealer and Opener: %v allocations a packet", got)
		}
		a, b := newPair(t, suite)
		got = testing.AllocsPerRun(100, func() {
			pkt := a.sealInto(buf, 1400)
			if _, result := b.keys.Open(0, pkt, 5, b.largest); result != OpenOK {
				t.Fatal(result)
			}
			b.largest++
			pkt = a.sealInto(buf, 1400)
			pkt[100]++
			if _, result := b.keys.Open(0, pkt, 5, b.largest); result != OpenDropped {
				t.Fatal(result)
			}
		})
		if got != 0 {
			t.Errorf("OneRTT: %v allocations for a packet and a forged one", got)
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	for _, suite := range allSuites {
		b.Run(tls.CipherSuiteName(suite), func(b *testing.B) {
			sender, receiver := newPair(b, suite)
			buf := append(make([]byte, 0, 1452), 0x41, 'd', 'c', 'i', 'd')
			b.SetBytes(1452)
			b.ReportAllocs()
			for b.Loop() {
				sender.keys.write.sealed = 0 // or a long run ends at the limit
				pkt := sender.sealInto(buf, 1452-Overhead)
				if _, result := receiver.keys.Open(0, pkt, 5, receiver.largest); result != OpenOK {
					b.Fatal(result)
				}
				receiver.largest++
			}
		})
	}
}

func BenchmarkInitialKeys(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		client, server := InitialSecrets(wire.Version1, []byte("12345678"))
		if _, err := NewOpener(wire.Version1, tls.TLS_AES_128_GCM_SHA256, client); err != nil {
			b.Fatal(err)
		}
		if _, err := NewSealer(wire.Version1, tls.TLS_AES_128_GCM_SHA256, server); err != nil {
			b.Fatal(err)
		}
	}
}
