package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client whose Finished is lost twice sends it again although 1-RTT packets
// fill its window: the server can acknowledge none of these before.
func TestLostFinishedBehindFullWindow(t *testing.T) {
	p := newPair(t, nil)
	lost := 0
	p.drop = func(from *node, b []byte) bool {
		for from == p.client && lost < 2 && len(b) > 0 && b[0]&0x80 != 0 {
			h, ok := wire.ParseLong(b)
			if !ok {
				break
			}
			if h.Type == wire.Handshake && h.End > 70 { // more than an ACK
				lost++
				return true
			}
			b = b[h.End:]
		}
		return false
	}
	p.runUntil(1e9, func() bool { return p.client.conn.Secure() })
	for range 4 {
		s := p.client.conn.OpenStream(p.now, false)
		if _, err := p.client.conn.Write(s, make([]byte, 16<<10)); err != nil {
			t.Fatal(err)
		}
	}
	p.flush(p.client)
	p.handshake()
	if lost != 2 {
		t.Errorf("%d datagrams dropped, want 2", lost)
	}
}
