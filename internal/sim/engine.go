package sim

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Engine is a TLS stack as a session drives it. The order of what comes out is
// that of crypto/tls.
type Engine interface {
	// Start begins the handshake. The function returns our transport parameters: a
	// server's are ready as soon as Next has brought out the client's.
	Start(parameters func() []byte)
	// Handle takes bytes of the peer's, in order in each level. The engine owns them.
	Handle(level transport.Level, data []byte)
	// Next returns what the engine has to say next, false if nothing. It is
	// called until then after Start and Handle.
	Next() (transport.TLSEvent, bool)
}

// Script makes engines that have the shape of TLS 1.3 and none of its
// computation: messages of fixed lengths, secrets that are hashes of what was
// said before, so that both ends have the same ones exactly if every byte
// arrived as it was sent. Packets are truly protected with keys from them.
// Zero lengths are the defaults.
type Script struct {
	Seed        uint64 // both ends must have the same, else they fail
	Suite       uint16 // 0 is TLS_AES_128_GCM_SHA256; the server's counts
	ClientHello int    // bytes; 1600, which takes two Initial packets
	ServerHello int    // bytes; 1200, as with a post-quantum key share
	Certificate int    // bytes from EncryptedExtensions to Finished; 3000
	Ticket      int    // bytes of NewSessionTicket; 250, negative for none
	Early       bool   // client: try 0-RTT; server: accept it
}

const (
	randomLen   = 32
	finishedLen = 4 + sha512.Size
)

// The types of messages (RFC 8446 §4).
const (
	clientHello         = 1
	serverHello         = 2
	newSessionTicket    = 4
	encryptedExtensions = 8
	certificate         = 11
	finished            = 20
)

// New returns an engine for one end of a connection. rand fills with random bytes.
func (s Script) New(server bool, rand func([]byte)) Engine {
	if s.Suite == 0 {
		s.Suite = 0x1301
	}
	s.ClientHello = orDefault(s.ClientHello, 1600)
	s.ServerHello = orDefault(s.ServerHello, 1200)
	s.Certificate = orDefault(s.Certificate, 3000)
	s.Ticket = orDefault(s.Ticket, 250)
	e := &script{Script: s, server: server, rand: rand, want: clientHello}
	if !server {
		e.want = serverHello
	}
	e.said = binary.BigEndian.AppendUint64(nil, s.Seed)
	return e
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

type script struct {
	Script
	server     bool
	rand       func([]byte)
	parameters func() []byte
	want       byte // type of the next message; 0 after the handshake
	in         [transport.LevelApp + 1][]byte
	said       []byte // the seed and all messages so far
	early      bool   // client: 0-RTT was tried; server: and will be taken
	out        []transport.TLSEvent
	more       func() // goes on when all of out is taken
	failed     bool
}

func (e *script) Start(parameters func() []byte) {
	e.parameters = parameters
	if e.server {
		return
	}
	e.early = e.Early
	e.write(transport.LevelInitial, e.message(clientHello, e.ClientHello, hello(0, e.early, parameters())))
	if e.early {
		e.secret(transport.TLSWriteSecret, transport.LevelEarly, "early")
	}
}

func (e *script) Next() (transport.TLSEvent, bool) {
	if more := e.more; len(e.out) == 0 && more != nil {
		e.more = nil
		more()
	}
	if len(e.out) == 0 {
		return transport.TLSEvent{}, false
	}
	ev := e.out[0]
	e.out = e.out[1:]
	return ev, true
}

func (e *script) Handle(level transport.Level, data []byte) {
	e.in[level] = append(e.in[level], data...)
	for !e.failed {
		in := e.in[level]
		if len(in) < 4 {
			return
		}
		n := 4 + int(in[1])<<16 + int(in[2])<<8 + int(in[3])
		if len(in) < n {
			return
		}
		e.in[level] = in[n:]
		e.take(level, in[0], in[:n])
	}
}

// take acts on one message of the peer's.
func (e *script) take(level transport.Level, typ byte, msg []byte) {
	at := transport.LevelHandshake
	switch typ {
	case clientHello, serverHello:
		at = transport.LevelInitial
	case newSessionTicket:
		at = transport.LevelApp
	}
	if level != at || typ != e.want && !(typ == newSessionTicket && e.want == 0 && !e.server) {
		e.fail(10, "unexpected message") // unexpected_message
		return
	}
	body := msg[4:]
	if typ == finished && !bytes.Equal(body, e.hash("finished", sha512.Size)) {
		e.fail(51, "Finished differs") // decrypt_error
		return
	}
	e.said = append(e.said, msg...)
	switch typ {
	case clientHello:
		e.want = finished
		e.answer(body)
	case serverHello:
		e.want = encryptedExtensions
		e.Suite = binary.BigEndian.Uint16(body[randomLen:])
		e.secret(transport.TLSWriteSecret, transport.LevelHandshake, "client handshake")
		e.secret(transport.TLSReadSecret, transport.LevelHandshake, "server handshake")
	case encryptedExtensions:
		e.want = certificate
		_, early, parameters := readHello(body)
		if e.early && !early {
			e.tell(transport.TLSEvent{Kind: transport.TLSEarlyRejected})
		}
		e.tell(transport.TLSEvent{Kind: transport.TLSParameters, Data: parameters})
	case certificate:
		e.want = finished
	case finished:
		e.want = 0
		e.finish()
	}
}

// answer begins the server's flight.
func (e *script) answer(body []byte) {
	_, early, parameters := readHello(body)
	e.early = e.Early && early
	e.tell(transport.TLSEvent{Kind: transport.TLSParameters, Data: parameters})
	e.more = e.flight
}

// flight is the rest of the server's answer.
func (e *script) flight() {
	if e.early {
		e.secret(transport.TLSReadSecret, transport.LevelEarly, "early")
	}
	e.write(transport.LevelInitial, e.message(serverHello, e.ServerHello, hello(e.Suite, false, nil)))
	e.secret(transport.TLSWriteSecret, transport.LevelHandshake, "server handshake")
	e.secret(transport.TLSReadSecret, transport.LevelHandshake, "client handshake")

	extensions := e.message(encryptedExtensions, 0, hello(0, e.early, e.parameters()))
	e.write(transport.LevelHandshake, extensions)
	e.write(transport.LevelHandshake, e.message(certificate, e.Certificate-len(extensions)-finishedLen, nil))
	e.sendFinished()
	e.secret(transport.TLSWriteSecret, transport.LevelApp, "server traffic")
}

// finish ends the handshake: the peer's Finished was right.
func (e *script) finish() {
	if e.server {
		e.secretAt(transport.TLSReadSecret, transport.LevelApp, "client traffic", len(e.said)-finishedLen)
		e.tell(transport.TLSEvent{Kind: transport.TLSDone})
		if e.Ticket > 0 {
			e.write(transport.LevelApp, e.message(newSessionTicket, e.Ticket, nil))
		}
		return
	}
	e.secret(transport.TLSReadSecret, transport.LevelApp, "server traffic")
	traffic := len(e.said)
	e.sendFinished()
	e.secretAt(transport.TLSWriteSecret, transport.LevelApp, "client traffic", traffic)
	e.tell(transport.TLSEvent{Kind: transport.TLSDone})
}

func (e *script) sendFinished() {
	b := append([]byte{finished, 0, 0, sha512.Size}, e.hash("finished", sha512.Size)...)
	e.said = append(e.said, b...)
	e.write(transport.LevelHandshake, b)
}

// message returns a message of at least n bytes which begins with random bytes
// and the given ones.
func (e *script) message(typ byte, n int, content []byte) []byte {
	n = max(n, 4+randomLen+len(content))
	b := make([]byte, n)
	binary.BigEndian.PutUint32(b, uint32(n-4)|uint32(typ)<<24)
	e.rand(b[4 : 4+randomLen])
	for i := 4 + randomLen + copy(b[4+randomLen:], content); i < n; i++ {
		b[i] = byte(i) // so that a piece in the wrong place shows
	}
	e.said = append(e.said, b...)
	return b
}

// hello is what messages carry that carry anything.
func hello(suite uint16, early bool, parameters []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, suite)
	b = append(b, 0)
	if early {
		b[2] = 1
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(parameters)))
	return append(b, parameters...)
}

