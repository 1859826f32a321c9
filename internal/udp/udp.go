// Package udp moves batches of datagrams between sockets and the rest of the
// house. On Linux a batch out is one system call (UDP_SEGMENT) and so is a run of
// datagrams in (UDP_GRO); ECN codepoints, local addresses and the
// don't-fragment rule (RFC 9000 §13.4, §5.2, §14) travel with them.
// Elsewhere, and over a foreign net.PacketConn, datagrams go one by one. Mem is
// the same thing without a kernel.
package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// Conn is a datagram socket: a kernel's, a foreign net.PacketConn, or a Mem.
// All methods may be called concurrently; Receive calls wait for one another.
type Conn interface {
	// Receive waits until datagrams are there, and only then takes a slab from
	// slabs, where the conn can tell when that is. It fills dst with datagrams
	// that point into the slab and returns how many, with the slab, which is
	// now the caller's: the datagrams are valid until the slab is Put back.
	// dst should have room for at least 2*dgram.MaxSegments; what it cannot
	// take is kept for the next call. An empty datagram is delivered as one.
	// After Close the error is net.ErrClosed; with any error n is 0 and there
	// is no slab.
	Receive(slabs Slabs, dst []dgram.Datagram) (n int, slab []byte, err error)

	// Send hands all datagrams of the batch to the network, in one system call
	// where that works. The batch's ECN codepoint and, if specified, its local
	// address are applied. A failure of the network is a *SendError, and so is a
	// full socket buffer, which is not waited for: what it cannot take is lost, as
	// it would be at any other full queue on the way. After Close the error is
	// net.ErrClosed. Where MayBlock is true, all that depends on somebody else.
	Send(b *dgram.Batch) error

	// LocalAddr returns the address the socket is bound to, unmapped.
	LocalAddr() netip.AddrPort

	// Features returns what the socket can do now: features that fail are
	// turned off while it runs.
	Features() Features

	// Stats returns the counters, each current but not all of one instant.
	Stats() Stats

	// Close ends the socket and wakes Receive and Send.
	Close() error
}

// Slabs is a pool of receive buffers of SlabSize bytes.
type Slabs interface {
	Get() []byte
	Put([]byte)
}

// SlabSize is the size of a receive buffer in bytes: the largest that a UDP
// payload, or a run of them joined by the kernel, can be.
const SlabSize = 64 << 10

// DefaultBuffer is the size in bytes asked for both socket buffers by default.
const DefaultBuffer = 7 << 20

// Features tells what a socket can do.
type Features struct {
	GSO     bool // a batch out is one system call
	GRO     bool // a run of datagrams in is one system call
	ECN     bool // codepoints are sent and received
	PktInfo bool // received datagrams tell which local address they came to, and Send can choose one
	DF      bool // datagrams are never fragmented

	ReceiveBuffer, SendBuffer int // bytes the kernel gave, 0 if unknown
	Wanted                    int // bytes asked for, the larger of the two
}

// Options are the choices for a new socket. The zero Options are good ones.
type Options struct {
	ReceiveBuffer, SendBuffer int // bytes of socket buffer, 0 for DefaultBuffer; a buffer is never made smaller

	IPv6Only  bool // a socket bound to :: does not take IPv4
	ReuseAddr bool // SO_REUSEADDR: other sockets may bind the same address

	DisableGSO, DisableGRO, DisableECN bool

	// Logf, if not nil, is told in one line each when the kernel gives less
	// buffer than was asked for and when a feature is turned off.
	Logf func(format string, args ...any)
}

// Stats counts what went through a socket.
type Stats struct {
	Received, ReceivedBytes uint64 // datagrams handed out by Receive and their payload
	Sent, SentBytes         uint64 // datagrams the network took and their payload
	ReceiveCalls, SendCalls uint64 // system calls that moved data, or tried to
	GSOFallbacks            uint64 // batches sent one by one after they failed as one
	SendErrors              uint64 // batches that were not sent whole
	SendFull                uint64 // those of them that found the socket buffer full
	Truncated               uint64 // reads dropped because data or control data did not fit, or had no usable address
	Dropped                 uint64 // datagrams a Mem dropped because its queue was full
}

