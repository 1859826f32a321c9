package trace

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	clientAddr = netip.MustParseAddrPort("192.0.2.1:1000")
	serverAddr = netip.MustParseAddrPort("192.0.2.2:443")
)

// The client's Initial of RFC 9001 §A.2, and that of RFC 9369 §A.2, can be read.
func TestInitialExamples(t *testing.T) {
	for version, name := range map[uint32]string{Version1: "initial-v1.hex", Version2: "initial-v2.hex"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		tr := Decode([]Datagram{{From: clientAddr, To: serverAddr, FromClient: true, Data: unhex(strings.TrimSpace(string(text)))}}, nil)
		if len(tr.Packets) != 1 || len(tr.Conns) != 1 {
			t.Fatalf("%s: %d packets, %d connections", name, len(tr.Packets), len(tr.Conns))
		}
		p, c := tr.Packets[0], tr.Conns[0]
		if !p.Opened || p.Type != Initial || p.Version != version || p.PN != 2 || p.Size != 1200 || len(p.Frames) != 1 || p.Conn != c {
			t.Errorf("%s: %v, version %#x, %d bytes, opened %t, frames %v", name, p, p.Version, p.Size, p.Opened, p.Frames)
		}
		if !slices.Equal(c.Offered[0], []uint16{0x1301, 0x1302}) || c.HelloCopies != 1 || !strings.HasPrefix(c.Random, "\xeb\xf8\xfa\x56") {
			t.Errorf("%s: the ClientHello is %+v", name, c)
		}
	}
}

// The 1-RTT packets of RFC 9001 §A.5 and RFC 9369 §A.5, with ChaCha20, can be read, and the
// secret after a key update is theirs.
func TestShortExamples(t *testing.T) {
	secret := unhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
	for version, want := range map[uint32][2]string{
		Version1: {"4cfe4189655e5cd55c41f69080575d7999c25a5bfb", "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"},
		Version2: {"5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba", "c69374c49e3d2a9466fa689e49d476db5d0dfbc87d32ceeaa6343fd0ae4c7d88"},
	} {
		k := newKeys(version, chacha20Poly1305, secret)
		_, pn, payload, ok := k.open(unhex(want[0]), 1, 654360563)
		if !ok || pn != 654360564 || !bytes.Equal(payload, []byte{1}) {
			t.Errorf("version %#x: packet %d, %x, %t", version, pn, payload, ok)
		}
		if next := k.next(); !bytes.Equal(next.secret, unhex(want[1])) || !bytes.Equal(next.hp, k.hp) {
			t.Errorf("version %#x: the next secret is %x", version, next.secret)
		}
		bad := unhex(want[0])
		bad[20] ^= 1
		if _, _, _, ok := k.open(bad, 1, 654360563); ok {
			t.Errorf("version %#x: a packet that was changed can be opened", version)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		want, low int64
		bits      int
		pn        int64
	}{
		{0xa82f30eb, 0x9b32, 16, 0xa82f9b32}, // RFC 9000 §A.3
		{0, 0, 8, 0}, {0, 255, 8, 255}, {256, 255, 8, 255}, {128, 0, 8, 256}, {127, 0, 8, 0}, {300, 44, 8, 300},
	} {
		if pn := nearest(c.want, c.low, c.bits); pn != c.pn {
			t.Errorf("%d bits %#x near %#x: %#x, want %#x", c.bits, c.low, c.want, pn, c.pn)
		}
	}
}

// Whatever a trace has in it, it can be decoded: networks here corrupt what they carry.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"initial-v1.hex", "initial-v2.hex"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unhex(strings.TrimSpace(string(text))), true)
	}
	f.Add([]byte("\xc0\x00\x00\x00\x01\xff"), false)
	f.Add([]byte("\xf0\x00\x00\x00\x01\x00\x00short"), false)
	f.Fuzz(func(t *testing.T, b []byte, fromClient bool) {
		first, err := os.ReadFile("testdata/initial-v1.hex")
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, p := range Decode([]Datagram{
			{FromClient: true, Data: unhex(strings.TrimSpace(string(first)))},
			{At: time.Second, FromClient: fromClient, Data: b},
		}, nil).Packets[1:] {
			_ = fmt.Sprint(p)
			size += p.Size
		}
		if size > len(b) {
			t.Errorf("packets of %d bytes in a datagram of %d", size, len(b))
		}
		frames, _ := parseFrames(b)
		for _, f := range frames {
			if len(f.Data) > len(b) {
				t.Errorf("a frame with %d bytes out of %d", len(f.Data), len(b))
			}
		}
		new(Conn).clientHello(b)
		extension(b, quicParameters)
	})
}
