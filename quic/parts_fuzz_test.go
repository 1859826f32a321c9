package quic

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// FuzzTokenStore: the store agrees with a list, the newest first.
func FuzzTokenStore(f *testing.F) {
	f.Add(uint8(2), []byte{0, 1, 0, 2, 0, 3, 1, 1, 1, 2, 0, 3, 1, 3, 1, 3})
	f.Fuzz(func(t *testing.T, most uint8, ops []byte) {
		type entry struct{ key, token byte }
		var want []entry
		limit := 1 + int(most%5)
		s := NewTokenStore(limit)
		for i := 0; i+1 < min(len(ops), 1000); i += 2 {
			key := ops[i+1] % 8
			at := slices.IndexFunc(want, func(e entry) bool { return e.key == key })
			had := entry{key: key}
			if at >= 0 {
				had = want[at]
				want = slices.Delete(want, at, at+1)
			}
			if ops[i]&1 == 0 {
				s.Put(string(key), []byte{ops[i]})
				want = append([]entry{{key, ops[i]}}, want...)
				want = want[:min(len(want), limit)]
			} else if got := s.Take(string(key)); (at >= 0) != (got != nil) || at >= 0 && !bytes.Equal(got, []byte{had.token}) {
				t.Fatalf("token of %d: %v, want %v", key, got, had)
			}
			if s.Len() != len(want) {
				t.Fatalf("%d tokens, want %v", s.Len(), want)
			}
		}
		for _, e := range want {
			if got := s.Take(string(e.key)); !bytes.Equal(got, []byte{e.token}) {
				t.Fatalf("token of %d in the end: %v, want %v", e.key, got, e)
			}
		}
	})
}

// FuzzReplayRegister: whatever tickets come and however full the register is, none serves twice,
// and a new one is refused only if the register has had to forget.
func FuzzReplayRegister(f *testing.F) {
	f.Add(uint8(2), []byte{0, 1, 1, 1, 1, 1, 0, 2, 1, 2, 0, 3, 1, 3, 1, 1, 0, 4, 1, 4, 1, 2})
	f.Fuzz(func(t *testing.T, most uint8, ops []byte) {
		g := NewReplayRegister(1 + int(most%5)).(*replayRegister)
		issued, used := map[byte]time.Time{}, map[byte]bool{}
		for i := 0; i+1 < min(len(ops), 1000); i += 2 {
			n := ops[i+1]
			at, known := issued[n]
			switch {
			case ops[i]&1 == 0 && !known:
				issued[n] = time.Now()
			case known:
				full, old := len(g.used) >= g.most, at.Before(g.since)
				ok := g.Use(append(make([]byte, 15), n), at)
				if ok && used[n] || !ok && !used[n] && !full && !old {
					t.Fatalf("ticket %d was used %v, is taken %v; full %v, old %v", n, used[n], ok, full, old)
				}
				used[n] = used[n] || ok
			}
			if len(g.used) > g.most {
				t.Fatalf("%d tickets are remembered, at most %d", len(g.used), g.most)
			}
		}
	})
}

// FuzzBlockList: a list matches what one of its rules does, looked at one by one, and keeps its
// ranges apart and in order.
func FuzzBlockList(f *testing.F) {
	f.Add([]byte{0, 5, 0, 1, 3, 9, 2, 64, 30, 3, 4, 0, 0, 200, 1, 1, 192, 255, 2, 128, 96})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var b BlockList
		var rules []func(a netip.Addr) bool
		between := func(first, last netip.Addr) {
			rules = append(rules, func(a netip.Addr) bool {
				return a.Is4() == first.Is4() && first.Compare(a) <= 0 && a.Compare(last) <= 0
			})
		}
		for i := 0; i+2 < min(len(ops), 90); i += 3 {
			first, second := address(ops[i+1]), address(ops[i+2])
			switch ops[i] % 3 {
			case 0:
				if err := b.AddAddress(first); err != nil {
					t.Fatal(err)
				}
				between(plain(first), plain(first))
			case 1:
				from, to := plain(first), plain(second)
				good := from.Is4() == to.Is4() && from.Compare(to) <= 0
				if err := b.AddRange(first, second); good != (err == nil) {
					t.Fatalf("%v to %v: %v", first, second, err)
				}
				if good {
					between(from, to)
				}
			case 2:
				p := netip.PrefixFrom(first.WithZone(""), int(ops[i+2])%(first.BitLen()+1))
				if err := b.AddSubnet(p); err != nil {
					t.Fatal(err)
				}
				if first.Is4In6() && p.Bits() >= 96 {
					p = netip.PrefixFrom(first.Unmap(), p.Bits()-96)
				}
				p = p.Masked()
				between(p.Addr(), lastOf(p))
				rules = append(rules, p.Contains)
			}
		}
		for n := range 256 {
			a := address(byte(n))
			want := slices.ContainsFunc(rules, func(r func(netip.Addr) bool) bool { return r(plain(a)) || a.Is4In6() && r(a.WithZone("")) })
			if got := b.Check(a); got != want {
				t.Fatalf("%v is blocked: %v, with %v", a, got, b.ranges)
			}
		}
		for i, r := range b.ranges {
			if r.last.Less(r.first) || i > 0 && !b.ranges[i-1].last.Less(r.first) {
				t.Fatalf("ranges %v", b.ranges)
			}
		}
	})
}

