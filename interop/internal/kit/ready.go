package kit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

const (
	firstTry  = 200 * time.Millisecond // for the first handshake; each more has that much more
	readyTrys = 15
)

// FreePort returns a loopback port that nobody uses, neither for UDP nor for TCP.
func FreePort() (netip.AddrPort, error) {
	for range 100 {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return netip.AddrPort{}, err
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	return netip.AddrPort{}, fmt.Errorf("no port is free for both UDP and TCP")
}

// Ready returns when a server has completed a handshake for HTTP/3, or an error if it
// ends or does not in time.
func (p *Process) Ready(ctx context.Context, at netip.AddrPort) error {
	var last error
	for try := range readyTrys {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w", p.name, p.err)
		default:
		}
		if last = shakeHands(ctx, at, time.Duration(try+1)*firstTry); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s did not answer at %v: %w", p.name, at, last)
}

func shakeHands(ctx context.Context, at netip.AddrPort, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := quicgo.DialAddr(ctx, at.String(), &tls.Config{
		InsecureSkipVerify: true, // this asks who is there, not who it is
		ServerName:         HostName,
		NextProtos:         []string{"h3"},
	}, nil)
	if err != nil {
		return err
	}
	return c.CloseWithError(0x100, "") // H3_NO_ERROR
}
