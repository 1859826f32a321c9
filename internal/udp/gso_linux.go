package udp

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// gso knows where batches may be sent as one: the device and the route decide
// that, so it can differ by destination and change while the socket lives.
type gso struct {
	on      atomic.Bool
	strikes atomic.Int32                 // failures in a row that the datagrams' size does not explain
	without atomic.Pointer[[]netip.Addr] // destinations that cannot; copied to be changed
	mu      sync.Mutex                   // held to change without
}

const (
	// maxGSOStrikes is how often in a row a batch of large segments may fail
	// although each of them can be sent. Small segments get no second chance:
	// no MTU explains their failure.
	maxGSOStrikes  = 3 // no limit: of the kernel
	smallSegment   = 1200
	maxGSOWithouts = 16 // no limit: of the kernel
)

// probeGSO reports whether the kernel knows segmentation.
func probeGSO(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// addGSO has the kernel cut what is sent into datagrams of the given size.
func (m *control) addGSO(segment int) {
	*(*uint16)(m.add(unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)) = uint16(segment)
}

// divisible reports whether the kernel can make the batch's datagrams from its
// bytes: there are several, and none is empty.
func divisible(b *dgram.Batch) bool {
	return b.Count() > 1 && len(b.Bytes()) > (b.Count()-1)*b.SegmentSize()
}

// usable reports whether a batch to a may be tried.
func (g *gso) usable(a netip.Addr) bool {
	if !g.on.Load() {
		return false
	}
	without := g.without.Load()
	return without == nil || !slices.Contains(*without, a)
}

func (g *gso) worked() {
	if g.strikes.Load() != 0 {
		g.strikes.Store(0)
	}
}

// unsegmented reports whether err may go away when the datagrams of a batch are
// sent one by one: no segmentation here (EIO, EOPNOTSUPP), or segments
// that do not fit the MTU, for which kernels have two words.
func unsegmented(err error) bool {
	return err == syscall.EIO || err == syscall.EOPNOTSUPP || err == syscall.EINVAL || err == syscall.EMSGSIZE
}

// failed judges a batch to a that failed with err, after its datagrams went well
// one by one. It reports whether such batches will not be tried again.
func (g *gso) failed(a netip.Addr, err error, segment int) bool {
	conclusive := err == syscall.EIO || err == syscall.EOPNOTSUPP || segment <= smallSegment
	if !conclusive && g.strikes.Add(1) < maxGSOStrikes {
		return false
	}
	g.strikes.Store(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	var without []netip.Addr
	if p := g.without.Load(); p != nil {
		without = *p
	}
	switch {
	case slices.Contains(without, a):
		return false
	case len(without) == maxGSOWithouts:
		g.on.Store(false)
	default:
		without = append(slices.Clip(without), a)
		g.without.Store(&without)
	}
	return true
}
