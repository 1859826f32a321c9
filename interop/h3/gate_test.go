package h3

import (
	"net"
	"net/netip"
	"sync"
)

// gate is a relay between one client and a server that can hold the server's answers
// back, so that what the client sends meanwhile can only be early data.
type gate struct {
	front, back *net.UDPConn // towards the client, towards the server

	mu      sync.Mutex
	client  netip.AddrPort
	holding bool
	held    [][]byte
}

// gate starts a relay.
func (d *duel) gate(server netip.AddrPort) (*gate, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { front.Close() })
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { back.Close() })
	g := &gate{front: front, back: back}
	go g.forward()
	go g.backward()
	return g, nil
}

func (g *gate) addr() netip.AddrPort { return g.front.LocalAddr().(*net.UDPAddr).AddrPort() }

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
}

// release lets the client have what was held, and all that follows.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = false
	for _, p := range g.held {
		g.front.WriteToUDPAddrPort(p, g.client)
	}
	g.held = nil
}

func (g *gate) forward() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := g.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		g.client = from
		g.mu.Unlock()
		g.back.Write(buf[:n])
	}
}

func (g *gate) backward() {
	buf := make([]byte, 1<<16)
	for {
		n, err := g.back.Read(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		if g.holding {
			g.held = append(g.held, append([]byte(nil), buf[:n]...))
		} else {
			g.front.WriteToUDPAddrPort(buf[:n], g.client)
		}
		g.mu.Unlock()
	}
}
