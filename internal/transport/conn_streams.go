package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// Stream is one stream of a connection. Its owner passes it to the Conn's
// commands; it stays valid, if dead, after EventStreamDone. Each half has its flow control
// until it is over (RFC 9000 §4.4).
type Stream struct {
	// Value is the owner's: the connection does not look at it.
	Value any

	id      int64
	send    stream.Send
	recv    stream.Recv
	window  stream.Window // credit we grant for it
	gaps    int32         // holes in recv that the connection has counted
	place   int32         // in the schedule's line of streams
	counted int64         // consumed bytes that the connection's window has counted
	created mono.Time

	local    bool
	canSend  bool
	canRecv  bool
	early    bool // opened by 0-RTT data
	gone     bool // out of the table
	untaken  bool // Withhold was called, and Take was not
	left     bool // likewise, with the connection, but what has come can still be read
	starved  bool // a write was refused; EventWritable is owed
	noticed  bool // an EventReadable waits in the queue
	halted   bool // an EventBlocked does
	acked    bool // all was acknowledged, and EventStreamAcked told it
	watched  bool // WatchAcks was called
	progress bool // an EventStreamAcked waits in the queue

	pieceFrames uint8 // frames of the piece in clocks; 0 before the first
	highWater   int32

	queue       queue // where it waits to send data
	control     bool  // waits to send control frames
	incremental bool
	urgency     uint8
	loggedSend  stream.SendState // as in the log
	loggedRecv  stream.RecvState
	blockedFor  blockedReason

	next     *Stream // in the queue, if that is a list
	prev     *Stream
	nextCtl  *Stream // among those that wait to send control frames
	maxData  signal
	stop     signal
	blocked  signal
	stopCode uint64
	stalled  int64 // the limit that last stopped it, plus one
	starving int64 // see received.blockedAt
	stats    streamCounters
	clocks   streamClocks
}

// ID returns the stream's number (RFC 9000 §2.1).
func (s *Stream) ID() int64 { return s.id }

// Uni reports whether data flows in one direction only.
func (s *Stream) Uni() bool { return s.id&2 != 0 }

// Local reports whether this end opened the stream.
func (s *Stream) Local() bool { return s.local }

// CanSend reports whether the stream has a sending half.
func (s *Stream) CanSend() bool { return s.canSend }

// CanReceive reports whether the stream has a receiving half.
func (s *Stream) CanReceive() bool { return s.canRecv }

// Early reports whether the stream was opened by 0-RTT data, which may be a replay.
func (s *Stream) Early() bool { return s.early }

// Buffered returns how many written bytes are kept because they are not acknowledged.
func (s *Stream) Buffered() int64 { return s.send.Buffered() }

// Unsent returns how many written bytes have not been sent once.
func (s *Stream) Unsent() int64 { return s.send.Unsent() }

// AckedPrefix returns how many bytes from the start are acknowledged without a hole.
func (s *Stream) AckedPrefix() int64 {
	if !s.canSend {
		return 0
	}
	return s.send.AckedPrefix()
}

// WatchAcks makes EventStreamAcked tell of each piece that is acknowledged next in order,
// and not only of the end.
func (s *Stream) WatchAcks(on bool) { s.watched = on }

// Held reports whether there is data that flow control holds back.
func (s *Stream) Held() bool {
	return s.canSend && s.send.Unsent() > 0 && (s.queue == queueBlocked || s.send.Offset() >= s.send.Max())
}

// ResetCode returns the code of the peer's RESET_STREAM, if one was accepted.
func (s *Stream) ResetCode() (uint64, bool) {
	if !s.canRecv {
		return 0, false
	}
	return s.recv.ResetCode()
}

// Readable returns how many bytes Read would find.
func (s *Stream) Readable() int64 { return s.recv.Readable() }

// Left reports whether the connection is over, by the peer's will and in order, and what came
// before on the stream can still be read.
func (s *Stream) Left() bool { return s.left }

// streams is the table of streams and the queues of those with something to send.
type streams struct {
	table map[int64]*Stream
	last  *Stream // the one looked up last

	opened  [2]int64 // streams we opened, by kind
	max     [2]int64 // streams the peer lets us open
	wanting [2]bool  // an OpenStream was refused; EventCredit is owed
	keeps   bool     // a stream may be in queueKept
	widest  int32    // congestion window since more than one was retained
	blocked [2]signal

	retained int64 // over all streams, of stream.Send.Retained (conn_retained.go)

	peerOpened [2]int64      // highest stream of the peer's plus one
	untouched  [2]ranges.Set // below that, and no frame has named them yet
	peerDone   [2]int64      // streams of the peer's that are over and taken
	peerLimit  [2]int64      // streams the peer may have open at once
	granted    [2]int64      // streams the peer may open in all, as it knows
	owed       [2]bool       // the peer has asked for more when there was none
	pages      shared        // of their histograms
	gaps       int32         // holes in received data, over all streams
	grants     [2]signal

	peerBlocked [2]int64 // see received.blockedAt

	ready   schedule   // queueReady
	waiting streamList // queueBlocked and queueKept
	ctl     streamList // linked through nextCtl
}

