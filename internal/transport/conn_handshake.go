package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// handshake is what a connection holds only until the handshake is confirmed (RFC 9000 §7).
type handshake struct {
	params   wire.Parameters // ours, as sent
	initial  space
	spaces   [2]*space       // recovery.Initial, which is initial, and recovery.Handshake, nil until there are keys
	early    *protect.Sealer // client: 0-RTT
	earlyIn  *protect.Opener // server: 0-RTT
	token    []byte          // client: of every Initial (RFC 9000 §8.1.2)
	hello    *hello          // server: what has come of the ClientHello, until that or something else has gone to TLS
	deadline mono.Time       // of the whole handshake
	patience mono.Time       // acknowledgements wait for TLS until then; 0: they do not
	paused   bool            // user code is running; the deadline waits
	heard    bool            // client: a packet of the server's was processed
	held     bool            // client: Begin is still to come
	hurries  uint8           // how often the handshake was sent again ahead of a timer
	versions versions
}

// space is the Initial or the Handshake packet number space.
type space struct {
	acks   recovery.Acks
	crypto cryptoStream
	sealer *protect.Sealer
	opener *protect.Opener
	skip   skip
	gone   bool // keys discarded (RFC 9001 §4.9)
}

// waiting is packets that came before their keys (RFC 9001 §5.7). It outlives
// the handshake: TLS gives a server its 1-RTT keys only after it.
type waiting struct {
	list  []undecryptable
	bytes int
}

type undecryptable struct {
	data []byte
	path dgram.Path
	ecn  dgram.ECN
}

// cryptoStream is the handshake bytes of one level, both ways: what is lost goes again with the keys of its level
// (RFC 9001 §4).
type cryptoStream struct {
	out stream.Send
	in  stream.Recv
}

func (s *cryptoStream) init(pool stream.Pool, window int64) {
	s.out.Init(pool, cryptoMost)
	s.in.Init(pool, window)
}

// firstWindow is how many Initial CRYPTO bytes a client takes before TLS has had any: no more than in all,
// for a limit never falls.
const firstWindow = min(cryptoWindow, cryptoInitial) // no limit: of two others

// cryptoMost is how many handshake bytes a level could send: there is no flow control.
const cryptoMost = 1<<62 - 1 // no limit: of the format

func (s *cryptoStream) release() {
	s.out.Release()
	s.in.Release()
}

// earlyState is what has become of 0-RTT.
type earlyState uint8

const (
	earlyNone     earlyState = iota
	earlyTried               // client: 0-RTT keys are in use
	earlyLowered             // client: tried, and the server's new limits are lower
	earlyAccepted            // the server reads it
	earlyRejected
)

func newHandshake(deadline mono.Time, cfg *Config, server bool) *handshake {
	h := &handshake{params: cfg.Params, deadline: deadline}
	window := int64(firstWindow)
	if server {
		h.hello, window = new(hello), maxHello
	}
	h.initial.init(cfg.Pool, recovery.Initial, window)
	h.spaces[recovery.Initial] = &h.initial
	return h
}

func (s *space) init(pool stream.Pool, sp recovery.Space, window int64) {
	s.acks.Init(sp, 0)
	s.crypto.init(pool, window)
}

// handshakeSpace returns the Handshake space, which TLS has a word for now. Before that it is
// memory that a client has not earned.
func (c *Conn) handshakeSpace() *space {
	s := c.hs.spaces[recovery.Handshake]
	if s == nil {
		s = new(space)
		s.init(c.cfg.Pool, recovery.Handshake, cryptoWindow)
		c.hs.spaces[recovery.Handshake] = s
		c.loss.Open(recovery.Handshake)
	}
	return s
}

// rest lays the keys of a server's handshake to rest, when there is nothing to send: until the
// client says more, they are most of what it costs.
func (h *handshake) rest() {
	for _, s := range h.spaces {
		if s == nil {
			continue
		}
		if s.opener != nil {
			s.opener.Rest()
		}
		if s.sealer != nil {
			s.sealer.Rest()
		}
	}
	if h.versions.other != nil {
		h.versions.other.Rest()
	}
}

