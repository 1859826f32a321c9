package hostname

import (
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

func TestASCII(t *testing.T) {
	for host, want := range map[string]string{
		"example.org": "example.org", "Example.ORG": "example.org", "example.org.": "example.org.", "a_b--c.example": "a_b--c.example",
		"127.0.0.1": "127.0.0.1", "::1": "::1", "FE80::1%Eth0": "fe80::1%Eth0", "2001:DB8::A": "2001:db8::a", "fe80::1%\u4ee5": "fe80::1%\u4ee5", "XN--BCHER-KVA.example": "xn--bcher-kva.example",
		"b\u00fccher.example": "xn--bcher-kva.example", "B\u00dcCHER.Example": "xn--bcher-kva.example", "bu\u0308cher.example": "xn--bcher-kva.example",
		"b\u00fccher\u3002example": "xn--bcher-kva.example", "fa\u00df.de": "xn--fa-hia.de", "My_Bucket.b\u00fccher.example": "my_bucket.xn--bcher-kva.example",
		"r3---sn-\u00fc.example": "xn--r3---sn--e6a.example", "2021.\u05d1\u05dc\u05d5\u05d2.example": "2021.xn--5dbci1a.example",
	} {
		got, err := ASCII(host)
		if err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", host, got, err, want)
		}
		if again, err := ASCII(got); again != got || err != nil {
			t.Errorf("%q is %q and that %q, %v", host, got, again, err)
		}
	}
	for _, host := range []string{"", ".", "..", "\u00ad", "\u00ad.", "\u3002", "\ufdfa", "\u00f9\xb9", "\xff", "\u200d", "a\uff0fb.example", "a\uff20b.example", "\u2100.example"} {
		if got, err := ASCII(host); err == nil {
			t.Errorf("%q is %q", host, got)
		}
	}
}

// Names that are not ASCII have a length that some name in DNS can have come to: the servers that redirect choose them.
func TestLength(t *testing.T) {
	most := limits.Bound(t, "host-name")
	var b strings.Builder
	for r := rune(0x4e00); b.Len() < 253*4; r++ {
		b.WriteRune(r)
	}
	if _, err := ASCII(b.String()); err != nil {
		t.Error(err)
	}
	for b.Len() <= most {
		b.WriteByte('a')
	}
	if got, err := ASCII(b.String()); err == nil {
		t.Errorf("%d bytes are %q", b.Len(), got)
	}
}

// Whatever a host is, it is refused or in ASCII and lower case, and stays that way.
func FuzzASCII(f *testing.F) {
	for _, host := range []string{"example.org", "B\u00dcCHER.example", "xn--.\u212a", "\u00ad", "[", "fe80::1%Eth0"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		ascii, err := ASCII(host)
		if err != nil {
			return
		}
		again, err := ASCII(ascii)
		if ascii == "" || again != ascii || err != nil || !strings.Contains(host, "%") && (!IsASCII(ascii) || strings.ToLower(ascii) != ascii) {
			t.Fatalf("%q is %q and that %q, %v", host, ascii, again, err)
		}
	})
}
