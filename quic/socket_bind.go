package quic

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// bind gives every endpoint its port, once (SOC-026). A second call while the first
// is at it waits for it.
func (s *Socket) bind(ctx context.Context, op string) error {
	for {
		s.mu.Lock()
		switch s.life {
		case socketBound:
			s.mu.Unlock()
			return nil
		case socketClosing, socketDestroyed:
			defer s.mu.Unlock()
			return s.stateError(op)
		case socketBinding:
			wait := s.binding
			s.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.life = socketBinding
		s.binding = make(chan struct{})
		endpoints := s.endpoints
		s.mu.Unlock()
		return s.bindAll(ctx, op, endpoints)
	}
}

// bindAll binds the endpoints. If one fails the socket is destroyed with the error,
// but for an end of the context, which leaves it as it was.
func (s *Socket) bindAll(ctx context.Context, op string, endpoints []*Endpoint) error {
	var err error
	conns := make([]udp.Conn, len(endpoints))
	for i, e := range endpoints {
		if conns[i], err = e.open(ctx); err != nil {
			break
		}
	}
	s.mu.Lock()
	late := s.life != socketBinding // closed meanwhile
	if err == nil && !late {
		for i, e := range endpoints {
			e.bound(conns[i])
		}
		s.life, s.boundAt = socketBound, now()
		if h := s.opts.Hooks.Ready; h != nil {
			s.post(h) // under the lock, so that it comes before Listening
		}
	} else if !late {
		s.life = socketUnbound
	}
	close(s.binding)
	if err == nil && late {
		err = s.stateError(op)
	}
	s.mu.Unlock()
	if err != nil { // not under the lock: a foreign PacketConn's Close is user code
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	s.notices.kick()
	if err != nil && !late && ctx.Err() == nil {
		s.Destroy(err)
	}
	return err
}

// lookup resolves a host name to an address of a family; an IP address is its own.
func (s *Socket) lookup(ctx context.Context, own LookupFunc, host, network string) (netip.Addr, error) {
	family := 4
	if network != UDP4 {
		family = 6
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.Is4() != (family == 4) {
			return netip.Addr{}, &OptionError{Option: "Address", Value: host, Want: "an address of the type " + network, code: CodeInvalidArgValue}
		}
		return ip, nil
	}
	if own == nil {
		own = s.opts.Lookup
	}
	if own != nil {
		ip, err := own(ctx, host, family)
		if err == nil && !ip.IsValid() {
			err = &OperationError{Op: "Lookup", Err: fmt.Errorf("no address for %q", host)}
		}
		return ip.Unmap(), err
	}
	if host == "" {
		return loopback(family), nil
	}
	return systemLookup(ctx, host, family)
}

func loopback(family int) netip.Addr {
	if family == 6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// systemLookup asks the system's resolver, hosts file included (LKP-004).
func systemLookup(ctx context.Context, host string, family int) (netip.Addr, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, fmt.Sprintf("ip%d", family), host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(ips) == 0 {
		return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips[0].Unmap(), nil
}
