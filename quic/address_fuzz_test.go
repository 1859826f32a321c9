package quic

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzAddress: an address is refused with what is wrong about it, or is a host of some family and a port
// in range, and says the same when it is put together again.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"example.org:443", "[::1]:0", ":8443", "[fe80::1%eth0]:+1", "a:b:c", "192.0.2.1:65536", "x:-1", "[", "h:https", "h:", "[::ffff:192.0.2.1]:1"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, address string, dialed bool) {
		low := 0
		if dialed {
			low = 1
		}
		host, port, err := splitAddress(context.Background(), address, low)
		if err != nil {
			var e *OptionError
			if !errors.As(err, &e) || e.Option != "address" || e.Code() == "" || host != "" || port != 0 {
				t.Fatalf("%q: %q, %d, %#v", address, host, port, err)
			}
			return
		}
		families := familiesOf(host)
		again, service, err := net.SplitHostPort(net.JoinHostPort(host, strconv.Itoa(port)))
		if port < low || port > 65535 || err != nil || again != host || service != strconv.Itoa(port) || !strings.Contains(address, host) {
			t.Fatalf("%q is %q and %d; again %q, %q, %v", address, host, port, again, service, err)
		}
		if ip := net.ParseIP(host); len(families) == 0 || ip != nil && slices.Equal(families, []string{UDP4}) != (ip.To4() != nil) {
			t.Fatalf("%q is of families %v", host, families)
		}
	})
}
