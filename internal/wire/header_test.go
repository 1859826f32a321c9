package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// unhex decodes hexadecimal with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, _ := recover().(string); !strings.HasPrefix(s, "BUG: ") {
			t.Errorf("%s: panic %q, want one that begins with BUG:", what, s)
		}
	}()
	f()
}

func cid(s string) ConnectionID {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return MakeConnectionID(b)
}

// The headers that RFC 9001 appendix A gives in the clear.
func TestHeadersOfRFC9001(t *testing.T) {
	dcid, server := cid("8394c8f03e515708"), cid("f067a5502a4262b5")
	empty := ConnectionID{}

	b, lengthAt := AppendLong(nil, Version1, Initial, &dcid, &empty, nil, 4)
	varint.Put2(b[lengthAt:], 1182)
	b = AppendPacketNumber(b, 2, 4)
	if want := unhex(t, "c300000001088394c8f03e5157080000449e00000002"); !bytes.Equal(b, want) {
		t.Errorf("A.2: client Initial\n got %x\nwant %x", b, want)
	}

	b, lengthAt = AppendLong(nil, Version1, Initial, &empty, &server, nil, 2)
	varint.Put2(b[lengthAt:], 0x75)
	b = AppendPacketNumber(b, 1, 2)
	if want := unhex(t, "c1000000010008f067a5502a4262b50040750001"); !bytes.Equal(b, want) {
		t.Errorf("A.3: server Initial\n got %x\nwant %x", b, want)
	}

	b = AppendRetry(nil, Version1, &empty, &server, []byte("token"))
	if want := unhex(t, "ff000000010008f067a5502a4262b5746f6b656e"); !bytes.Equal(b, want) {
		t.Errorf("A.4: Retry\n got %x\nwant %x", b, want)
	}
	b = append(b, unhex(t, "04a265ba2eff4d829058fb3f0f2496ba")...)
	h, ok := ParseLong(b)
	want := LongHeader{Version: Version1, Type: Retry, SCID: server, Token: []byte("token"), PNOffset: len(b) - 16, End: len(b)}
	if !ok || !reflect.DeepEqual(h, want) {
		t.Errorf("A.4: ParseLong = %+v, %v", h, ok)
	}

	b = AppendShort(nil, &empty, false, false, 3)
	b = AppendPacketNumber(b, 654360564, 3)
	if want := unhex(t, "4200bff4"); !bytes.Equal(b, want) {
		t.Errorf("A.5: short header\n got %x\nwant %x", b, want)
	}
}

var longHeaders = []struct {
	typ        PacketType
	dcid, scid string
	token      string
	pnLen      int
	payload    int // bytes after the packet number
}{
	{Initial, "0102030405060708", "", "", 1, 20},
	{Initial, "0102030405060708", "1112131415", "a token", 4, 1200},
	{Initial, "", "", strings.Repeat("t", 100), 2, 0},
	{Initial, strings.Repeat("ab", 20), strings.Repeat("cd", 20), "", 3, 16},
	{ZeroRTT, "0102030405060708", "0102", "", 2, 300},
	{Handshake, "01", "02", "", 3, 64},
	{Handshake, "", "", "", 1, 16382},
}

// A long header that was appended is parsed to the same; every truncation of
// the packet is refused; what follows the packet is not touched.
func TestLongHeader(t *testing.T) {
	for _, version := range Versions() {
		testLongHeaders(t, version)
	}
}

func testLongHeaders(t *testing.T, version uint32) {
	t.Helper()
	for _, h := range longHeaders {
		dcid, scid := cid(h.dcid), cid(h.scid)
		prefix := []byte("before")
		b, lengthAt := AppendLong(prefix, version, h.typ, &dcid, &scid, []byte(h.token), h.pnLen)
		varint.Put2(b[lengthAt:], uint64(h.pnLen+h.payload))
		pnOffset := len(b) - len(prefix)
		b = AppendPacketNumber(b, 0x01020304, h.pnLen)
		b = append(b, make([]byte, h.payload)...)
		b = b[len(prefix):]
		if got := int(b[0]&3) + 1; got != h.pnLen {
			t.Errorf("%v: first byte %#x, want packet number length %d", h.typ, b[0], h.pnLen)
		}
		want := LongHeader{Version: version, Type: h.typ, DCID: dcid, SCID: scid, PNOffset: pnOffset, End: len(b)}
		if h.typ == Initial {
			want.Token = []byte(h.token)
		}
		for _, more := range []string{"", "\xc0more"} {
			got, ok := ParseLong(append(b[:len(b):len(b)], more...))
			if !ok || !reflect.DeepEqual(got, want) {
				t.Errorf("ParseLong(%v) = %+v, %v\nwant %+v", h.typ, got, ok, want)
			}
		}
		for n := range b {
			if got, ok := ParseLong(b[:n]); ok {
				t.Fatalf("%v cut to %d of %d bytes: parsed as %+v", h.typ, n, len(b), got)
			}
		}
	}
}

