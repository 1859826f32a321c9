package udp

import (
	"net"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// sender is what one Send needs. Senders do not wait for one another: the
// kernel takes datagrams from several cores at once, so each has its own.
type sender struct {
	msg     unix.Msghdr
	iov     unix.Iovec
	name    sockaddr
	control control
	errno   syscall.Errno

	try func(fd uintptr) // s.sendmsg, made once so that no call allocates it
}

var senders = sync.Pool{New: func() any { return newSender() }}

func newSender() *sender {
	s := new(sender)
	s.try = s.sendmsg
	s.msg.Name = s.name.pointer()
	s.msg.Control = &s.control.bytes()[0]
	s.msg.Iov = &s.iov
	s.msg.SetIovlen(1)
	return s
}

func (c *udpConn) Send(b *dgram.Batch) error {
	if b.Empty() {
		return nil
	}
	s := senders.Get().(*sender)
	sent, err := c.send(s, b)
	s.iov = unix.Iovec{} // the batch's memory is not ours to hold on to
	senders.Put(s)
	if sent > 0 {
		c.sent.Add(uint64(sent))
		c.sentBytes.Add(uint64(min(sent*b.SegmentSize(), len(b.Bytes()))))
	}
	if err == nil {
		return nil
	}
	c.sendErrors.Add(1)
	if closed(err) == net.ErrClosed {
		return net.ErrClosed
	}
	full := err == syscall.EAGAIN
	if full {
		c.sendFull.Add(1)
	}
	return &SendError{Err: err, Sent: sent, TooBig: tooBig(err), Full: full}
}

// send sends the batch in one piece if it can, else one by one.
func (c *udpConn) send(s *sender, b *dgram.Batch) (sent int, err error) {
	s.msg.Namelen = s.name.set(b.Path.Remote, c.v6)
	if s.msg.Namelen == 0 {
		return 0, syscall.EAFNOSUPPORT
	}
	c.describe(s, b, c.ecn.Load())
	to := b.Path.Remote.Addr()
	if !divisible(b) || !c.gso.usable(to) {
		return c.sendEach(s, b)
	}
	plain := s.control.used
	s.control.addGSO(b.SegmentSize())
	err = c.transmit(s, b.Bytes())
	if err == nil {
		c.gso.worked()
		return b.Count(), nil
	}
	if !unsegmented(err) {
		return 0, err
	}
	c.gsoFallbacks.Add(1)
	s.control.used = plain
	reason := err
	sent, err = c.sendEach(s, b)
	if err == nil && c.gso.failed(to, reason, b.SegmentSize()) {
		c.options.logf("udp: %v: no segmentation offload to %v: %v", c.local, to, reason)
	}
	return sent, err
}

// sendEach sends the datagrams of the batch one by one, until one fails.
func (c *udpConn) sendEach(s *sender, b *dgram.Batch) (sent int, err error) {
	for i := range b.Count() {
		err := c.transmit(s, b.Segment(i))
		if err == syscall.EINVAL && b.ECN != dgram.NotECT && c.ecn.Load() {
			err = c.sendUnmarked(s, b, i)
		}
		if err != nil {
			return i, err
		}
	}
	return b.Count(), nil
}

// sendUnmarked sends datagram i again, without the codepoint that may have been
// refused. If that is what it was, the socket does without from now on.
func (c *udpConn) sendUnmarked(s *sender, b *dgram.Batch, i int) error {
	c.describe(s, b, false)
	err := c.transmit(s, b.Segment(i))
	if err == nil && c.ecn.Swap(false) {
		c.options.logf("udp: %v: ECN is off: the system refuses to mark datagrams", c.local)
	}
	return err
}

// describe writes the control messages that all datagrams of the batch share.
func (c *udpConn) describe(s *sender, b *dgram.Batch, ecn bool) {
	s.control.used = 0
	local := b.Path.Local.Addr()
	if local.IsValid() && !local.IsUnspecified() && local != c.local.Addr() {
		s.control.addPktInfo(local)
	}
	if ecn && b.ECN != dgram.NotECT {
		s.control.addECN(b.ECN, b.Path.Remote.Addr().Is4())
	}
}

// transmit sends p as the sender describes it, by Control, which lets several in
// at a time. It does not wait: the caller may be the reader of all sessions, or hold
// one's lock. What is too big is tried again: where the socket is connected, it may have been
// an ICMP message, forged or not, that waited for a call to fail (RFC 9000 §14.2.1).
func (c *udpConn) transmit(s *sender, p []byte) error {
	setIovec(&s.iov, p)
	s.msg.SetControllen(s.control.used)
	err := c.try(s)
	if err == syscall.EMSGSIZE {
		err = c.try(s)
	}
	return err
}

func (c *udpConn) try(s *sender) error {
	c.sendCalls.Add(1)
	if err := c.raw.Control(s.try); err != nil {
		return err
	}
	if s.errno != 0 {
		return s.errno
	}
	return nil
}

// sendmsg says MSG_DONTWAIT because an inherited descriptor may have been made a
// blocking one by somebody who shares it. As it never waits, it is a raw call: the scheduler need not be
// ready to give this thread's place away, which costs something with every call, and wakes the
// runtime's monitor where little is going on. A collection may have to wait for a batch to leave.
func (s *sender) sendmsg(fd uintptr) {
	for {
		_, _, s.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT)
		if s.errno != syscall.EINTR {
			return
		}
	}
}
