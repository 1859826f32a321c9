package transport

import "testing"

// A server whose window is full of Handshake packets sends a lost Initial packet
// again all the same: the client can acknowledge nothing before it has that.
func TestLostInitialBehindFullWindow(t *testing.T) {
	p := newPair(t, func(n *node, _ *Config, m *MuxConfig) { m.ValidateAddress = n.name == "server" })
	chain := p.server.tlsConf.Certificates[0].Certificate
	for len(p.server.tlsConf.Certificates[0].Certificate) < 60 {
		p.server.tlsConf.Certificates[0].Certificate = append(p.server.tlsConf.Certificates[0].Certificate, chain[0])
	}
	dropped := false
	p.drop = func(from *node, b []byte) bool {
		if from != p.server || dropped || b[0]&0xf0 != 0xc0 || len(b) < 1200 { // the first Initial packet with CRYPTO
			return false
		}
		dropped = true
		return true
	}
	p.handshake()
	if !dropped {
		t.Error("nothing was dropped")
	}
}