// address returns one of the 256 that the lists are about: of each family, and of IPv4 inside IPv6.
func address(n byte) netip.Addr {
	v6 := [16]byte{0xfd, 15: n & 63}
	switch n >> 6 {
	case 0:
		return netip.AddrFrom4([4]byte{10, 0, n & 32, n & 31})
	case 1:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte{10, 0, n & 32, n & 31}).As16())
	case 2:
		return netip.AddrFrom16(v6).WithZone("eth0")
	}
	return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xfe | n&1, 15: n & 63})
}

// FuzzMessages: the types of TLS messages are found in whatever pieces these come.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{1, 0, 0, 2, 'a', 'b', 4, 0, 0, 0, 24, 0, 0, 1, 0}, uint8(3))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 'a', 'b', 4}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var want []byte
		for rest := b; len(rest) >= 4; {
			want = append(want, rest[0])
			size := int(binary.BigEndian.Uint32(rest) & 0xffffff)
			rest = rest[min(4+size, len(rest)):]
		}
		var scan messageScanner
		var got []byte
		for rest := b; len(rest) > 0; {
			n := min(1+int(piece), len(rest))
			part := rest[:n]
			rest = rest[n:]
			for kind, ok := scan.next(&part); ok; kind, ok = scan.next(&part) {
				got = append(got, kind)
			}
			if len(part) > 0 {
				t.Fatalf("%d bytes are left over", len(part))
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("messages %v, want %v", got, want)
		}
	})
}

// FuzzClientHello: what a ClientHello says of streams is what its transport parameters say,
// whatever else is in it, and it is known whole exactly when it is.
func FuzzClientHello(f *testing.F) {
	p := wire.DefaultParameters()
	p.MaxStreamsBidi, p.MaxStreamsUni = 100, 3
	f.Add([]byte("session"), []byte{0, 57, 0, 1}, p.Append(nil), []byte{1, 0, 0, 40})
	f.Add([]byte{}, []byte{}, varint.Append(nil, 1<<40), bytes.Repeat([]byte{1}, 80))
	f.Fuzz(func(t *testing.T, session, other, params, raw []byte) {
		offeredStreams(raw) // grants something or nothing
		vector := func(b []byte, size int, of []byte) []byte {
			of = of[:min(len(of), 1<<(8*size)-1, 3000)]
			if size == 2 {
				b = append(b, byte(len(of)>>8))
			}
			return append(append(b, byte(len(of))), of...)
		}
		params = params[:min(len(params), 3000)]
		extensions := vector([]byte{0, 1}, 2, other)
		extensions = vector(append(extensions, 0, 57), 2, params)
		hello := append([]byte{1, 0, 0, 0, 3, 3}, make([]byte, 32)...)
		hello = vector(vector(vector(hello, 1, session), 2, []byte{0x13, 1}), 1, []byte{0})
		hello = append(append(hello, byte(len(extensions)>>8), byte(len(extensions))), extensions...)
		hello[2], hello[3] = byte((len(hello)-4)>>8), byte(len(hello)-4)
		var want MaxStreams
		if p, err := wire.ParseParameters(params, false); err == nil {
			want = MaxStreams{uint64(p.MaxStreamsBidi), uint64(p.MaxStreamsUni)}
		}
		if got := offeredStreams(hello); got != want {
			t.Fatalf("%+v are offered, want %+v", got, want)
		}
		for n := range len(hello) {
			offeredStreams(hello[:n])
		}
	})
}