// setInitialKeys derives the Initial keys of the version in use from the client's
// destination connection ID (RFC 9001 §5.2).
func (c *Conn) setInitialKeys(dcid wire.ConnectionID) {
	sp := &c.hs.initial
	sp.eraseKeys()
	sp.opener, sp.sealer = initialKeys(c.version, dcid, c.server)
	c.loss.HasKeys(recovery.Initial, true)
	if c.qlog != nil {
		c.qlog.key(c, LevelInitial, false, false, 0, "tls")
		c.qlog.key(c, LevelInitial, true, false, 0, "tls")
	}
}

// initialKeys returns the keys of one end for the Initial packets of a version.
func initialKeys(version uint32, dcid wire.ConnectionID, server bool) (*protect.Opener, *protect.Sealer) {
	read, write := protect.InitialSecrets(version, dcid.Bytes())
	if !server {
		read, write = write, read
	}
	defer clear(read)
	defer clear(write)
	return mustOpener(protect.NewOpener(version, initialSuite, read)), mustSealer(protect.NewSealer(version, initialSuite, write))
}

// eraseKeys overwrites the keys of the space and forgets them.
func (s *space) eraseKeys() {
	erase(s.opener, s.sealer)
	s.opener, s.sealer = nil, nil
}

// eraseKeys overwrites what keys there are, when nothing is to be sent or read any more.
func (c *Conn) eraseKeys() {
	c.oneRTT.Erase()
	if c.hs == nil {
		return
	}
	for _, s := range c.hs.spaces {
		if s != nil {
			s.eraseKeys()
		}
	}
	erase(c.hs.earlyIn, c.hs.early)
	erase(c.hs.versions.other, nil)
	c.hs.earlyIn, c.hs.early, c.hs.versions.other = nil, nil, nil
}

// erase overwrites the keys of one level, of which there may be none.
func erase(o *protect.Opener, s *protect.Sealer) {
	if o != nil {
		o.Erase()
	}
	if s != nil {
		s.Erase()
	}
}

const initialSuite = 0x1301 // TLS_AES_128_GCM_SHA256 (RFC 9001 §5.2)

func mustOpener(o *protect.Opener, err error) *protect.Opener {
	if err != nil {
		panic("BUG: Initial keys: " + err.Error())
	}
	return o
}

func mustSealer(s *protect.Sealer, err error) *protect.Sealer {
	if err != nil {
		panic("BUG: Initial keys: " + err.Error())
	}
	return s
}

// PauseHandshakeDeadline stops the handshake's clock while user code runs
// inside it, and starts it afresh afterwards.
func (c *Conn) PauseHandshakeDeadline(now mono.Time, paused bool) {
	if c.hs == nil {
		return
	}
	if c.hs.paused && !paused {
		c.hs.deadline = now.Add(c.cfg.handshakeTimeout())
	}
	c.hs.paused = paused
}

// AwaitTLS tells whether TLS is at work on what EventTLS has brought. While it is, and for
// tlsPatience at most, the acknowledgements of Initial and Handshake packets wait for what it
// has to say, as they would where TLS runs in the same breath: most often that ends the flight.
// RFC 9000 §13.2.1 wants them at once: docs/requirements.tsv has this exception. ACK Delay tells of it.
func (c *Conn) AwaitTLS(now mono.Time, on bool) {
	if c.hs == nil {
		return
	}
	c.hs.patience = 0
	if on {
		c.hs.patience = now.Add(tlsPatience)
	}
}

// ackAt returns when an acknowledgement goes that waits for TLS, mono.Never if none does.
func (h *handshake) ackAt() mono.Time {
	if h.patience > 0 {
		for i := range h.spaces {
			if s := h.spaces[i]; s != nil && s.sealer != nil && s.acks.Deadline() < mono.Never {
				return h.patience
			}
		}
	}
	return mono.Never
}

