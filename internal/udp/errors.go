package udp

import (
	"errors"
	"syscall"
)

// errNoRoom says that Receive was given no room for even one datagram.
var errNoRoom = errors.New("udp: receive: no room for datagrams")

// errNoSource says that a net.PacketConn has read something from nowhere, as one does that is broken.
var errNoSource = errors.New("udp: receive: the connection gives no source")

// tooBig reports whether the reason for err is the size of a datagram.
func tooBig(err error) bool {
	return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errMessageSize)
}

// soft reports whether a read that failed with err may just be repeated: it is
// the echo of an ICMP message about a datagram sent earlier, which ended with
// being told. One bad peer, or who forges such messages, must not silence the socket.
func soft(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EINTR,
		syscall.EMSGSIZE, syscall.EACCES, syscall.EPERM, syscall.EOPNOTSUPP:
		return true
	}
	return errSoft(errno)
}

// maxSoftErrors is how many soft errors in a row, of those that may be for good, Receive believes to pass.
const maxSoftErrors = 64 // no limit: of the kernel

// patience is how many such errors are left to be believed.
type patience int

// with reports whether a read of the kernel's socket that failed with err is to be repeated. An ICMP message is
// forgotten once it is told, so that there may be any number; what a filter forbids may stay forbidden.
func (p *patience) with(err error) bool {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return p.foreign(err)
	}
	return soft(err)
}

// foreign is with for a socket of which nothing is known.
func (p *patience) foreign(err error) bool {
	*p--
	return *p >= 0 && (soft(err) || tooBig(err) || err == errNoSource)
}
