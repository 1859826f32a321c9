package udp

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// minRead is the room in bytes that a slab must still have for another read
// into it: a datagram of any usual size.
const minRead = 2048

// receiver is the reading half of a conn: what a call works on and the buffers
// that the kernel fills. A call holds mu, also while it waits.
type receiver struct {
	mu    sync.Mutex
	conn  *udpConn
	ready func(fd uintptr) bool // r.readAll, made once so that no call allocates it

	// The running call.
	slabs  Slabs
	slab   []byte
	used   int    // bytes of slab
	spill  []byte // takes the end of a read that does not fit the rest of slab
	dst    []dgram.Datagram
	n      int // datagrams in dst
	calls  int
	size   int  // bytes in dst
	waited bool // the socket was not readable when asked first
	err    error

	kept kept // from call to call

	msg     unix.Msghdr
	iov     [2]unix.Iovec
	name    sockaddr
	control control
}

// kept is what was read but not handed out: it is the next call's to begin with.
type kept struct {
	slab []byte // nil if there is nothing
	size int
	arrival
}

// arrival is what the datagrams of one read have in common.
type arrival struct {
	segment int // size of each but the last
	path    dgram.Path
	ecn     dgram.ECN
}

func (r *receiver) init(c *udpConn) {
	r.conn = c
	r.ready = r.readAll
	r.msg.Iov = &r.iov[0]
	r.msg.Name = r.name.pointer()
	r.msg.Control = &r.control.bytes()[0]
}

func (c *udpConn) Receive(slabs Slabs, dst []dgram.Datagram) (n int, slab []byte, err error) {
	if len(dst) == 0 {
		return 0, nil, errNoRoom
	}
	r := &c.rx
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slabs, r.dst = slabs, dst
	r.resume()
	if r.more() {
		if err := c.raw.Read(r.ready); err != nil && r.err == nil {
			r.err = closed(err)
		}
	}
	return r.finish()
}

// resume begins a call with what the last one could not hand out.
func (r *receiver) resume() {
	k := r.kept
	if k.slab == nil {
		return
	}
	r.kept = kept{}
	r.slab = k.slab
	r.take(k.size, k.arrival)
}

// finish ends a call. What was received before an error is worth more than
// the error, which will come again.
func (r *receiver) finish() (n int, slab []byte, err error) {
	n, slab, err = r.n, r.slab, r.err
	if n > 0 {
		err = nil
	} else if slab != nil {
		r.slabs.Put(slab)
		slab = nil
	}
	if r.spill != nil {
		r.slabs.Put(r.spill)
	}
	r.conn.received.Add(uint64(r.n))
	r.conn.receivedBytes.Add(uint64(r.size))
	r.conn.receiveCalls.Add(uint64(r.calls))
	// The conn may wait for long now: it must not hold on to other people's memory.
	r.slabs, r.slab, r.spill, r.dst, r.err = nil, nil, nil, nil, nil
	r.used, r.n, r.size, r.calls, r.waited = 0, 0, 0, 0, false
	r.iov = [2]unix.Iovec{}
	return n, slab, err
}

// more reports whether another read is worth its system call. After a wait one
// datagram is mostly all there is, and if not, the next call finds the rest.
func (r *receiver) more() bool {
	if r.n == 0 {
		return true
	}
	room := len(r.dst) - r.n
	return !r.waited && r.kept.slab == nil && len(r.slab)-r.used >= minRead && room >= min(dgram.MaxSegments, (len(r.dst)+1)/2)
}

// readAll reads until there is nothing more or no more room. It is called by the
// poller, first at once and then, as long as it returns false, whenever
// the socket becomes readable.
func (r *receiver) readAll(fd uintptr) bool {
	if r.slab == nil {
		r.slab = r.slabs.Get()
	}
	for patience := patience(maxSoftErrors); ; {
		switch errno := r.read(fd); {
		case errno == 0:
			if !r.more() {
				return true
			}
		case errno == syscall.EAGAIN && r.n > 0:
			return true
		case errno == syscall.EAGAIN:
			r.slabs.Put(r.slab)
			r.slab, r.waited = nil, true
			r.iov[0] = unix.Iovec{}
			return false
		case !patience.with(errno):
			r.err = &net.OpError{Op: "read", Net: "udp", Err: errno}
			return true
		}
	}
}

