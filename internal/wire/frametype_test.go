package wire

import "testing"

// table3 is RFC 9000's table 3, RFC 9221 §4 and the frames of
// draft-ietf-quic-ack-frequency in the RFC's own letters: the
// packets a frame may stand in, and N (not ack-eliciting) and P (probing).
var table3 = []struct {
	first, last     FrameType
	packets, traits string
}{
	{0x00, 0x00, "IH01", "NP"},
	{0x01, 0x01, "IH01", ""},
	{0x02, 0x03, "IH1", "N"},
	{0x04, 0x04, "01", ""},
	{0x05, 0x05, "01", ""},
	{0x06, 0x06, "IH1", ""},
	{0x07, 0x07, "1", ""},
	{0x08, 0x0f, "01", ""},
	{0x10, 0x10, "01", ""},
	{0x11, 0x11, "01", ""},
	{0x12, 0x13, "01", ""},
	{0x14, 0x14, "01", ""},
	{0x15, 0x15, "01", ""},
	{0x16, 0x17, "01", ""},
	{0x18, 0x18, "01", "P"},
	{0x19, 0x19, "01", ""},
	{0x1a, 0x1a, "01", "P"},
	{0x1b, 0x1b, "1", "P"},
	{0x1c, 0x1c, "IH01", "N"},
	{0x1d, 0x1d, "01", "N"},
	{0x1e, 0x1e, "1", ""},
	{0x1f, 0x1f, "1", ""},
	{0x30, 0x31, "01", ""},
	{0xaf, 0xaf, "1", ""},
}

func TestFrameTypes(t *testing.T) {
	has := func(set string, c byte) bool {
		for i := range set {
			if set[i] == c {
				return true
			}
		}
		return false
	}
	letters := map[PacketType]byte{Initial: 'I', Handshake: 'H', ZeroRTT: '0', OneRTT: '1', Retry: '-', VersionNegotiation: '-', 200: '-'}
	types := []FrameType{0x100, 0x4000, 1<<32 | 1, 1<<62 - 1}
	for ft := range FrameType(0xb1) {
		types = append(types, ft)
	}
	for _, ft := range types {
		var packets, traits string
		known := false
		for _, row := range table3 {
			if row.first <= ft && ft <= row.last {
				packets, traits, known = row.packets, row.traits, true
			}
		}
		if got := ft.Known(); got != known {
			t.Errorf("%#x: Known() = %v", uint64(ft), got)
		}
		for p, letter := range letters {
			if got := ft.Permitted(p); got != has(packets, letter) {
				t.Errorf("%v: Permitted(%v) = %v", ft, p, got)
			}
		}
		if got := ft.AckEliciting(); got != (known && !has(traits, 'N')) {
			t.Errorf("%v: AckEliciting() = %v", ft, got)
		}
		if got := ft.Probing(); got != has(traits, 'P') {
			t.Errorf("%v: Probing() = %v", ft, got)
		}
		if got := ft.IsStream(); got != (ft >= 0x08 && ft <= 0x0f) {
			t.Errorf("%v: IsStream() = %v", ft, got)
		}
		if known && (ft.String() == "" || ft.String()[0] == '0') {
			t.Errorf("%#x has no name: %q", uint64(ft), ft)
		}
	}
	if got := FrameType(0x2f).String(); got != "0x2f" {
		t.Errorf("an unknown type is %q", got)
	}
}
