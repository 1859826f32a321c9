package evil

import (
	"context"
	"crypto/tls"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Talker is a Peer with crypto/tls: it makes a real handshake, and nothing else of
// its own accord. It loses nothing and repeats nothing, so the way there and back
// must not either.
type Talker struct {
	*Peer

	// Edit, if not nil, may change the handshake bytes that TLS wants to send in packets of
	// a type, for others, none or more.
	Edit func(typ wire.PacketType, data []byte) []byte
	// Hold, if not nil, keeps back the packets of a type for which it is true: their bytes stay until it is not.
	Hold func(typ wire.PacketType) bool

	Done   bool          // TLS has completed the handshake
	Params []byte        // the other end's transport parameters
	Heard  []Received    // all packets so far
	Closed *wire.Close   // the first CONNECTION_CLOSE
	Err    error         // of TLS, or of a datagram that was not in order
	TLS    *tls.QUICConn // for SendSessionTicket and the like

	in     [Spaces]map[int64][]byte // CRYPTO that is not its turn yet
	taken  [Spaces]int64
	out    [wire.OneRTT + 1][]byte
	sent   [Spaces]int64
	unsaid [Spaces]bool // something came that asks for an ACK
}

// NewTalker returns a peer that makes its handshake with these transport parameters,
// whatever they are. The config needs NextProtos, and of a server Certificates. edit
// may be nil; it sees a client's first message as well.
func NewTalker(p *Peer, config *tls.Config, params []byte, edit func(wire.PacketType, []byte) []byte) *Talker {
	t := &Talker{Peer: p, Edit: edit}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	if p.Role == Client {
		t.TLS = tls.QUICClient(&tls.QUICConfig{TLSConfig: config})
	} else {
		t.TLS = tls.QUICServer(&tls.QUICConfig{TLSConfig: config})
	}
	t.TLS.SetTransportParameters(params)
	t.fail(t.TLS.Start(context.Background()))
	t.drain()
	return t
}

// Close ends what crypto/tls keeps.
func (t *Talker) Close() { t.TLS.Close() }

func (t *Talker) fail(err error) {
	if t.Err == nil {
		t.Err = err
	}
}

// drain takes what TLS has to say.
func (t *Talker) drain() {
	for {
		switch e := t.TLS.NextEvent(); e.Kind {
		case tls.QUICNoEvent:
			return
		case tls.QUICSetReadSecret:
			t.Read(typeOf[e.Level], e.Suite, e.Data)
		case tls.QUICSetWriteSecret:
			t.Write(typeOf[e.Level], e.Suite, e.Data)
		case tls.QUICWriteData:
			typ, data := typeOf[e.Level], append([]byte(nil), e.Data...)
			if t.Edit != nil {
				data = t.Edit(typ, data)
			}
			t.out[typ] = append(t.out[typ], data...)
		case tls.QUICTransportParameters:
			t.Params = append([]byte(nil), e.Data...)
		case tls.QUICHandshakeDone:
			t.Done = true
		}
	}
}

var typeOf = map[tls.QUICEncryptionLevel]wire.PacketType{
	tls.QUICEncryptionLevelInitial: wire.Initial, tls.QUICEncryptionLevelEarly: wire.ZeroRTT,
	tls.QUICEncryptionLevelHandshake: wire.Handshake, tls.QUICEncryptionLevelApplication: wire.OneRTT,
}

var levelOf = map[wire.PacketType]tls.QUICEncryptionLevel{
	wire.Initial:   tls.QUICEncryptionLevelInitial,
	wire.Handshake: tls.QUICEncryptionLevelHandshake, wire.OneRTT: tls.QUICEncryptionLevelApplication,
}

// Hear takes a datagram of the other end.
func (t *Talker) Hear(now mono.Time, datagram []byte) {
	t.fail(t.ReceiveEach(now, datagram, t.hear))
}

func (t *Talker) hear(p Received) {
	t.Heard = append(t.Heard, p)
	sp := SpaceOf(p.Type)
	for _, f := range p.Frames {
		t.unsaid[sp] = t.unsaid[sp] || f.Type().AckEliciting()
		switch f := f.(type) {
		case wire.Crypto:
			t.take(p.Type, f)
		case wire.Close:
			if t.Closed == nil {
				t.Closed = &f
			}
		}
	}
}

// take feeds TLS what it can use of a CRYPTO frame and of those that came early.
func (t *Talker) take(typ wire.PacketType, f wire.Crypto) {
	sp := SpaceOf(typ)
	if t.in[sp] == nil {
		t.in[sp] = make(map[int64][]byte)
	}
	t.in[sp][f.Offset] = f.Data
	for again := true; again; {
		again = false
		for off, data := range t.in[sp] {
			if skip := t.taken[sp] - off; skip >= 0 && t.Err == nil {
				delete(t.in[sp], off)
				if skip < int64(len(data)) {
					t.taken[sp] = off + int64(len(data))
					t.fail(t.TLS.HandleData(levelOf[typ], data[skip:]))
					t.drain()
					again = true
				}
			}
		}
	}
}

// Speak returns the datagrams that an honest peer would send now: handshake bytes
// and ACKs.
func (t *Talker) Speak() (datagrams [][]byte) {
	for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
		sp := SpaceOf(typ)
		if !t.CanWrite(typ) || t.Hold != nil && t.Hold(typ) {
			continue
		}
		var frames []wire.Frame
		if ack, ok := t.Ack(typ); ok && t.unsaid[sp] && (typ != wire.OneRTT || t.Done) {
			frames = append(frames, ack)
			t.unsaid[sp] = false
		}
		for len(t.out[typ]) > 0 || len(frames) > 0 {
			n := min(len(t.out[typ]), 900)
			if n > 0 {
				frames = append(frames, wire.Crypto{Offset: t.sent[sp], Data: t.out[typ][:n]})
			}
			t.out[typ], t.sent[sp] = t.out[typ][n:], t.sent[sp]+int64(n)
			datagrams = append(datagrams, t.Say(typ, frames...))
			frames = nil
		}
	}
	return datagrams
}

// Insert puts handshake bytes behind what is to be sent in packets of a type.
func (t *Talker) Insert(typ wire.PacketType, data []byte) { t.out[typ] = append(t.out[typ], data...) }
