package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// FuzzVersionInformation: what is taken is what RFC 9368 §3 and §4 allow, and says the same when
// it is written again, in the limits of what is kept: the last of many gives way to the one chosen.
func FuzzVersionInformation(f *testing.F) {
	f.Add((&VersionInformation{Chosen: Version1, Available: []uint32{Version1, Version2}}).append(nil), false)
	f.Add((&VersionInformation{Chosen: Version2, Available: []uint32{Version1}}).append(nil), true)
	f.Add((&VersionInformation{Chosen: Version1}).append(nil), true)
	f.Add([]byte{0, 0, 0, 0}, true)
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
		for i := 4; i < len(b) && i < 4+4*maxVersions; i += 4 {
			want.Available = append(want.Available, binary.BigEndian.Uint32(b[i:]))
		}
		if offered && !want.Offers(want.Chosen) {
			want.Available[maxVersions-1] = want.Chosen
		}
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("%x is read as %+v, want %+v", b, v, want)
		}
		for _, n := range v.Available {
			if !v.Offers(n) {
				t.Fatalf("%+v does not offer %#x", v, n)
			}
		}
	})
}
