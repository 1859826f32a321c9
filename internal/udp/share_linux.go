package udp

import (
	"context"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// CanShare says whether Share works on this system.
const CanShare = true

// Share opens n more sockets on the address of c, which Listen has opened, with the same
// options (SO_REUSEPORT). From then on each pair of addresses has its datagrams come to one
// of them all, which the kernel chooses by a hash; what all of them send is the same to its
// receiver. Because c had the port for itself before, nobody else's is shared; but programs
// of the same user that ask for SO_REUSEPORT can join from now on. A datagram to a
// multicast group or a broadcast address comes to every socket that takes it.
func Share(c Conn, n int, o Options) ([]Conn, error) {
	u, ok := PacketConn(c).(*net.UDPConn)
	if !ok {
		return nil, refused(syscall.EOPNOTSUPP)
	}
	raw, err := u.SyscallConn()
	if err == nil {
		err = reusePort(raw)
	}
	if err != nil {
		return nil, closed(err)
	}
	b, err := bindings("udp", c.LocalAddr())
	if err != nil {
		return nil, err
	}
	prepare := o.control(b[0].network == "udp6" && b[0].addr.Addr().IsUnspecified())
	lc := net.ListenConfig{Control: func(network, address string, rc syscall.RawConn) error {
		if err := prepare(network, address, rc); err != nil {
			return err
		}
		return reusePort(rc)
	}}
	var more []Conn
	for range n {
		pc, err := lc.ListenPacket(context.Background(), b[0].network, b[0].addr.String())
		var next Conn
		if err == nil {
			if next, err = Wrap(pc, o); err != nil {
				_ = pc.Close()
			}
		}
		if err != nil {
			for _, c := range more {
				_ = c.Close()
			}
			return nil, err
		}
		more = append(more, next)
	}
	return more, nil
}

// reusePort lets others that ask for the same bind to the socket's address.
func reusePort(rc syscall.RawConn) (err error) {
	ctl := rc.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	if ctl != nil {
		return ctl
	}
	return err
}
