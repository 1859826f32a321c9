package transport

import "testing"

// A path that stops carrying large datagrams is found out although small ones
// are acknowledged all the time.
func TestBlackHoleBesideSmallPackets(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	p.transfer(200 << 10)
	if mtu := p.client.conn.Stats().MTU; mtu != 1452 {
		t.Fatalf("MTU %d, want 1452", mtu)
	}
	p.drop = func(from *node, b []byte) bool { return from == p.client && len(b) > 1300 }
	s := p.client.conn.OpenStream(p.now, true)
	if _, err := p.client.conn.Write(s, make([]byte, 1400)); err != nil {
		t.Fatal(err)
	}
	p.flush(p.client)
	p.runUntil(p.now.Sub(0)+20e9, func() bool {
		p.server.conn.Ping() // so that acknowledgments come and go
		p.flush(p.server)
		return s.Stats().BytesAcknowledged == 1400
	})
	if s.Stats().BytesAcknowledged != 1400 {
		t.Error("the data did not arrive")
	}
	if mtu := p.client.conn.Stats().MTU; mtu > 1300 {
		t.Errorf("MTU %d, want at most 1300", mtu)
	}
}
