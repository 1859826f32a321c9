package site

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// held counts bytes of pages that are made and not taken, over all and by host.
type held struct {
	mu    sync.Mutex
	all   int64
	hosts map[netip.Addr]int64
}

// hostOf is who sent a request. Those of whom nothing can be told are one.
func hostOf(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr()
}

// take counts bytes of a host's, if there is a place for them.
func (h *held) take(host netip.Addr, n int64) bool {
	host = dgram.Host(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all+n > maxHeld || h.hosts[host]+n > maxHeldPerHost {
		return false
	}
	if h.hosts == nil {
		h.hosts = make(map[netip.Addr]int64)
	}
	h.all += n
	h.hosts[host] += n
	return true
}

// release gives a place back.
func (h *held) release(host netip.Addr, n int64) {
	host = dgram.Host(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all -= n
	if h.hosts[host] -= n; h.hosts[host] == 0 {
		delete(h.hosts, host)
	}
}
