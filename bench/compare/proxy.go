package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// pathMTU is the largest datagram that the emulated path carries: Ethernet's over IPv4.
	pathMTU = 1500 - ipHeader
	// ipHeader is what IPv4 and UDP add to a datagram on the emulated path.
	ipHeader = 20 + 8
	// pipeLength is how many datagrams a direction may hold: many more than any
	// sensible rate and delay let there be, even if they are acknowledgments only.
	pipeLength = 1 << 14
)

// A link is one direction of the emulated path: random loss, then a bottleneck
// with a queue that drops what finds it full, then a delay. It knows no clock.
type link struct {
	rate   int64         // bytes a second
	queue  time.Duration // how long a full queue takes to leave
	delay  time.Duration
	loss   float64 // probability
	random *rand.Rand

	free    time.Time // when the bottleneck will have sent all that it has
	took    int64     // bytes of datagrams that came in
	dropped int64     // datagrams that found the queue full
}

// admit takes a datagram of n bytes and returns when it comes out, or false if it never does.
func (l *link) admit(now time.Time, n int) (out time.Time, ok bool) {
	l.took += int64(n)
	if l.random.Float64() < l.loss {
		return out, false
	}
	if l.free.Before(now) {
		l.free = now
	}
	if l.free.Sub(now) > l.queue {
		l.dropped++
		return out, false
	}
	l.free = l.free.Add(time.Duration(int64(n+ipHeader) * int64(time.Second) / l.rate))
	return l.free.Add(l.delay), true
}

// A parcel is a datagram on its way.
type parcel struct {
	buf *[pathMTU + 1]byte
	n   int
	due time.Time
	out *net.UDPConn
	to  netip.AddrPort
}

var parcelBufs = sync.Pool{New: func() any { return new([pathMTU + 1]byte) }}

// A pipe is a link in real time: readers put parcels in, one goroutine sends them.
type pipe struct {
	mu sync.Mutex
	link
	parcels chan parcel // in the order of their times
}

// carry takes a datagram over; the buffer is the pipe's from then on.
func (p *pipe) carry(d parcel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if due, ok := p.admit(time.Now(), d.n); ok && d.n <= pathMTU {
		d.due = due
		select {
		case p.parcels <- d:
			return
		default:
			p.dropped++
		}
	}
	parcelBufs.Put(d.buf)
}

// deliver sends what has arrived until done is closed.
func (p *pipe) deliver(done <-chan struct{}) error {
	a, err := newAlarm()
	if err != nil {
		return err
	}
	defer a.close()
	for {
		select {
		case <-done:
			return nil
		case d := <-p.parcels:
			if err := a.wait(d.due); err != nil {
				return err
			}
			d.out.WriteToUDPAddrPort(d.buf[:d.n], d.to) // a failure is a loss
			parcelBufs.Put(d.buf)
		}
	}
}

// A proxy stands between clients and a server and makes loopback a slow path.
// To the server, each client is a socket of the proxy's.
type proxy struct {
	b        *bench
	front    *net.UDPConn
	server   netip.AddrPort
	up, down *pipe
	done     chan struct{}
	flows    map[netip.AddrPort]*net.UDPConn // of the reader of front
}

// newProxy starts a proxy before a server.
func newProxy(b *bench, server string) (*proxy, error) {
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		return nil, err
	}
	front, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	p := &proxy{
		b: b, front: front, server: to, up: b.newPipe(1), down: b.newPipe(2),
		done: make(chan struct{}), flows: make(map[netip.AddrPort]*net.UDPConn),
	}
	for _, run := range []func(<-chan struct{}) error{p.up.deliver, p.down.deliver} {
		go func() {
			if err := run(p.done); err != nil {
				b.failServer(fmt.Errorf("proxy: %w", err))
			}
		}()
	}
	go p.readClients()
	return p, nil
}

// newPipe returns a direction of the path, with random numbers of its own.
func (b *bench) newPipe(stream uint64) *pipe {
	rate := b.RateMbps * 1e6 / 8
	return &pipe{
		link: link{
			rate: rate, queue: b.RTT, delay: b.RTT / 2, loss: b.LossPercent / 100,
			random: rand.New(rand.NewPCG(b.Seed, stream)),
		},
		parcels: make(chan parcel, pipeLength),
	}
}

func (p *proxy) addr() string { return p.front.LocalAddr().String() }

func (p *proxy) close() {
	close(p.done)
	p.front.Close()
}

// readClients carries what clients send until the proxy is closed.
func (p *proxy) readClients() {
	defer func() {
		for _, back := range p.flows {
			back.Close()
		}
	}()
	for {
		buf := parcelBufs.Get().(*[pathMTU + 1]byte)
		n, from, err := p.front.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			return
		}
		back := p.flows[from]
		if back == nil {
			if back, err = listenUDP(p.b); err != nil {
				p.b.failServer(fmt.Errorf("proxy: %w", err))
				return
			}
			p.flows[from] = back
			go p.readServer(back, from)
		}
		p.up.carry(parcel{buf: buf, n: n, out: back, to: p.server})
	}
}

// readServer carries what the server sends to one client.
func (p *proxy) readServer(back *net.UDPConn, client netip.AddrPort) {
	for {
		buf := parcelBufs.Get().(*[pathMTU + 1]byte)
		n, _, err := back.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			return
		}
		p.down.carry(parcel{buf: buf, n: n, out: p.front, to: client})
	}
}

// count returns what went towards the client so far: bytes of the datagrams
// that the server sent, and datagrams that the full queue dropped.
func (p *proxy) count() (bytes, dropped int64) {
	p.down.mu.Lock()
	defer p.down.mu.Unlock()
	return p.down.took, p.down.dropped
}