// Handshake takes what the TLS engine says.
func (c *Conn) Handshake(now mono.Time, e TLSEvent) {
	if c.life.state != active {
		return
	}
	if c.qlog != nil {
		c.qlog.at(now)
	}
	var err *wire.Error
	switch e.Kind {
	case TLSReadSecret:
		err = c.setReadSecret(now, e)
	case TLSWriteSecret:
		err = c.setWriteSecret(e)
	case TLSWriteData:
		c.writeCrypto(e.Level, e.Data)
	case TLSParameters:
		err = c.setPeerParameters(now, e.Data)
	case TLSEarlyRejected:
		c.rejectEarly()
	case TLSDone:
		err = c.handshakeDone(now)
	case TLSError:
		err = e.Err
	}
	if err != nil {
		c.fail(now, err)
	}
}

func (c *Conn) setReadSecret(now mono.Time, e TLSEvent) *wire.Error {
	var err error
	switch e.Level {
	case LevelEarly:
		c.hs.earlyIn, err = protect.NewOpener(c.chosen, e.Suite, e.Data)
		c.early = earlyAccepted
	case LevelHandshake:
		if c.leftOver(recovery.Initial) {
			return frameError(wire.ProtocolViolation, wire.FrameCrypto, "handshake bytes left at the Initial level")
		}
		c.handshakeSpace().opener, err = protect.NewOpener(c.version, e.Suite, e.Data)
	case LevelApp:
		err = c.oneRTT.SetRead(c.version, e.Suite, e.Data)
	}
	if err != nil {
		return internalError(err)
	}
	if c.qlog != nil {
		c.qlog.key(c, e.Level, false, false, 0, "tls")
	}
	c.replayUndecryptable(now)
	return nil
}

func (c *Conn) setWriteSecret(e TLSEvent) *wire.Error {
	var err error
	switch e.Level {
	case LevelEarly:
		if c.cfg.Resumed == nil || c.hs.versions.reacted { // the ticket is of another version
			return nil
		}
		c.hs.early, err = protect.NewSealer(c.chosen, e.Suite, e.Data)
		c.early = earlyTried
		if c.qlog != nil {
			c.qlog.add(&qlog.ParametersRestored{Parameters: *parametersOf(c.peer)})
		}
		c.applyPeerLimits()
	case LevelHandshake:
		c.handshakeSpace().sealer, err = protect.NewSealer(c.version, e.Suite, e.Data)
		c.loss.HasKeys(recovery.Handshake, true)
	case LevelApp:
		err = c.oneRTT.SetWrite(c.version, e.Suite, e.Data)
		c.oneRTT.UpdateAfter = c.cfg.KeyUpdateAfter
		if c.hs != nil && c.hs.early != nil {
			c.hs.early.Erase()
			c.hs.early = nil // RFC 9001 §4.9.3: 1-RTT keys take over
			if c.qlog != nil {
				c.qlog.keysGone(c, LevelEarly, false, true)
			}
		}
		if c.qlog != nil {
			c.qlog.suite = e.Suite
		}
		c.loss.HasKeys(recovery.App, true)
	}
	if err != nil {
		return internalError(err)
	}
	if c.qlog != nil {
		c.qlog.key(c, e.Level, true, false, 0, "tls")
		if e.Level == LevelHandshake {
			c.qlog.handshaking()
		}
		if c.server && e.Level == LevelApp && !c.secure {
			c.qlog.setState("early_write")
		}
	}
	return nil
}

func (c *Conn) writeCrypto(level Level, data []byte) {
	if level == LevelApp && c.postOut == nil {
		c.postOut = new(stream.Send)
		c.postOut.Init(c.cfg.Pool, cryptoMost)
	}
	if s := c.cryptoOut(level); s != nil {
		s.Write(data)
	}
}

// cryptoOut returns our handshake bytes of a level, nil where there are none any more.
func (c *Conn) cryptoOut(level Level) *stream.Send {
	switch {
	case level == LevelApp:
		return c.postOut
	case c.hs == nil:
		return nil
	case level == LevelInitial:
		return &c.hs.initial.crypto.out
	case level == LevelHandshake:
		return &c.handshakeSpace().crypto.out
	}
	return nil
}

// cryptoIn returns the peer's handshake bytes of a level that a CRYPTO frame came at.
func (c *Conn) cryptoIn(sp recovery.Space) *stream.Recv {
	switch {
	case sp != recovery.App && c.hs != nil:
		return &c.hs.spaces[sp].crypto.in
	case sp != recovery.App:
		return nil
	case c.postIn == nil:
		c.postIn = new(stream.Recv)
		c.postIn.Init(c.cfg.Pool, cryptoWindow)
	}
	return c.postIn
}

