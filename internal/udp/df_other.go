//go:build !linux && !darwin && !freebsd && !windows

package udp

// dontFragment has no known way to forbid fragments here.
func dontFragment(fd uintptr, v6, v4 bool) bool { return false }
