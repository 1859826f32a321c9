package interop

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go/quicvarint"
)

// tap is a relay between one client and a server that sees what no implementation
// can talk away: packet types. It is also a NAT that loses its mapping, a network
// that holds answers back or loses datagrams, and an address that another server
// takes over.
type tap struct {
	front *net.UDPConn // where the client sends to

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when seen changes
	seen    seen
	client  netip.AddrPort
	server  netip.AddrPort
	back    *net.UDPConn // what the server sees
	holding bool
	held    [][]byte   // datagrams for the client
	loss    *rand.Rand // nil: none
	lost    int
	closed  bool
}

// lossOneIn is how many datagrams there are to one that gets lost, where any do.
const lossOneIn = 20

// seen counts packets by type. Those of clients come first.
type seen struct {
	initial, tokens, early    int // tokens: Initial packets that carry one
	retry, versionNegotiation int
}

func newTap(server netip.AddrPort) (*tap, error) {
	front, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	t := &tap{front: front, changed: make(chan struct{}), server: server}
	if err := t.rebind(); err != nil {
		front.Close()
		return nil, err
	}
	go t.forward()
	return t, nil
}

func (t *tap) addr() netip.AddrPort { return addrPort(t.front.LocalAddr()) }

// Close implements io.Closer.
func (t *tap) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.back.Close()
	return t.front.Close()
}

// rebind makes the server see the client at a new port; what comes to the former one
// is lost.
func (t *tap) rebind() error {
	back, err := listenLoopback()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.back != nil {
		t.back.Close()
	}
	t.back = back
	go t.backward(back)
	return nil
}

// outside returns where the server sees the client.
func (t *tap) outside() netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	return addrPort(t.back.LocalAddr())
}

// connect puts another server into the place of the present one.
func (t *tap) connect(server netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server = server
}

// hold keeps what comes from the server from now on, until release.
func (t *tap) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holding = true
}

// release lets the client have what was held, and all that follows.
func (t *tap) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holding = false
	for _, p := range t.held {
		t.front.WriteToUDPAddrPort(p, t.client)
	}
	t.held = nil
}

// lose makes one datagram in so many get lost at random, either way.
func (t *tap) lose(seed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loss = rand.New(rand.NewPCG(seed, 0))
}

// loses reports whether the next datagram gets lost.
func (t *tap) loses() bool {
	if t.loss == nil || t.loss.IntN(lossOneIn) != 0 {
		return false
	}
	t.lost++
	return true
}

// losses returns how many datagrams got lost.
func (t *tap) losses() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// look returns what was seen so far.
func (t *tap) look() seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// wait returns when what was seen is enough.
func (t *tap) wait(ctx context.Context, enough func(seen) bool) error {
	for {
		t.mu.Lock()
		s, changed := t.seen, t.changed
		t.mu.Unlock()
		if enough(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for packets: %w; so far %+v", ctx.Err(), s)
		}
	}
}

// forward relays from the client to the server.
func (t *tap) forward() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := t.front.ReadFromUDPAddrPort(buf)
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return
		}
		if err == nil && !t.loses() { // an error is an ICMP answer that the peer is gone
			t.client = from
			t.note(buf[:n])
			t.back.WriteToUDPAddrPort(buf[:n], t.server)
		}
		t.mu.Unlock()
	}
}

// backward relays to the client what comes from the server to one port.
func (t *tap) backward(back *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := back.ReadFromUDPAddrPort(buf)
		t.mu.Lock()
		switch {
		case t.closed || t.back != back:
			t.mu.Unlock()
			return
		case err != nil || from != t.server || t.loses(): // from: a server that was replaced
		case t.holding:
			t.held = append(t.held, append([]byte(nil), buf[:n]...))
		default:
			t.note(buf[:n])
			t.front.WriteToUDPAddrPort(buf[:n], t.client)
		}
		t.mu.Unlock()
	}
}

// note counts the packets of a datagram: everything it looks at is in the clear
// (RFC 9000 §17.2). It ends at what it does not understand.
func (t *tap) note(p []byte) {
	before := t.seen
	for len(p) > 7 && p[0]&0x80 != 0 {
		kind, version := p[0]>>4&3, binary.BigEndian.Uint32(p[1:])
		if version == 0 {
			t.seen.versionNegotiation++
			break
		}
		if version != 1 {
			break // its types have other numbers
		}
		if kind == 3 {
			t.seen.retry++
			break
		}
		switch kind {
		case 0:
			t.seen.initial++
		case 1:
			t.seen.early++
		}
		rest, token, ok := skipLongHeader(p[5:], kind == 0)
		if token {
			t.seen.tokens++
		}
		if !ok {
			break
		}
		p = rest
	}
	if t.seen != before {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// skipLongHeader returns what follows a packet whose header goes on at p, behind its
// version, and whether it has a token.
func skipLongHeader(p []byte, initial bool) (rest []byte, token, ok bool) {
	for range 2 { // connection IDs
		if len(p) < 1 || len(p) < 1+int(p[0]) {
			return nil, false, false
		}
		p = p[1+p[0]:]
	}
	if initial {
		size, n, err := quicvarint.Parse(p)
		if err != nil || uint64(len(p)-n) < size {
			return nil, false, false
		}
		token = size > 0
		p = p[uint64(n)+size:]
	}
	size, n, err := quicvarint.Parse(p)
	if err != nil || uint64(len(p)-n) < size {
		return nil, token, false
	}
	return p[uint64(n)+size:], token, true
}