// onCrypto takes a CRYPTO frame and hands what is in order to TLS.
func (c *Conn) onCrypto(p *received, f wire.Crypto) *wire.Error {
	now, sp := p.now, p.space
	level := levelOf(sp)
	s := c.cryptoIn(sp)
	if s == nil {
		p.waste(wire.FrameCrypto, 1)
		return nil
	}
	before := s.Received()
	_, code := s.Grow(f.Offset, len(f.Data), false)
	if code == wire.NoError {
		if sp != recovery.App && c.levelEnded(sp) && f.Offset+int64(len(f.Data)) > s.Highest() {
			return frameError(wire.ProtocolViolation, wire.FrameCrypto, "handshake bytes at a level that is over")
		}
		if c.hs != nil && c.hs.hello != nil {
			return c.greet(p, s, f)
		}
		code = s.Receive(f.Offset, f.Data, false)
	}
	if code != wire.NoError {
		return frameError(wire.CryptoBufferExceeded, wire.FrameCrypto, "too many handshake bytes")
	}
	p.wasteUnless(s.Received() > before, wire.FrameCrypto)
	if sp != recovery.App && len(f.Data) > 0 {
		c.times.note(HandshakePieces, now, c.stats.datagramsReceived)
	}
	if sp == recovery.Initial && !c.server {
		c.hs.versions.known = true // RFC 9369 §4.1: nobody says that in another version
	}
	c.feed(level, s)
	return nil
}

// feed hands TLS what is in order.
func (c *Conn) feed(level Level, s *stream.Recv) {
	n := s.Readable()
	if n == 0 {
		return
	}
	data := c.events.forTLS(level)
	at := len(*data)
	*data = append(*data, make([]byte, n)...)
	s.Read((*data)[at:])
	s.SetLimit(min(s.Consumed()+cryptoWindow, cryptoTotal[level]))
}

// levelEnded reports whether TLS has moved past the space's level for reading.
func (c *Conn) levelEnded(sp recovery.Space) bool {
	if sp == recovery.Initial {
		s := c.hs.spaces[recovery.Handshake]
		return s != nil && s.opener != nil
	}
	return c.secure
}

// leftOver reports whether handshake bytes wait behind a gap. New keys end a
// level, and nothing of its messages may be left then (RFC 9001 §4.1.3).
func (c *Conn) leftOver(sp recovery.Space) bool {
	s := c.hs.spaces[sp]
	return s != nil && s.crypto.in.Buffered() > 0
}

func levelOf(sp recovery.Space) Level {
	switch sp {
	case recovery.Initial:
		return LevelInitial
	case recovery.Handshake:
		return LevelHandshake
	}
	return LevelApp
}

// rejectEarly starts the streams over: the server took none of the 0-RTT data (RFC 9001 §4.6.2).
func (c *Conn) rejectEarly() {
	if c.early != earlyTried && c.early != earlyLowered {
		return
	}
	c.early = earlyRejected
	if c.qlog != nil && c.hs.early != nil {
		c.qlog.keysGone(c, LevelEarly, false, true)
	}
	erase(nil, c.hs.early)
	c.hs.early = nil
	c.loss.EarlyRejected()
	c.flow.restart()
	c.streams.restart(c)
	c.datagrams.loseAll(c) // what they say may mean something else now
	c.events.push(Event{Kind: EventEarlyRejected})
}

func (c *Conn) handshakeDone(now mono.Time) *wire.Error {
	if !c.peerKnown {
		return &wire.Error{Code: wire.CryptoError(alertMissingExtension), Frame: wire.FrameCrypto, Reason: "no transport parameters"}
	}
	if c.leftOver(recovery.Handshake) {
		return frameError(wire.ProtocolViolation, wire.FrameCrypto, "handshake bytes left at the Handshake level")
	}
	if c.early == earlyLowered {
		return frameError(wire.ProtocolViolation, wire.FrameCrypto, "0-RTT accepted with lower limits than remembered")
	}
	if c.early == earlyTried {
		c.early = earlyAccepted
	}
	c.secure = true
	if c.qlog != nil {
		c.qlog.tlsResult(c)
		c.qlog.setState("handshake_complete")
	}
	c.stats.completed = now
	c.ids.issueMore(c)
	c.events.push(Event{Kind: EventSecure})
	if c.server {
		c.control.handshakeDone.want()
		if c.cfg.Tokens != nil {
			c.control.newToken.want()
		}
		c.confirm(now)
	}
	c.replayUndecryptable(now)
	return nil
}

