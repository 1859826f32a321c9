//go:build !linux

package udp

import "syscall"

// CanShare says whether Share works on this system.
const CanShare = false

// Share would open n more sockets on the address of c. Elsewhere than on Linux the kernel
// gives all datagrams to the socket that came last, or to the first.
func Share(Conn, int, Options) ([]Conn, error) { return nil, refused(syscall.EOPNOTSUPP) }