func TestParseLongRefuses(t *testing.T) {
	id21 := "15" + strings.Repeat("00", 21)
	for _, test := range []struct{ why, packet string }{
		{"nothing", ""},
		{"short header", "40 00000001 00 00 00 01 00"},
		{"fixed bit zero", "80 00000001 00 00 00 01 00"},
		{"Version Negotiation", "c0 00000000 00 00 00000001"},
		{"version 3", "c0 00000003 00 00 00 01 00"},
		{"version 2's draft", "d0 709a50c4 00 00 00 01 00"},
		{"version 2's Retry without a token", "c0 6b3343cf 00 00" + strings.Repeat("00", 16)},
		{"DCID of 21 bytes", "c0 00000001" + id21 + "00 00 01 00"},
		{"SCID of 21 bytes", "c0 00000001 00" + id21 + "00 01 00"},
		{"DCID past the end", "c0 00000001 05 00 00 01 00"},
		{"Length past the end", "c0 00000001 00 00 00 02 00"},
		{"Length of 2^62-1", "c0 00000001 00 00 00 ffffffffffffffff 00"},
		{"token past the end", "c0 00000001 00 00 04 01 00"},
		{"token of 2^62-1", "c0 00000001 00 00 ffffffffffffffff 01 00"},
		{"Retry without a token", "f0 00000001 00 00" + strings.Repeat("00", 16)},
		{"Retry without a whole tag", "f0 00000001 00 00" + strings.Repeat("00", 15)},
	} {
		if h, ok := ParseLong(unhex(t, test.packet)); ok {
			t.Errorf("%s: parsed as %+v", test.why, h)
		}
	}
}

func TestShortHeader(t *testing.T) {
	id := cid("0102030405")
	for _, test := range []struct {
		spin, phase bool
		pnLen       int
		want        string
	}{
		{false, false, 1, "40 0102030405"},
		{true, false, 2, "61 0102030405"},
		{false, true, 3, "46 0102030405"},
		{true, true, 4, "67 0102030405"},
	} {
		b := AppendShort(nil, &id, test.spin, test.phase, test.pnLen)
		if want := unhex(t, test.want); !bytes.Equal(b, want) {
			t.Errorf("AppendShort(spin %v, phase %v, %d) = %x, want %x", test.spin, test.phase, test.pnLen, b, want)
		}
		inv, ok := ParseInvariant(b, 5)
		if !ok || inv.Long || !bytes.Equal(inv.DCID, id.Bytes()) || inv.SCID != nil {
			t.Errorf("ParseInvariant(%x) = %+v, %v", b, inv, ok)
		}
		if _, ok := ParseInvariant(b, 6); ok {
			t.Errorf("ParseInvariant(%x) found a connection ID of 6 bytes", b)
		}
	}
}

// The invariants hold for versions and ID lengths that version 1 knows nothing of.
func TestInvariantOfOtherVersions(t *testing.T) {
	dcid, scid := bytes.Repeat([]byte{1}, 255), bytes.Repeat([]byte{2}, 21)
	b := appendLongIDs([]byte{0x80}, 0xfaceb00c, dcid, scid)
	inv, ok := ParseInvariant(append(b, "whatever"...), 8)
	if !ok || !inv.Long || inv.Version != 0xfaceb00c || !bytes.Equal(inv.DCID, dcid) || !bytes.Equal(inv.SCID, scid) {
		t.Errorf("ParseInvariant = %+v, %v", inv, ok)
	}
	for n := range b {
		if _, ok := ParseInvariant(b[:n], 0); ok {
			t.Errorf("parsed when cut to %d of %d bytes", n, len(b))
		}
	}
}

func TestVersionNegotiation(t *testing.T) {
	dcid, scid := bytes.Repeat([]byte{1}, 255), []byte{2, 3}
	b := AppendVersionNegotiation(nil, 0x2a, dcid, scid, Version1, 0x1a2a3a4a)
	if b[0] != 0xea {
		t.Errorf("first byte %#x, want 0xea", b[0])
	}
	versions, inv, ok := ParseVersionNegotiation(b)
	if !ok || !bytes.Equal(inv.DCID, dcid) || !bytes.Equal(inv.SCID, scid) {
		t.Errorf("ParseVersionNegotiation = %+v, %v", inv, ok)
	}
	if want := unhex(t, "00000001 1a2a3a4a"); !bytes.Equal(versions, want) {
		t.Errorf("versions %x, want %x", versions, want)
	}
	for n := range b {
		if _, _, ok := ParseVersionNegotiation(b[:n]); ok != (n == len(b)-4) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(b), ok)
		}
	}
	b[4] = 1
	if _, _, ok := ParseVersionNegotiation(b); ok {
		t.Error("a packet of version 1 parsed as Version Negotiation")
	}
	if _, _, ok := ParseVersionNegotiation([]byte{0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}); ok {
		t.Error("a short header parsed as Version Negotiation")
	}
}

