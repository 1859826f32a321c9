package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

// A port that is taken for IPv6 is taken, though it may be free for IPv4.
func TestListenTakenPort(t *testing.T) {
	taken, err := net.ListenPacket("udp6", "[::]:0")
	if err != nil {
		t.Skip(err)
	}
	defer taken.Close()
	address := fmt.Sprintf(":%d", taken.LocalAddr().(*net.UDPAddr).Port)
	s, err := Listen(context.Background(), address, ListenOptions{TLS: serverConfig()})
	if err == nil {
		s.Destroy(nil)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening on a port that is taken: %v", err)
	}
}
