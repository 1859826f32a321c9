package cases

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// network puts a network of package sim between sockets in memory, and records what comes by
// at either end of it.
type network struct {
	mem   *udp.Network
	start time.Time
	wake  chan struct{}
	done  chan struct{}

	mu             sync.Mutex // held for all below
	sim            *sim.Network
	servers        []netip.AddrPort
	client, server []trace.Datagram
}

func newNetwork(t *testing.T, seed uint64) *network {
	n := &network{
		sim:   sim.New(seed),
		start: time.Now(),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	n.mem = udp.NewNetwork(udp.NetworkOptions{Filter: n.take})
	go n.pump()
	t.Cleanup(func() { close(n.done) })
	return n
}

// take is the filter of the sockets' network: all that they send goes through the other one.
func (n *network) take(d *dgram.Datagram) (drop bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.record(d, true)
	n.sim.Send(n.now(), dgram.Path{Local: d.Path.Remote, Remote: d.Path.Local}, d.ECN, d.Data)
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return true
}

// pump delivers what has arrived, at its time.
func (n *network) pump() {
	for {
		n.mu.Lock()
		for {
			to, d, ok := n.sim.Deliver(n.now())
			if !ok {
				break
			}
			d.Path.Local = to
			n.record(&d, false)
			n.mem.Inject(d)
		}
		next := n.sim.Next()
		wait := next.Sub(n.now())
		n.mu.Unlock()
		if next == mono.Never {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.done:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (n *network) now() mono.Time { return mono.Time(time.Since(n.start)) }

// record notes a datagram at the end where it is sent, or received.
func (n *network) record(d *dgram.Datagram, sent bool) {
	fromClient := !slices.Contains(n.servers, d.Path.Remote)
	list := &n.server
	if fromClient == sent {
		list = &n.client
	}
	*list = append(*list, trace.Datagram{
		At: time.Since(n.start), From: d.Path.Remote, To: d.Path.Local, FromClient: fromClient, ECN: uint8(d.ECN), Data: bytes.Clone(d.Data),
	})
}

// run returns what was seen, with the keys of a log.
func (n *network) run(keyLog []byte) *trace.Run {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &trace.Run{Client: trace.Decode(n.client, keyLog), Server: trace.Decode(n.server, keyLog)}
}

// memConn puts a socket of package quic on the network.
type memConn struct {
	net.PacketConn
	c udp.Conn
}

func (m memConn) UDPConn() udp.Conn { return m.c }
func (m memConn) Close() error      { return m.c.Close() }

// endpoint returns the options of an endpoint at an address.
func (n *network) endpoint(t *testing.T, at netip.AddrPort) quic.EndpointOptions {
	t.Helper()
	c, err := n.mem.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	o := quic.EndpointOptions{PacketConn: memConn{c: c}}
	if at.Addr().Is6() {
		o.Type = quic.UDP6
	}
	return o
}
