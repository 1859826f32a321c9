package transport

import "testing"

// A first Initial packet whose source connection ID was damaged on the way makes
// a connection, but does not say where its answers go: the next one does.
func TestDamagedFirstInitial(t *testing.T) {
	p := newPair(t, nil)
	damaged := false
	p.drop = func(from *node, b []byte) bool {
		if from == p.client && !damaged {
			damaged = true
			b[1+4+1+connIDLen+1] ^= 1 // first byte of the SCID
		}
		return false
	}
	for i := range p.flight { // sent before drop was set
		if !damaged {
			damaged = true
			p.flight[i].data[1+4+1+connIDLen+1] ^= 1
		}
	}
	p.handshake()
	if n := p.server.mux.Stats().Initials; !damaged || n != 1 {
		t.Errorf("damaged %v, %d connections: the first was not good enough", damaged, n)
	}
}
