package quic

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Two of an endpoint's readers find the same session for what only looks like a client's first packets. There
// never was a session, and its count is taken back once.
func TestJunkForTwoReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.pair(ConnectOptions{})
		junk := make([]byte, 1200)
		copy(junk, []byte{0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8})
		var readers [2]reader
		var parcels [2]parcel
		for i := range readers {
			r, p := &readers[i], &parcels[i]
			*r = reader{e: m.server.Endpoints()[0], reply: dgram.NewBatch(make([]byte, 0, 2048))}
			p.d[0] = dgram.Datagram{Data: junk, Path: dgram.Path{Local: memServer, Remote: netip.MustParseAddrPort("10.0.0.3:9")}}
			p.n = 1
			r.route(now(), p)
		}
		s := readers[0].to[0]
		if s == nil || readers[1].to[0] != s {
			t.Fatal("the two do not come to the same session")
		}
		for i := range readers {
			s.mu.Lock()
			readers[i].give(now(), &parcels[i], 0, s)
			readers[i].received(s)
		}
		if n := m.server.Stats().ServerSessions; n != 1 {
			t.Errorf("%d sessions are counted, want the honest one", n)
		}
		m.pair(ConnectOptions{})
	})
}
