package wire

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// RFC 9369 §3, §3.2: every long header type of version 2 has other bits than in version 1.
func TestVersion2Types(t *testing.T) {
	for _, want := range []struct {
		typ  PacketType
		bits byte
	}{{Initial, 0b01}, {ZeroRTT, 0b10}, {Handshake, 0b11}, {Retry, 0b00}} {
		id := cid("0102030405060708")
		b := AppendRetry(nil, Version2, &id, &id, []byte("token"))
		if want.typ != Retry {
			b, _ = AppendLong(nil, Version2, want.typ, &id, &id, nil, 1)
		}
		if got := b[0] >> 4 & 3; got != want.bits {
			t.Errorf("%v has the bits %02b, want %02b", want.typ, got, want.bits)
		}
		if v := binary.BigEndian.Uint32(b[1:]); v != 0x6b3343cf {
			t.Errorf("%v has version %#x", want.typ, v)
		}
		if h, ok := ParseLong(append(b, make([]byte, 16)...)); !ok || h.Type != want.typ || h.Version != Version2 {
			t.Errorf("%v is parsed as %+v, %v", want.typ, h, ok)
		}
	}
	mustPanic(t, "another version", func() { AppendRetry(nil, 2, &ConnectionID{}, &ConnectionID{}, []byte{1}) })
}

// RFC 9368 §4: what is no Version Information is a TRANSPORT_PARAMETER_ERROR.
func TestS20VersionInformationFormat(t *testing.T) {
	const v1, v2 = "00000001", "6b3343cf"
	for _, tt := range []struct {
		name, value string
		server      bool
		bad         string // part of the reason; "" for none
	}{
		{"empty", "", false, "0 bytes"},
		{"too short", "000001", false, "3 bytes"},
		{"one byte too many", v1 + v1 + "00", false, "9 bytes"},
		{"two bytes too many", v1 + v2 + "6b33", true, "10 bytes"},
		{"zero chosen", "00000000" + v1, false, "version 0"},
		{"zero chosen and available", "00000000" + "00000000", true, "version 0"},
		{"zero available", v1 + v1 + "00000000", false, "version 0"},
		{"zero available at a server", v1 + "00000000", true, "version 0"},
		{"chosen not available", v1 + v2, false, "does not offer"},
		{"a client that offers nothing", v1, false, "does not offer"},
		{"chosen not available at a server", v1 + v2, true, ""},
		{"a server that offers nothing", v1, true, ""},
		{"good", v1 + v2 + v1, false, ""},
		{"reserved versions", v1 + "1a2a3a4a" + v1, false, ""},
		{"many", v2 + strings.Repeat("fafafafa", 1000) + v2, false, ""},
		{"zero after many", v2 + strings.Repeat("fafafafa", 1000) + v2 + "00000000", false, "version 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := appendParam(nil, 0x11, unhex(t, tt.value))
			p, err := ParseParameters(b, tt.server)
			switch {
			case tt.bad == "":
				if err != nil || p.Versions == nil || len(p.Versions.Available) > maxVersions {
					t.Errorf("%+v, %v", p.Versions, err)
				}
			case err == nil || err.Code != TransportParameterError || !strings.Contains(err.Reason, tt.bad):
				t.Errorf("%v, want a TRANSPORT_PARAMETER_ERROR with %q", err, tt.bad)
			}
		})
	}
	twice := appendParam(appendParam(nil, 0x11, unhex(t, v1+v1)), 0x11, unhex(t, v1+v1))
	if _, err := ParseParameters(twice, false); err == nil {
		t.Error("twice is taken")
	}
}

// However many versions a peer speaks, few are kept, and the one it has chosen always is.
func TestVersionInformationIsBounded(t *testing.T) {
	most := limits.Bound(t, "versions")
	for _, n := range []int{most, most + 1, most + 9} {
		for _, chosen := range []int{1, most - 1, most, n} {
			v := VersionInformation{Chosen: uint32(chosen)}
			for i := range n {
				v.Available = append(v.Available, uint32(i+1))
			}
			b := appendParam(nil, 0x11, v.append(nil))
			p, err := ParseParameters(b, false)
			if err != nil || p.Versions == nil || len(p.Versions.Available) != most || !p.Versions.Offers(v.Chosen) ||
				!slices.Equal(p.Versions.Available[:most-1], v.Available[:most-1]) {
				t.Errorf("of %d versions, %d chosen: %+v, %v", n, chosen, p.Versions, err)
			}
		}
	}
}

// What is written is read again, in order.
func TestVersionInformation(t *testing.T) {
	want := &VersionInformation{Chosen: Version2, Available: []uint32{0x0a0a0a0a, Version2, Version1}}
	p := DefaultParameters()
	p.Versions = want
	got, err := ParseParameters(p.Append(nil), false)
	if err != nil || !reflect.DeepEqual(got.Versions, want) {
		t.Fatalf("%+v, %v", got.Versions, err)
	}
	if !got.Versions.Offers(Version1) || got.Versions.Offers(3) {
		t.Error("Offers")
	}
}
