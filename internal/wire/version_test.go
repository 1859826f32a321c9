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
				if err != nil || p.Versions == nil || len(p.Versions.Available) > maxVersions+3 {
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

// However many versions a peer speaks, few are kept. Those are never without one that we speak or that it
// has chosen, by which a version is chosen and checked: of these all are there, in their order.
func TestVersionInformationIsBounded(t *testing.T) {
	most := limits.Bound(t, "versions")
	for _, n := range []int{most - 1, most, most + 1, most + 9, 20 * most} {
		for _, last := range [][]uint32{
			{0x2000}, {Version1}, {Version1, Version2}, {Version2, 0x2000, Version1, 0x2001, Version2, Version1},
		} {
			for _, chosen := range []uint32{Version1, Version2, 0x1000, 0x1000 + uint32(n-1), 0x3000} {
				v := VersionInformation{Chosen: chosen}
				for i := range n {
					v.Available = append(v.Available, uint32(0x1000+i))
				}
				v.Available = append(append(v.Available, last...), chosen, chosen)
				decides := func(list []uint32) (few []uint32) {
					for _, u := range list {
						if (KnownVersion(u) || u == chosen) && !slices.Contains(few, u) {
							few = append(few, u)
						}
					}
					return few
				}
				p, err := ParseParameters(appendParam(nil, 0x11, v.append(nil)), false)
				if err != nil || p.Versions == nil {
					t.Fatalf("%d versions and %x, %x chosen: %v", n, last, chosen, err)
				}
				got := p.Versions.Available
				if len(got) > most+3 || !slices.Equal(got[:most], v.Available[:most]) || !slices.Equal(decides(got), decides(v.Available)) {
					t.Errorf("%d versions and %x, %x chosen: %x", n, last, chosen, got)
				}
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
