package dgram

import (
	"net/netip"
	"testing"
)

func TestHost(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1":                "192.0.2.1",
		"::ffff:192.0.2.1":         "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":     "2001:db8:1:2::",
		"2001:db8:1:2:ffff:4:5:7":  "2001:db8:1:2::",
		"2001:db8:1:3:3:4:5:6":     "2001:db8:1:3::",
		"fe80::1%eth0":             "fe80::1",
		"fd00:1:2:3:4:5:6:7":       "fd00:1:2:3:4:5:6:7",
		"64:ff9b::192.0.2.1":       "192.0.2.1",
		"64:ff9b:1::192.0.2.1":     "64:ff9b:1::",
		"::1":                      "::",
		"::":                       "::",
		"2001:db8:1:2:ffff::%zone": "2001:db8:1:2::",
	} {
		if got := Host(netip.MustParseAddr(a)); got != netip.MustParseAddr(want) {
			t.Errorf("%s is of host %v, want %s", a, got, want)
		}
	}
	if got := Host(netip.Addr{}); got.IsValid() {
		t.Errorf("no address is of host %v", got)
	}
}