func TestHeaderBugs(t *testing.T) {
	var id ConnectionID
	mustPanic(t, "long header of 1-RTT", func() { AppendLong(nil, Version1, OneRTT, &id, &id, nil, 1) })
	mustPanic(t, "Handshake with a token", func() { AppendLong(nil, Version1, Handshake, &id, &id, []byte{1}, 1) })
	mustPanic(t, "packet number of 0 bytes", func() { AppendShort(nil, &id, false, false, 0) })
	mustPanic(t, "packet number of 5 bytes", func() { AppendPacketNumber(nil, 1, 5) })
	mustPanic(t, "ID of 256 bytes", func() { AppendVersionNegotiation(nil, 0, make([]byte, 256), nil, 1) })
}

func TestPacketTypeString(t *testing.T) {
	want := []string{"Initial", "0-RTT", "Handshake", "1-RTT", "Retry", "Version Negotiation", "PacketType(6)"}
	for i, w := range want {
		if got := PacketType(i).String(); got != w {
			t.Errorf("PacketType(%d) = %q, want %q", i, got, w)
		}
	}
}

func FuzzParseLong(f *testing.F) {
	for _, h := range longHeaders {
		dcid, scid := cid(h.dcid), cid(h.scid)
		for _, version := range Versions() {
			b, lengthAt := AppendLong(nil, version, h.typ, &dcid, &scid, []byte(h.token), h.pnLen)
			varint.Put2(b[lengthAt:], 20)
			f.Add(append(b, make([]byte, 24)...))
		}
	}
	f.Add(append([]byte("\xf0\x00\x00\x00\x01\x00\x00t"), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := ParseLong(b)
		if !ok {
			return
		}
		inv, ok := ParseInvariant(b, 0)
		if !ok || !inv.Long || inv.Version != h.Version || MakeConnectionID(inv.DCID) != h.DCID || MakeConnectionID(inv.SCID) != h.SCID {
			t.Fatalf("%+v is at odds with its invariant %+v", h, inv)
		}
		if h.PNOffset < 7 || h.End < h.PNOffset || h.End > len(b) {
			t.Fatalf("%+v is out of bounds of %d bytes", h, len(b))
		}
		if h.Type == Retry {
			again := append(AppendRetry(nil, h.Version, &h.DCID, &h.SCID, h.Token), b[h.PNOffset:]...)
			again[0] = b[0]
			if !bytes.Equal(again, b) {
				t.Fatalf("Retry %x written again is %x", b, again)
			}
			return
		}
		if h.End-h.PNOffset >= 1<<14 {
			return // longer than the Length that we write
		}
		again, lengthAt := AppendLong(nil, h.Version, h.Type, &h.DCID, &h.SCID, h.Token, 1)
		varint.Put2(again[lengthAt:], uint64(h.End-h.PNOffset))
		h2, ok := ParseLong(append(again, b[h.PNOffset:h.End]...))
		h2.PNOffset += h.PNOffset - len(again)
		h2.End += h.PNOffset - len(again)
		if !ok || !reflect.DeepEqual(h, h2) {
			t.Fatalf("written again\n got %+v, %v\nwant %+v", h2, ok, h)
		}
	})
}

func FuzzParseVersionNegotiation(f *testing.F) {
	f.Add(AppendVersionNegotiation(nil, 0, []byte{1, 2, 3}, nil, Version1, 0x0a0a0a0a), 8)
	f.Add([]byte{0x40, 1, 2, 3}, 3)
	f.Fuzz(func(t *testing.T, b []byte, shortLen int) {
		inv, ok := ParseInvariant(b, shortLen)
		if ok && !inv.Long && len(inv.DCID) != shortLen {
			t.Fatalf("a connection ID of %d bytes, want %d", len(inv.DCID), shortLen)
		}
		versions, inv, ok := ParseVersionNegotiation(b)
		if !ok {
			return
		}
		again := AppendVersionNegotiation(nil, b[0], inv.DCID, inv.SCID)
		again = append(again, versions...)
		again[0] = b[0] // the fixed bit is not one of this packet's
		if len(versions) == 0 || !bytes.Equal(again, b) {
			t.Fatalf("written again\n got %x\nwant %x", again, b)
		}
	})
}
