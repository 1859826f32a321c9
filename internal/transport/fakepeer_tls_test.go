package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// stage is how far a test connection's handshake has come.
type stage int

const (
	stageStart     stage = iota // a client's first flight is on its way; a server has received nothing
	stageHello                  // after ServerHello: Handshake keys on both ends
	stageSecure                 // handshake complete at the Conn; of a server this is stageConfirmed
	stageConfirmed              // and confirmed, all that was sent acknowledged, no timer but idle
)

// scriptedTLS stands in for TLS: messages of known lengths full of known bytes,
// and secrets that both ends know from the start.
type scriptedTLS struct {
	turns                                            int // how often it was fed
	clientHello, serverHello, serverFlight, finished int // lengths of the messages
	early                                            bool
	editParams                                       []func(*wire.Parameters)
	editBytes                                        func([]byte) []byte
	manual                                           bool // the test feeds Handshake by itself

	got    [LevelApp + 1][]byte // bytes that arrived
	staged stage
}

func (s *scriptedTLS) init() {
	s.clientHello, s.serverHello, s.serverFlight, s.finished = 300, 90, 700, 52
}

// message returns the bytes of a handshake message.
func message(name byte, n int) []byte { return evil.Message(name, n) }

// secret returns a traffic secret.
func secret(l Level, fromClient bool) []byte {
	typ := [...]wire.PacketType{LevelInitial: wire.Initial, LevelEarly: wire.ZeroRTT, LevelHandshake: wire.Handshake, LevelApp: wire.OneRTT}[l]
	return evil.Secret(typ, fromClient)
}

func (s *scriptedTLS) start(tc *testConn) {
	if s.manual || tc.side == serverSide {
		return
	}
	tc.tlsData(LevelInitial, message('C', s.clientHello))
	if s.early {
		tc.tlsSecret(TLSWriteSecret, LevelEarly)
	}
}

// take gets handshake bytes from the Conn, and answers each whole message.
func (s *scriptedTLS) take(tc *testConn, l Level, data []byte) {
	s.turns++
	s.got[l] = append(s.got[l], data...)
	if s.manual {
		return
	}
	n := len(s.got[l])
	switch {
	case tc.side == serverSide && l == LevelInitial && s.staged == stageStart && n >= s.clientHello:
		s.staged = stageHello
		tc.peer.dcid = tc.conn.ID()
		tc.tlsParameters()
		if s.early {
			tc.tlsSecret(TLSReadSecret, LevelEarly)
		}
		tc.tlsData(LevelInitial, message('S', s.serverHello))
		tc.tlsSecret(TLSWriteSecret, LevelHandshake)
		tc.tlsSecret(TLSReadSecret, LevelHandshake)
		tc.tlsData(LevelHandshake, message('E', s.serverFlight))
		tc.tlsSecret(TLSWriteSecret, LevelApp)
	case tc.side == serverSide && l == LevelHandshake && s.staged == stageHello && n >= s.finished:
		s.staged = stageSecure
		tc.tlsSecret(TLSReadSecret, LevelApp)
		tc.tls1(TLSEvent{Kind: TLSDone})
	case tc.side == clientSide && l == LevelInitial && s.staged == stageStart && n >= s.serverHello:
		s.staged = stageHello
		tc.tlsSecret(TLSReadSecret, LevelHandshake)
		tc.tlsSecret(TLSWriteSecret, LevelHandshake)
	case tc.side == clientSide && l == LevelHandshake && s.staged == stageHello && n >= s.serverFlight:
		s.staged = stageSecure
		tc.tlsParameters()
		tc.tlsSecret(TLSReadSecret, LevelApp)
		tc.tlsData(LevelHandshake, message('F', s.finished))
		tc.tlsSecret(TLSWriteSecret, LevelApp)
		tc.tls1(TLSEvent{Kind: TLSDone})
	}
}

// tls1 feeds one event of the TLS engine.
func (tc *testConn) tls1(e TLSEvent) { tc.conn.Handshake(tc.now, e) }

func (tc *testConn) tlsData(l Level, b []byte) {
	tc.tls1(TLSEvent{Kind: TLSWriteData, Level: l, Data: b})
}

func (tc *testConn) tlsSecret(k TLSEventKind, l Level) {
	byClient := (k == TLSWriteSecret) == (tc.side == clientSide)
	tc.tls1(TLSEvent{Kind: k, Level: l, Suite: initialSuite, Data: secret(l, byClient)})
}

// tlsParameters hands the Conn the peer's transport parameters.
func (tc *testConn) tlsParameters() {
	p := tc.peerParams()
	b := p.Append(nil)
	if tc.tls.editBytes != nil {
		b = tc.tls.editBytes(b)
	}
	tc.tls1(TLSEvent{Kind: TLSParameters, Data: b})
}

// peerParams returns the peer's transport parameters.
func (tc *testConn) peerParams() wire.Parameters {
	p := testParams()
	p.ActiveCIDLimit = 4
	p.HasMinAckDelay, p.MinAckDelay = false, 0
	p.HasInitialSCID, p.InitialSCID = true, tc.peer.id
	if tc.side == clientSide {
		p.HasOriginalDCID, p.OriginalDCID = true, tc.peer.original
		p.HasResetToken, p.ResetToken = true, testToken
	}
	for _, edit := range tc.tls.editParams {
		edit(&p)
	}
	return p
}

// step carries the handshake on to a stage. What the Conn sends on the way is
// acknowledged as late as the last stage, and not left for want.
func (tc *testConn) step(to stage) {
	tc.Helper()
	tc.pump()
	const delay = 10 * time.Millisecond
	if to == stageStart {
		return
	}
	tc.out = nil
	s := &tc.tls
	if s.staged < stageHello {
		tc.advance(delay)
		name, n := byte('S'), s.serverHello
		if tc.side == serverSide {
			name, n = 'C', s.clientHello
		}
		tc.write(wire.Initial, wire.Crypto{Data: message(name, n)})
		tc.out = nil
	}
	if to == stageHello {
		return
	}
	if s.staged < stageSecure && tc.closed == nil {
		tc.advance(delay)
		tc.ack(wire.Initial)
		name, n := byte('E'), s.serverFlight
		if tc.side == serverSide {
			name, n = 'F', s.finished
		}
		tc.write(wire.Handshake, wire.Crypto{Data: message(name, n)})
		tc.out = nil
	}
	if to == stageSecure || tc.closed != nil {
		return
	}
	if tc.side == clientSide && !tc.conn.Confirmed() {
		tc.advance(delay)
		tc.ack(wire.Handshake)
		tc.write(wire.OneRTT, wire.HandshakeDone{})
	}
	tc.settle()
}

// settle acknowledges everything and lets delayed ACKs go.
func (tc *testConn) settle() {
	tc.Helper()
	tc.advance(10 * time.Millisecond)
	tc.ack(wire.OneRTT)
	tc.advance(30 * time.Millisecond)
	tc.out = nil
}
