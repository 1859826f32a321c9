package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// FuzzVersionInformation: what is taken is what RFC 9368 §3 and §4 allow, and says the same when
// it is written again, in the limits of what is kept: of many, the first, the ones that we speak, and the one chosen.
func FuzzVersionInformation(f *testing.F) {
	f.Add((&VersionInformation{Chosen: Version1, Available: []uint32{Version1, Version2}}).append(nil), false)
	f.Add((&VersionInformation{Chosen: Version2, Available: []uint32{Version1}}).append(nil), true)
	f.Add((&VersionInformation{Chosen: Version1}).append(nil), true)
	f.Add([]byte{0, 0, 0, 0}, true)
	many := make([]uint32, maxVersions, maxVersions+4)
	for i := range many {
		many[i] = 0x0a1a2a3a
	}
	f.Add((&VersionInformation{Chosen: Version2, Available: append(many, Version1, 77, Version2, Version1)}).append(nil), true)
	f.Fuzz(func(t *testing.T, b []byte, fromServer bool) {
		param := varint.Append(nil, paramVersionInformation)
		param = append(varint.Append(param, uint64(len(b))), b...)
		p, err := ParseParameters(param, fromServer)
		zero, offered := false, false
		for i := 0; i+4 <= len(b); i += 4 {
			zero = zero || bytes.Equal(b[i:i+4], make([]byte, 4))
			offered = offered || i > 0 && bytes.Equal(b[i:i+4], b[:4])
		}
		good := len(b) > 0 && len(b)%4 == 0 && !zero && (offered || fromServer)
		if good != (err == nil) {
			t.Fatalf("%x from a server %v: %v", b, fromServer, err)
		}
		if err != nil {
			return
		}
		v := p.Versions
		want := &VersionInformation{Chosen: binary.BigEndian.Uint32(b)}
		for i := 4; i < len(b); i += 4 {
			n := binary.BigEndian.Uint32(b[i:])
			needed := (n == Version1 || n == Version2 || n == want.Chosen) && !want.Offers(n)
			if i < 4+4*maxVersions || needed {
				want.Available = append(want.Available, n)
			}
		}
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("%x is read as %+v, want %+v", b, v, want)
		}
		if len(v.Available) > maxVersions+3 || v.Offers(v.Chosen) != offered {
			t.Fatalf("%x is read as %+v", b, v)
		}
	})
}
