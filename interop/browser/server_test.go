package browser

import (
	"net"
	"net/http"
	"net/netip"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// serverKind starts a server at an address (port 0: a free one), and returns where it
// is and what ends it.
type serverKind struct {
	name  string
	start func(at netip.AddrPort, id *kit.Identity, h http.Handler) (netip.AddrPort, func() error, error)
}

var loopback = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// startQuicGo is the control: a test that fails with it, too, is itself at fault.
func startQuicGo(at netip.AddrPort, id *kit.Identity, h http.Handler) (netip.AddrPort, func() error, error) {
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return at, nil, err
	}
	s := &http3.Server{Handler: h, TLSConfig: http3.ConfigureTLSConfig(id.Server()), QUICConfig: &quicgo.Config{}}
	go s.Serve(udp)
	return udp.LocalAddr().(*net.UDPAddr).AddrPort(), func() error {
		err := s.Close()
		udp.Close()
		return err
	}, nil
}