const alertMissingExtension = 109

// confirm ends the handshake for good (RFC 9001 §4.1.2, §4.9.2).
func (c *Conn) confirm(now mono.Time) {
	if c.confirmed {
		return
	}
	c.confirmed = true
	if c.qlog != nil {
		c.qlog.setState("handshake_confirmed")
	}
	c.stats.confirmed = now
	c.dropSpace(now, recovery.Initial)
	c.dropSpace(now, recovery.Handshake)
	if c.hs.earlyIn != nil {
		c.oneRTT.AddFailures(c.hs.earlyIn.Failures())
		c.hs.earlyIn.Erase()
		if c.qlog != nil {
			c.qlog.keysGone(c, LevelEarly, true, false)
		}
	}
	c.hs, c.params = nil, &c.cfg.Params
	c.loss.SetPeerValidated()
	c.loss.Confirmed()
	c.loss.AppOnly()
	if c.server {
		c.ids.originalUntil = now.Add(3 * c.loss.PTO(recovery.App))
	}
	c.mtu.start()
	c.events.push(Event{Kind: EventConfirmed})
	if c.peer.PreferredAddress != nil && !c.server {
		c.events.push(Event{Kind: EventPreferredAddress})
		if c.cfg.AcceptPreferred {
			c.goPreferred(now)
		}
	}
}

// dropSpace discards the keys of the Initial or Handshake space.
func (c *Conn) dropSpace(now mono.Time, sp recovery.Space) {
	if c.hs == nil || c.hs.spaces[sp] == nil || c.hs.spaces[sp].gone {
		return
	}
	s := c.hs.spaces[sp]
	if s.opener != nil {
		c.oneRTT.AddFailures(s.opener.Failures()) // RFC 9001 §6.6 counts over all keys
	}
	if sp == recovery.Initial {
		c.dropOtherInitial()
	}
	s.gone = true
	if c.qlog != nil {
		c.qlog.keysGone(c, levelOf(sp), s.opener != nil, s.sealer != nil)
	}
	s.eraseKeys()
	s.crypto.release()
	c.loss.DropSpace(now, sp)
}

// keepUndecryptable copies a packet whose keys may still come (RFC 9001 §5.7).
func (c *Conn) keepUndecryptable(d *dgram.Datagram, pkt []byte) {
	w, most := &c.waiting, maxUndecryptableBytes
	if c.hs != nil && c.hs.hello != nil {
		most = maxHello - len(c.hs.hello.bytes)
	}
	if len(w.list) >= maxUndecryptable || w.bytes+len(pkt) > most {
		c.ignore(pkt, dropRejected, "too much waits for keys already")
		return
	}
	w.list = append(w.list, undecryptable{append([]byte(nil), pkt...), d.Path, d.ECN})
	w.bytes += len(pkt)
	if c.qlog != nil {
		c.qlog.packetKept(pkt)
	}
}

// cutWaiting forgets the last packets that wait for keys until the others have so many bytes at most.
func (c *Conn) cutWaiting(most int) {
	w := &c.waiting
	for n := len(w.list); n > 0 && w.bytes > most; n-- {
		c.ignore(w.list[n-1].data, dropRejected, "a ClientHello takes the room")
		w.bytes -= len(w.list[n-1].data)
		w.list[n-1] = undecryptable{}
		w.list = w.list[:n-1]
	}
}

// replayUndecryptable tries the packets that waited for keys again.
func (c *Conn) replayUndecryptable(now mono.Time) {
	list := c.waiting.list
	c.waiting = waiting{}
	for i := range list {
		w := &list[i]
		c.receivePackets(now, &dgram.Datagram{Data: w.data, Path: w.path, ECN: w.ecn}, true)
	}
}
