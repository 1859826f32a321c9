package udp

import (
	"errors"
	"syscall"
)

// errNoRoom says that Receive was given no room for even one datagram.
var errNoRoom = errors.New("udp: receive: no room for datagrams")

// tooBig reports whether the reason for err is the size of a datagram.
func tooBig(err error) bool {
	return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errMessageSize)
}

// soft reports whether a read that failed with err may just be repeated: it is
// the echo of an ICMP message about a datagram sent earlier, which ended with
// being told. One bad peer must not silence the socket for the others.
func soft(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EINTR:
		return true
	}
	return errSoft(errno)
}
