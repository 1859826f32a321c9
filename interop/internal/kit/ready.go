package kit

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

const (
	firstTry  = 200 * time.Millisecond // for the first handshake; each more has that much more
	readyTrys = 15
)

// Ports for programs lie below those that kernels hand out by themselves, so that no socket of
// another test comes by one before its program does.
const (
	firstPort = 10000
	ports     = 20000
)

// nextPort goes on from anywhere, for there are other processes that look for ports.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// FreePort returns a loopback port that nobody uses, neither for UDP nor for TCP, and that it has
// not returned among the last 20,000.
func FreePort() (netip.AddrPort, error) {
	for range 100 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(firstPort+nextPort.Add(1)%ports))
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		if err != nil {
			continue
		}
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return at, nil
	}
	return netip.AddrPort{}, fmt.Errorf("no port in a hundred is free for both UDP and TCP")
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
