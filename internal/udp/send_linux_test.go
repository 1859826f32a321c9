package udp

import (
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// refusing is a sender whose system calls fail with errno if they carry a control message
// of this kind: a kernel, or what pretends to be one, that does not know it.
func refusing(kind int32, errno syscall.Errno) (s *sender, refusals *int) {
	s, refusals = newSender(), new(int)
	s.try = func(fd uintptr) {
		for rest := s.control.bytes()[:s.msg.Controllen]; len(rest) > 0; {
			var k int32
			if _, k, _, rest = next(rest); k == kind {
				*refusals++
				s.errno = errno
				return
			}
		}
		s.sendmsg(fd)
	}
	return s, refusals
}

func TestMarkingTurnsOff(t *testing.T) {
	kinds := map[string]int32{"127.0.0.1:0": unix.IP_TOS, "[::1]:0": unix.IPV6_TCLASS}
	for _, loopback := range loopbacks(t) {
		var log journal
		a := listen(t, "udp", loopback, Options{Logf: log.logf, DisableGSO: true}).(*udpConn)
		b := listen(t, "udp", loopback, Options{})
		s, refusals := refusing(kinds[loopback], syscall.EINVAL)
		out := batch(t, b.LocalAddr(), 1200, 1200, 5)
		out.ECN = dgram.ECT0
		for range 2 {
			if n, err := a.send(s, out); n != 3 || err != nil {
				t.Fatalf("%s: %d datagrams, %v", loopback, n, err)
			}
			wantSizes(t, receive(t, b, 3), 1200, 1200, 5)
		}
		if *refusals != 1 || a.Features().ECN {
			t.Errorf("%s: tried %d times, and then %+v", loopback, *refusals, a.Features())
		}
		log.want(t, 1, "ECN")
	}
}

func TestSegmentationRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EOPNOTSUPP} {
		var log journal
		a := listen(t, "udp", "127.0.0.1:0", Options{Logf: log.logf}).(*udpConn)
		b := listen(t, "udp", "127.0.0.1:0", Options{})
		s, refusals := refusing(unix.UDP_SEGMENT, errno)
		out := batch(t, b.LocalAddr(), run(10, 1452, 5)...)
		out.ECN = dgram.ECT1
		for range 2 {
			if n, err := a.send(s, out); n != 11 || err != nil {
				t.Fatalf("%v: %d datagrams, %v", errno, n, err)
			}
			for _, d := range receive(t, b, 11) {
				if d.ECN != dgram.ECT1 {
					t.Fatalf("%v: codepoint %d", errno, d.ECN)
				}
			}
		}
		if *refusals != 1 || a.Stats().GSOFallbacks != 1 || !a.Features().ECN {
			t.Errorf("%v: tried %d times, %+v", errno, *refusals, a.Stats())
		}
		log.want(t, 1, "segmentation")
	}
}

// What has nothing to do with the shape of the batch is not tried again.
func TestRefusedForGood(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOBUFS, syscall.EHOSTUNREACH} {
		a := listen(t, "udp", "127.0.0.1:0", Options{}).(*udpConn)
		s, refusals := refusing(unix.UDP_SEGMENT, errno)
		if n, err := a.send(s, batch(t, a.LocalAddr(), 1200, 1200)); n != 0 || err != errno || *refusals != 1 {
			t.Errorf("%v: %d datagrams, %v after %d tries", errno, n, err, *refusals)
		}
		if s := a.Stats(); s.GSOFallbacks != 0 {
			t.Errorf("%v: %+v", errno, s)
		}
	}
}

// A full socket buffer is not waited for: what it cannot take is lost.
func TestFullBufferIsNotWaitedFor(t *testing.T) {
	a, b := listen(t, "udp", "127.0.0.1:0", Options{}).(*udpConn), listen(t, "udp", "127.0.0.1:0", Options{})
	s, refusals := refusing(unix.UDP_SEGMENT, syscall.EAGAIN)
	senders = sync.Pool{New: func() any { return s }}
	defer func() { senders = sync.Pool{New: func() any { return newSender() }} }()
	e := wantSendError(t, a.Send(batch(t, b.LocalAddr(), 1200, 1200)))
	if !e.Full || e.TooBig || e.Sent != 0 || *refusals != 1 {
		t.Errorf("%+v after %d tries", e, *refusals)
	}
	if s := a.Stats(); s.SendFull != 1 || s.SendErrors != 1 || s.Sent != 0 || s.GSOFallbacks != 0 {
		t.Errorf("%+v", s)
	}
	send(t, a, batch(t, b.LocalAddr(), 1200)) // the next one may find room
	wantSizes(t, receive(t, b, 1), 1200)
}

// A partial failure tells how far it came.
func TestSentCount(t *testing.T) {
	a, b := listen(t, "udp", "127.0.0.1:0", Options{DisableGSO: true}).(*udpConn), listen(t, "udp", "127.0.0.1:0", Options{})
	s := newSender()
	calls := 0
	s.try = func(fd uintptr) {
		if calls++; calls > 3 {
			s.errno = syscall.ENOBUFS
			return
		}
		s.sendmsg(fd)
	}
	if n, err := a.send(s, batch(t, b.LocalAddr(), run(10, 1200)...)); n != 3 || err != syscall.ENOBUFS {
		t.Errorf("%d datagrams, %v; want 3, ENOBUFS", n, err)
	}
	wantSizes(t, receive(t, b, 3), run(3, 1200)...)
}

// On a connected socket an ICMP message waits for the next call to fail, which says nothing of what
// that call sends: neither that it is too big (RFC 9000 §14.2.1) nor that it cannot be segmented.
func TestPendingTooBig(t *testing.T) {
	peer := listen(t, "udp", "127.0.0.1:0", Options{})
	c, err := FromPacketConn(linked(t, peer.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	a, s, pending := c.(*udpConn), newSender(), true
	s.try = func(fd uintptr) {
		if pending {
			pending, s.errno = false, syscall.EMSGSIZE
			return
		}
		s.sendmsg(fd)
	}
	for _, sizes := range [][]int{run(3, 1200), {1200}} {
		for range 2 * maxGSOStrikes {
			pending = true
			if n, err := a.send(s, batch(t, peer.LocalAddr(), sizes...)); n != len(sizes) || err != nil {
				t.Fatalf("%d of %d datagrams, %v", n, len(sizes), err)
			}
			wantSizes(t, receive(t, peer, len(sizes)), sizes...)
		}
	}
	if s := a.Stats(); s.GSOFallbacks != 0 || !a.gso.usable(peer.LocalAddr().Addr()) {
		t.Errorf("%+v: segmentation is off", s)
	}
}