func kind(uni bool) int {
	if uni {
		return 1
	}
	return 0
}

func (s *streams) init(c *Conn) {
	s.peerLimit = [2]int64{c.params.MaxStreamsBidi, c.params.MaxStreamsUni}
	s.granted = s.peerLimit
}

// OpenStream opens a stream, nil if the peer does not allow another one now;
// EventCredit then tells when it does.
func (c *Conn) OpenStream(now mono.Time, uni bool) *Stream {
	s, k := &c.streams, kind(uni)
	if c.life.state != active {
		return nil
	}
	if s.opened[k] >= s.max[k] {
		s.wanting[k] = true
		if c.secure && !s.blocked[k].pending() {
			s.blocked[k].want()
		}
		return nil
	}
	id := s.opened[k]<<2 | int64(k)<<1
	if c.server {
		id |= 1
	}
	s.opened[k]++
	st := c.newStream(now, id, true)
	if uni {
		c.stats.uniOpened++
	} else {
		c.stats.bidiOpened++
	}
	return st
}

func (c *Conn) newStream(now mono.Time, id int64, local bool) *Stream {
	st := &Stream{id: id, local: local, created: now, highWater: HighWater, urgency: DefaultUrgency, incremental: true}
	uni := st.Uni()
	st.canSend, st.canRecv = !uni || local, !uni || !local
	if st.canSend {
		st.send.Init(c.cfg.Pool, c.peerStreamLimit(st))
	}
	if st.canRecv {
		window := c.params.MaxStreamDataUni
		if !uni && local {
			window = c.params.MaxStreamDataBidiLocal
		} else if !uni {
			window = c.params.MaxStreamDataBidiRemote
		}
		st.window.Init(window, max(window, c.cfg.maxStreamWindow()))
		st.recv.Init(c.cfg.Pool, window)
	}
	if c.streams.table == nil {
		c.streams.table = make(map[int64]*Stream)
	}
	c.streams.table[id] = st
	c.streams.last = st
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.streamStates(st, initiator(local))
	}
	return st
}

// peerStreamLimit returns what the peer's parameters let us send on a stream.
func (c *Conn) peerStreamLimit(st *Stream) int64 {
	switch {
	case st.Uni():
		return c.peer.MaxStreamDataUni
	case st.local:
		return c.peer.MaxStreamDataBidiRemote
	}
	return c.peer.MaxStreamDataBidiLocal
}

func (s *streams) find(id int64) *Stream {
	if s.last != nil && s.last.id == id {
		return s.last
	}
	st := s.table[id]
	if st != nil {
		s.last = st
	}
	return st
}

// incoming returns the stream that a frame names, opening it if the peer may.
// It returns nil for a stream that is over. receives says which half of ours
// the frame is for.
func (c *Conn) incoming(now mono.Time, id int64, receives bool, t wire.FrameType) (*Stream, *wire.Error) {
	s := &c.streams
	if st := s.find(id); st != nil {
		if receives && !st.canRecv || !receives && !st.canSend {
			return nil, frameError(wire.StreamStateError, t, "stream goes the other way")
		}
		return st, nil
	}
	local := (id&1 == 1) == c.server
	uni, index := id&2 != 0, id>>2
	k := kind(uni)
	switch {
	case uni && local == receives:
		return nil, frameError(wire.StreamStateError, t, "stream goes the other way")
	case local && index >= s.opened[k]:
		return nil, frameError(wire.StreamStateError, t, "stream was not opened")
	case local:
		return nil, nil
	case index >= s.granted[k]: // RFC 9000 §4.6
		return nil, frameError(wire.StreamLimitError, t, "more streams than allowed")
	case index < s.peerOpened[k] && !s.untouched[k].Contains(index):
		return nil, nil
	}
	if index >= s.peerOpened[k] { // opens the ones below as well (RFC 9000 §3.2)
		s.untouched[k].Add(s.peerOpened[k], index)
		s.peerOpened[k] = index + 1
		s.grant(c, uni, false)
	} else {
		s.untouched[k].Remove(index, index+1)
	}
	st := c.newStream(now, id, false)
	if uni {
		c.stats.peerUniOpened++
	} else {
		c.stats.peerBidiOpened++
	}
	c.events.push(Event{Kind: EventStream, Stream: st, Uni: uni})
	return st, nil
}

