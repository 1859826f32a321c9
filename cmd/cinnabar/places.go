package main

import (
	"net/netip"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

const (
	// maxSenders is how many sessions a receiver serves at once.
	maxSenders = 32
	// maxSendersPerHost is how many of them may come from one host, so that
	// nobody has all of them: one address, or an IPv6 network of 64 bits.
	maxSendersPerHost = 8
)

// places counts the sessions that a receiver serves.
type places struct {
	mu    sync.Mutex
	all   int
	hosts map[netip.Addr]int
}

// take reserves a place for a sender, and reports whether there was one.
func (p *places) take(host netip.Addr) bool {
	host = dgram.Host(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == maxSenders || p.hosts[host] == maxSendersPerHost {
		return false
	}
	if p.hosts == nil {
		p.hosts = make(map[netip.Addr]int)
	}
	p.all++
	p.hosts[host]++
	return true
}

// release gives a place back.
func (p *places) release(host netip.Addr) {
	host = dgram.Host(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.hosts[host]--; p.hosts[host] == 0 {
		delete(p.hosts, host)
	}
}
