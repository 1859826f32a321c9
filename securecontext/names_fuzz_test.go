package securecontext

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// FuzzNames: whatever a list of names and a set of bits say, they are refused with an *Error that names the
// option, or mean exactly what they list.
func FuzzNames(f *testing.F) {
	f.Add("TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256", "X25519:P-256", uint64(0x00004000))
	f.Add("TLS_AES_128_GCM_SHA256:", "auto", uint64(1))
	f.Add("", "prime256v1:P-256:x25519", uint64(1)<<63)
	f.Fuzz(func(t *testing.T, suites, groups string, bits uint64) {
		for option, o := range map[string]Options{
			"Ciphers": {Ciphers: suites}, "ECDHCurve": {ECDHCurve: groups}, "Groups": {Groups: groups}, "SecureOptions": {SecureOptions: bits},
		} {
			c, err := New(o)
			if err != nil {
				var e *Error
				if c != nil || !errors.As(err, &e) || e.Option != "Options."+option || e.Code() == "" {
					t.Fatalf("%+v: %v, %#v", o, c, err)
				}
				continue
			}
			if o.Ciphers != "" {
				wantListed(t, suites, c.allowed, ciphers)
			}
			if groups := o.ECDHCurve + o.Groups; groups != "" && groups != "auto" {
				wantListed(t, groups, c.base.CurvePreferences, curves)
			}
			if c.base.SessionTicketsDisabled != (o.SecureOptions&opNoTicket != 0) {
				t.Fatalf("bits %#x: tickets are off %v", bits, c.base.SessionTicketsDisabled)
			}
		}
	})
}

// wantListed checks the values that a list of names was read as.
func wantListed[T comparable](t *testing.T, text string, got []T, table []named[T]) {
	t.Helper()
	var want []T
	for _, name := range strings.Split(text, ":") {
		for _, n := range table {
			if n.name == name && !slices.Contains(want, n.value) {
				want = append(want, n.value)
			}
		}
	}
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Fatalf("%q is %v, want %v", text, got, want)
	}
}
