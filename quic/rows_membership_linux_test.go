package quic

import (
	"errors"
	"syscall"
	"testing"
)

// What is no group, or no interface, is refused by name.
func TestEndpointMembershipErrors(t *testing.T) {
	membershipErrors(t, bound(t, EndpointOptions{}))
}

func membershipErrors(t *testing.T, e *Endpoint) {
	t.Helper()
	covers(t, "EP-003")
	covers(t, "EP-023")
	for _, c := range []struct {
		group, iface string
		want         syscall.Errno
		code         string
	}{
		{"nonsense", "", syscall.EINVAL, "EINVAL"},
		{"127.0.0.1", "", syscall.EINVAL, "EINVAL"},
		{"ff02::1234", "", syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
		{testGroup, "203.0.113.77", syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"},
		{testGroup, "::1", syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
	} {
		wantErrno(t, "join "+c.group, e.AddMembership(c.group, c.iface), c.want, c.code)
		wantErrno(t, "leave "+c.group, e.DropMembership(c.group, c.iface), c.want, c.code)
	}
	for name, err := range map[string]error{
		"Endpoint.AddMembership":  e.AddMembership("", "127.0.0.1"),
		"Endpoint.DropMembership": e.DropMembership("", "127.0.0.1"),
	} {
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Option != name+".group" || oe.Code() != CodeMissingArgs {
			t.Errorf("%s without a group: %v", name, err)
		}
	}
}