// read makes one system call. A read can be as large as a slab, so where the
// slab is partly used a second one stands behind it: nothing is ever cut off. The call
// does not wait, so the scheduler need not hear of it (sender.sendmsg).
func (r *receiver) read(fd uintptr) syscall.Errno {
	parts := 1
	setIovec(&r.iov[0], r.slab[r.used:])
	if r.used > 0 {
		if r.spill == nil {
			r.spill = r.slabs.Get()
		}
		setIovec(&r.iov[1], r.spill)
		parts = 2
	}
	r.msg.SetIovlen(parts)
	r.msg.SetControllen(controlSize)
	r.msg.Namelen = uint32(unsafe.Sizeof(r.name))
	r.msg.Flags = 0
	r.calls++
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.msg)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return errno
	}
	if r.msg.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		r.conn.truncated.Add(1)
		return 0
	}
	a := r.arrival(int(n))
	if !a.path.Remote.IsValid() {
		r.conn.truncated.Add(1)
		return 0
	}
	r.take(int(n), a)
	return 0
}

// arrival reads what the kernel says about the size bytes it has delivered.
func (r *receiver) arrival(size int) arrival {
	a := arrival{segment: size, path: dgram.Path{Local: r.conn.local, Remote: r.name.addrPort()}}
	messages := r.control.bytes()[:r.msg.Controllen]
	for {
		var level, kind int32
		var data []byte
		level, kind, data, messages = next(messages)
		switch {
		case kind == -1:
			return a
		case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO:
			if n, ok := parseGRO(data); ok && n > 0 && n < size {
				a.segment = n
			}
		case level == unix.IPPROTO_IP && kind == unix.IP_TOS, level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS:
			if e, ok := parseECN(level, data); ok && !r.conn.options.DisableECN {
				a.ecn = e
			}
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO, level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO:
			if ip, ok := parsePktInfo(level, data); ok {
				a.path.Local = netip.AddrPortFrom(ip, r.conn.local.Port())
			}
		}
	}
}

// take hands out the datagrams of a read of size bytes, which begin in the slab
// and may go on in the spill slab, and keeps those that have no room in dst
// or lie across the two.
func (r *receiver) take(size int, a arrival) {
	if size == 0 {
		r.put(nil, a)
		return
	}
	here := r.slab[r.used:min(r.used+size, len(r.slab))]
	whole := len(here)
	if size > whole {
		whole -= whole % a.segment
	}
	whole = min(whole, (len(r.dst)-r.n)*a.segment)
	for i := 0; i < whole; i += a.segment {
		r.put(here[i:min(i+a.segment, whole)], a)
	}
	r.used += whole
	if whole < size {
		r.keep(here[whole:], size-len(here), a)
	}
}

func (r *receiver) put(data []byte, a arrival) {
	r.dst[r.n] = dgram.Datagram{Data: data[:len(data):len(data)], Path: a.path, ECN: a.ecn}
	r.n++
	r.size += len(data)
}

// keep stores head and the spilled bytes behind it, in a slab of their own: the
// present one is about to become the caller's.
func (r *receiver) keep(head []byte, spilled int, a arrival) {
	if r.spill == nil {
		r.spill = r.slabs.Get()
	}
	size := len(head) + spilled
	if size > len(r.spill) {
		r.conn.truncated.Add(1)
		return
	}
	copy(r.spill[len(head):], r.spill[:spilled])
	copy(r.spill, head)
	r.kept = kept{slab: r.spill, size: size, arrival: a}
	r.spill = nil
}

func setIovec(v *unix.Iovec, p []byte) {
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
}