// reap takes a stream that is over in both directions out of the table.
func (c *Conn) reap(st *Stream) {
	if st.gone || st.canSend && !st.send.Done() || st.canRecv && !st.recv.Done() {
		return
	}
	s := &c.streams
	st.gone = true
	s.leave(st)
	if c.qlog != nil {
		c.qlog.streamGone(st)
	}
	delete(s.table, st.id)
	if s.last == st {
		s.last = nil
	}
	if !st.untaken {
		s.pages.giveBackAll(st)
	}
	if !st.local && !st.untaken {
		s.peerDone[kind(st.Uni())]++
		s.grant(c, st.Uni(), false)
	}
	c.events.push(Event{Kind: EventStreamDone, Stream: st})
}

// Withhold makes a stream of the peer's count as open until Take, also when it is over: its owner has heard
// of it, but goes on keeping it for somebody. It is for EventStream, before anything else is done.
func (c *Conn) Withhold(st *Stream) { st.untaken = !st.gone }

// Take is the end of Withhold. It reports whether the peer may open another stream for it, as it may
// when the stream is over already.
func (c *Conn) Take(st *Stream) bool {
	if !st.untaken {
		return false
	}
	st.untaken = false
	if st.gone {
		c.streams.pages.giveBackAll(st)
	}
	if !st.gone || c.life.state != active {
		return false
	}
	c.streams.peerDone[kind(st.Uni())]++
	c.streams.grant(c, st.Uni(), false)
	return true
}

// grant lets the peer open as many streams as have ended. The frame goes by
// itself when an eighth of the limit has piled up, or the peer is out of
// credit or has asked for more; otherwise it rides along.
func (s *streams) grant(c *Conn, uni, asked bool) {
	k := kind(uni)
	limit := min(s.peerLimit[k]+s.peerDone[k], 1<<60)
	due := limit-s.granted[k] > s.peerLimit[k]/8 || s.peerOpened[k] == s.granted[k] || asked || s.owed[k]
	s.owed[k] = (asked || s.owed[k]) && limit <= s.granted[k]
	if limit > s.granted[k] && due || asked {
		s.granted[k] = limit
		s.grants[k].want()
	}
}

// PeerStreams returns how many streams of a kind the peer may open in all, as it knows.
func (c *Conn) PeerStreams(uni bool) int64 { return c.streams.granted[kind(uni)] }

// setMax takes the peer's limit on streams that we open, and reports whether it rose; one that does not is ignored
// (RFC 9000 §4.6).
func (s *streams) setMax(c *Conn, uni bool, limit int64) (raised bool) {
	k := kind(uni)
	if limit <= s.max[k] {
		return false
	}
	beyond := s.opened[k] > s.max[k] // 0-RTT was refused; else no stream that is open waits for this limit
	s.max[k] = limit
	s.blocked[k].clear()
	if beyond {
		s.unblock(c)
	}
	if s.wanting[k] {
		s.wanting[k] = false
		c.events.push(Event{Kind: EventCredit, Uni: uni})
	}
	return true
}

// applyPeerLimits takes the limits in the peer's parameters.
func (c *Conn) applyPeerLimits() {
	c.flow.out.Add(c.peer.MaxData)
	if c.qlog != nil {
		c.qlog.block(blockedConnection, c.flow.out.Left() == 0)
	}
	c.streams.setMax(c, false, c.peer.MaxStreamsBidi)
	c.streams.setMax(c, true, c.peer.MaxStreamsUni)
	for _, st := range c.streams.table {
		if st.canSend {
			st.send.SetMax(c.peerStreamLimit(st))
		}
	}
	c.streams.unblock(c)
	for _, st := range c.streams.sorted() {
		c.streams.enqueue(c, st)
	}
}

// restart makes all streams send again from the start, after the server
// refused 0-RTT: within its new limits, as their priorities have it, and in the
// order of their numbers.
func (s *streams) restart(c *Conn) {
	s.max = [2]int64{}
	if !c.peerKnown {
		c.peer = &unsaid
	}
	s.ready, s.waiting = schedule{}, streamList{}
	s.retained = 0
	for _, st := range s.sorted() {
		st.queue, st.next, st.prev = queueNone, nil, nil
		if st.canSend {
			st.send.Restart()
		}
		st.stop.resend()
		st.blocked.clear()
		s.enqueueControl(st)
	}
	c.applyPeerLimits()
}

