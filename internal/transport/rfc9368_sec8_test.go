package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A server of version 1 only, which knows no Version Information, is as one that has said so: a client that
// Version Negotiation has led to version 1 goes on, if it would have chosen that of version 1 alone (RFC 9368 §8).
func TestVersionNegotiationToVersion1Only(t *testing.T) {
	const v1, v2 = wire.Version1, wire.Version2
	first2 := func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v2 }
	tc := newTestConn(t, clientSide, stageStart, first2)
	tc.again(v1)
	tc.clear()
	tc.step(stageConfirmed)
	if tc.conn.Version() != v1 || tc.conn.FirstVersion() != v1 {
		t.Errorf("version %#x, first %#x", tc.conn.Version(), tc.conn.FirstVersion())
	}
	tc.clear()

	// One that has named version 2 as well is held to it.
	tc = newTestConn(t, clientSide, stageStart, first2, saying(v1, v1, v2))
	tc.again(v1)
	tc.step(stageHello)
	tc.advance(10 * time.Millisecond)
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
	tc.wantClose("it speaks version 2", wire.VersionNegotiationError)
	tc.clear()
}