func readHello(body []byte) (suite uint16, early bool, parameters []byte) {
	b := body[randomLen:]
	return binary.BigEndian.Uint16(b), b[2] == 1, b[5 : 5+binary.BigEndian.Uint16(b[3:])]
}

func (e *script) write(level transport.Level, b []byte) {
	e.tell(transport.TLSEvent{Kind: transport.TLSWriteData, Level: level, Data: b})
}

func (e *script) secret(kind transport.TLSEventKind, level transport.Level, label string) {
	e.secretAt(kind, level, label, len(e.said))
}

// secretAt makes a secret of the first n bytes that were said.
func (e *script) secretAt(kind transport.TLSEventKind, level transport.Level, label string, n int) {
	size, suite := 32, e.Suite
	if level == transport.LevelEarly {
		suite = 0x1301 // both ends know it from the connection before
	}
	if suite == 0x1302 {
		size = 48
	}
	secret := hashOf(e.said[:n], label, size)
	e.tell(transport.TLSEvent{Kind: kind, Level: level, Suite: suite, Data: secret})
}

func (e *script) hash(label string, n int) []byte { return hashOf(e.said, label, n) }

func hashOf(said []byte, label string, n int) []byte {
	h := sha512.New()
	h.Write(said)
	h.Write([]byte(label))
	return h.Sum(nil)[:n]
}

func (e *script) tell(ev transport.TLSEvent) { e.out = append(e.out, ev) }

func (e *script) fail(alert uint8, reason string) {
	e.failed = true
	err := &wire.Error{Code: wire.CryptoError(alert), Frame: wire.FrameCrypto, Reason: reason}
	e.tell(transport.TLSEvent{Kind: transport.TLSError, Err: err})
}
