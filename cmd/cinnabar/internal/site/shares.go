package site

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// shares are places, or bytes, of which there are so many in all and for each host.
type shares struct {
	most, perHost int64

	mu    sync.Mutex
	all   int64
	hosts map[netip.Addr]int64
}

// hostOf is who sent a request. Those of whom nothing can be told are one.
func hostOf(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr()
}

// take gives a host some, if there are so many left.
func (s *shares) take(host netip.Addr, n int64) bool {
	host = dgram.Host(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all+n > s.most || s.hosts[host]+n > s.perHost {
		return false
	}
	if s.hosts == nil {
		s.hosts = make(map[netip.Addr]int64)
	}
	s.all += n
	s.hosts[host] += n
	return true
}

// release gives them back.
func (s *shares) release(host netip.Addr, n int64) {
	host = dgram.Host(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all -= n
	if s.hosts[host] -= n; s.hosts[host] == 0 {
		delete(s.hosts, host)
	}
}
