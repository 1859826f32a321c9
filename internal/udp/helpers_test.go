package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// pool is a Slabs that counts: every slab taken must come back.
type pool struct {
	mu   sync.Mutex
	size int
	free [][]byte
	out  int
}

func newPool() *pool { return &pool{size: SlabSize} }

func (p *pool) Get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out++
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s
	}
	return make([]byte, p.size)
}

func (p *pool) Put(s []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out--
	p.free = append(p.free, s)
}

func (p *pool) lent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}

// journal collects log lines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// want checks that n lines have the substring: "" is in all.
func (j *journal) want(t *testing.T, n int, substring string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	found := 0
	for _, l := range j.lines {
		if strings.Contains(l, substring) {
			found++
		}
		if strings.Contains(l, "\n") {
			t.Errorf("%q is more than a line", l)
		}
	}
	if found != n {
		t.Fatalf("%d log lines with %q, want %d: %q", found, substring, n, j.lines)
	}
}

func listen(t testing.TB, network, addr string, o Options) Conn {
	t.Helper()
	c, err := Listen(network, netip.MustParseAddrPort(addr), o)
	if err != nil {
		t.Fatalf("listen on %s %s: %v", network, addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// loopbacks are the families to test, as far as this machine has them.
func loopbacks(t testing.TB) []string {
	t.Helper()
	return append([]string{"127.0.0.1:0"}, loopback6(t)...)
}

func loopback6(t testing.TB) []string {
	t.Helper()
	c, err := Listen("udp6", netip.MustParseAddrPort("[::1]:0"), Options{})
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return nil
	}
	c.Close()
	return []string{"[::1]:0"}
}

// filled returns a datagram of the given size that differs from its neighbours.
func filled(i, size int) []byte {
	p := make([]byte, size)
	for k := range p {
		p[k] = byte(i*31 + k*7 + k>>8)
	}
	return p
}

// batch returns a batch of datagrams of these sizes.
func batch(t testing.TB, to netip.AddrPort, sizes ...int) *dgram.Batch {
	t.Helper()
	b := dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
	b.Path.Remote = to
	for i, n := range sizes {
		room := b.Next(n)
		if room == nil && n > 0 || cap(room) < n {
			t.Fatalf("datagram %d of %d bytes does not fit the batch", i, n)
		}
		copy(room[:n], filled(i, n))
		b.Commit(n)
	}
	return b
}

// run is n times size, then the rest.
func run(n, size int, rest ...int) []int {
	var s []int
	for range n {
		s = append(s, size)
	}
	return append(s, rest...)
}

// receive returns copies of the next n datagrams.
func receive(t testing.TB, c Conn, n int) []dgram.Datagram {
	t.Helper()
	return receiveInto(t, c, n, 2*dgram.MaxSegments)
}

func receiveInto(t testing.TB, c Conn, n, room int) []dgram.Datagram {
	t.Helper()
	var all []dgram.Datagram
	slabs := newPool()
	dst := make([]dgram.Datagram, room)
	for len(all) < n {
		k, slab, err := c.Receive(slabs, dst)
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		for _, d := range dst[:k] {
			d.Data = bytes.Clone(d.Data)
			all = append(all, d)
		}
		clear(slab) // whoever still looks at it is wrong
		slabs.Put(slab)
	}
	if len(all) > n {
		t.Fatalf("%d datagrams, want %d", len(all), n)
	}
	return all
}

func wantSizes(t testing.TB, got []dgram.Datagram, sizes ...int) {
	t.Helper()
	if len(got) != len(sizes) {
		t.Fatalf("%d datagrams, want %d", len(got), len(sizes))
	}
	for i, d := range got {
		if !bytes.Equal(d.Data, filled(i, sizes[i])) {
			t.Fatalf("datagram %d: %d bytes are not the %d that were sent", i, len(d.Data), sizes[i])
		}
	}
}

func send(t testing.TB, c Conn, b *dgram.Batch) {
	t.Helper()
	if err := c.Send(b); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func wantSendError(t testing.TB, err error) *SendError {
	t.Helper()
	var e *SendError
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a SendError", err, err)
	}
	return e
}