// release drops the data of all streams, because the connection is over. With keep
// what is whole can still be read: the peer has been told that it arrived. So can all on the peer's
// unidirectional streams, if these are talk about the others.
func (s *streams) release(c *Conn, keep bool) {
	for _, st := range s.table {
		if st.canSend {
			st.send.Release()
		}
		if keep && st.canRecv && (st.recv.Whole() || c.keepUni && !st.canSend) {
			st.left = true
			continue
		}
		if st.canRecv {
			st.recv.Release()
		}
		st.gone = true
	}
	s.table, s.last = nil, nil
	s.ready, s.waiting, s.ctl = schedule{}, streamList{}, streamList{}
	s.retained = 0
}

func (s *streams) enqueueControl(st *Stream) {
	if st.control || st.gone {
		return
	}
	st.control = true
	if s.ctl.tail == nil {
		s.ctl.head = st
	} else {
		s.ctl.tail.nextCtl = st
	}
	s.ctl.tail = st
}

// appendStream writes one STREAM frame, and reports whether it wrote one.
func (s *streams) appendStream(c *Conn, d *datagram, pk *packet, st *Stream) bool {
	if !s.within(st) {
		return false
	}
	off, n, fin, fresh, ok := st.send.Next(d.room(), c.fresh())
	if !ok {
		return false
	}
	want, room := n, d.room()
	header := wire.StreamHeaderLen(st.id, off, n, true)
	hasLen := true
	if bare := wire.StreamHeaderLen(st.id, off, 0, false); c.hs == nil && n >= room-bare {
		n, hasLen = room-bare, false // the frame ends with the packet
	} else if n > room-header {
		n = room - header
	}
	fin = fin && n == want
	if fresh > 0 {
		fresh = int64(n)
	}
	d.b = wire.AppendStreamHeader(d.b, st.id, off, n, hasLen, fin)
	at := len(d.b)
	d.b = d.b[:at+n]
	st.send.Take(d.b[at:], off, n, fin)
	c.flow.out.Take(fresh)
	s.retained += fresh
	c.stats.streamBytesSent += uint64(n)
	if fresh == 0 && n > 0 {
		c.stats.bytesResent += uint64(n)
	}
	pk.eliciting = true
	f := recovery.Frame{Kind: sentStream, ID: st.id, Off: off, Len: uint32(n)}
	if fin {
		f.Flag = 1
	}
	c.record(f)
	if c.qlog != nil {
		c.qlog.streamStates(st, qlog.Local)
	}
	s.writable(c, st)
	return true
}

// writable tells a writer who waits that the stream takes more, once it does.
func (s *streams) writable(c *Conn, st *Stream) {
	if st.starved && st.send.Unsent() < int64(st.highWater) {
		st.starved = false
		c.events.push(Event{Kind: EventWritable, Stream: st})
	}
}

// appendControl writes the control frames of streams.
func (s *streams) appendControl(c *Conn, now mono.Time, d *datagram, pk *packet) {
	for s.ctl.head != nil && d.room() >= 4*maxFrameLen {
		st := s.ctl.head
		s.ctl.head = st.nextCtl
		if s.ctl.head == nil {
			s.ctl.tail = nil
		}
		st.nextCtl, st.control = nil, false
		if !st.gone {
			s.appendStreamControl(c, d, pk, st)
		}
	}
}

func (s *streams) appendStreamControl(c *Conn, d *datagram, pk *packet, st *Stream) {
	if !s.within(st) {
		if st.queue == queueNone {
			s.block(st)
		}
		return
	}
	if st.canRecv {
		if st.maxData.wanted() && st.recv.FinalSize() < 0 {
			d.b = wire.MaxStreamData{ID: st.id, Max: st.window.Limit()}.Append(d.b)
			c.mark(pk, &st.maxData, recovery.Frame{Kind: sentMaxStreamData, ID: st.id})
		}
		if st.stop.wanted() && !st.recv.Done() { // RFC 9000 §13.3: not once the peer has ended it
			d.b = wire.StopSending{ID: st.id, Code: st.stopCode}.Append(d.b)
			c.mark(pk, &st.stop, recovery.Frame{Kind: sentStop, ID: st.id})
		}
	}
	if !st.canSend {
		return
	}
	if code, size, ok := st.send.PackReset(); ok {
		d.b = wire.ResetStream{ID: st.id, Code: code, FinalSize: size}.Append(d.b)
		pk.eliciting = true
		c.record(recovery.Frame{Kind: sentReset, ID: st.id})
	}
	if limit, ok := st.send.Blocked(); ok {
		d.b = wire.StreamDataBlocked{ID: st.id, Limit: limit}.Append(d.b)
		c.mark(pk, &st.blocked, recovery.Frame{Kind: sentStreamBlocked, ID: st.id})
	}
}