// SendError says that the network did not take a whole batch. The datagram
// after the first Sent ones was refused and those behind it were not tried.
type SendError struct {
	Err    error // the reason, mostly a syscall.Errno
	Sent   int   // datagrams that were taken
	TooBig bool  // the reason is the datagram's size (EMSGSIZE)
	Full   bool  // the reason is a full socket buffer (EAGAIN)
}

// Error implements error.
func (e *SendError) Error() string { return "udp: send: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *SendError) Unwrap() error { return e.Err }

// Listen opens a socket bound to addr. The network is "udp4", "udp6" or "udp";
// with the last one the address decides, and if it is the zero AddrPort the socket
// takes both families where the system has both. A socket on :: takes IPv4
// too, unless o.IPv6Only. Port 0 picks a free port.
func Listen(network string, addr netip.AddrPort, o Options) (Conn, error) {
	candidates, err := bindings(network, addr)
	if err != nil {
		return nil, err
	}
	var first error
	for _, c := range candidates {
		lc := net.ListenConfig{Control: o.control(c.network == "udp6" && c.addr.Addr().IsUnspecified())}
		pc, err := lc.ListenPacket(context.Background(), c.network, c.addr.String())
		if err == nil {
			conn, err := Wrap(pc, o)
			if err != nil {
				_ = pc.Close()
			}
			return conn, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// FromPacketConn returns a Conn that reads and writes pc and closes it. A
// *net.UDPConn gets every feature that it can have; all else is used through its
// methods, one datagram a call, and must speak addresses of IP and port.
func FromPacketConn(pc net.PacketConn) (Conn, error) { return Wrap(pc, Options{}) }

// Wrap is FromPacketConn with options. Those that must be set before a socket
// is bound have no effect.
func Wrap(pc net.PacketConn, o Options) (Conn, error) {
	// Only the very type: one that embeds it may override its methods.
	if u, ok := pc.(*net.UDPConn); ok {
		return newUDP(u, o)
	}
	return newPacketConn(pc, o), nil
}

// MayBlock reports whether Send of c may wait, or run foreign code: c is not the
// kernel's socket, or that of a system whose sockets cannot just be tried.
func MayBlock(c Conn) bool {
	p, ok := c.(*packetConn)
	return ok && (p.udp == nil || runtime.GOOS == "windows")
}

// PacketConn returns the net.PacketConn beneath c, to set multicast and other
// options on, or nil if there is none.
func PacketConn(c Conn) net.PacketConn {
	if b, ok := c.(interface{ packetConn() net.PacketConn }); ok {
		return b.packetConn()
	}
	return nil
}

type binding struct {
	network string
	addr    netip.AddrPort
}

// bindings returns the addresses to try to bind, in order. Families are made
// explicit, because package net turns 0.0.0.0 into a socket for both.
func bindings(network string, addr netip.AddrPort) ([]binding, error) {
	ip := addr.Addr().Unmap()
	v4 := binding{"udp4", netip.AddrPortFrom(ip, addr.Port())}
	v6 := binding{"udp6", netip.AddrPortFrom(ip, addr.Port())}
	if !ip.IsValid() {
		v4.addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		v6.addr = netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
	}
	switch {
	case network != "udp" && network != "udp4" && network != "udp6":
		return nil, net.UnknownNetworkError(network)
	case network == "udp4" && ip.Is6(), network == "udp6" && ip.Is4():
		return nil, &net.AddrError{Err: "address is not of the network " + network, Addr: addr.String()}
	case network == "udp4" || ip.Is4():
		return []binding{v4}, nil
	case network == "udp6" || ip.Is6():
		return []binding{v6}, nil
	}
	return []binding{v6, v4}, nil
}

func (o *Options) logf(format string, args ...any) {
	if o.Logf != nil {
		o.Logf(format, args...)
	}
}

func (o *Options) wanted() (receive, send int) {
	receive, send = o.ReceiveBuffer, o.SendBuffer
	if receive == 0 {
		receive = DefaultBuffer
	}
	if send == 0 {
		send = DefaultBuffer
	}
	return receive, send
}

// closed maps the errors that tell of a closed socket to net.ErrClosed.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
