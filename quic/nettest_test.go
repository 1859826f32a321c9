package quic

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// A bidirectional stream is a net.Conn, in every way that nettest asks for.
func TestStreamIsNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		p := newPair(t, ListenOptions{}, ConnectOptions{})
		client, server := p.streams(t)
		return client, server, func() {
			p.client.Destroy(nil)
			p.socket.Destroy(nil)
		}, nil
	})
}
