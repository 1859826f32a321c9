package transport

import (
	"io"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// HighWater is how many unsent bytes of a stream make Write refuse more, unless
// SetHighWater says otherwise.
const HighWater = 16 << 10

// SetHighWater makes Write refuse more while n bytes or more are unsent, and
// take more again below. With 0 each write waits until the last has left.
func (s *Stream) SetHighWater(n int) { s.highWater = int32(min(max(n, 1), stream.MaxChunk)) }

// Write copies the front of p, and returns how much: at most what fits one
// batch. After 0 EventWritable tells when to try again. The error is ErrClosed,
// ErrWriteClosed or a *StreamError.
func (c *Conn) Write(s *Stream, p []byte) (int, error) {
	if err := c.WriteError(s); err != nil {
		return 0, err
	}
	unsent := s.send.Unsent()
	if unsent >= int64(s.highWater) && len(p) > 0 {
		s.starved = true
		return 0, nil
	}
	n := max(min(len(p), stream.MaxChunk-int(unsent)), 0) // a chunk may have gone past that
	s.send.Write(p[:n])
	if c.qlog != nil && n > 0 {
		c.qlog.written(s, n, "")
	}
	c.streams.enqueue(c, s)
	return n, nil
}

// WriteChunk takes the first n bytes of a chunk whole and without a copy, and with them the
// chunk. It reports false where Write would return 0, and the chunk stays the caller's then and
// with an error.
func (c *Conn) WriteChunk(s *Stream, ch *stream.Chunk, n int) (bool, error) {
	if err := c.WriteError(s); err != nil {
		return false, err
	}
	if s.send.Unsent() >= int64(s.highWater) {
		s.starved = true
		return false, nil
	}
	s.send.WriteChunk(ch, n)
	if c.qlog != nil {
		c.qlog.written(s, n, "")
	}
	c.streams.enqueue(c, s)
	return true, nil
}

// WriteError returns the error that a Write would have: ErrClosed, ErrWriteClosed or a
// *StreamError; nil if there is none.
func (c *Conn) WriteError(s *Stream) error {
	switch {
	case c.life.state != active:
		return ErrClosed
	case !s.canSend:
		return ErrWriteClosed
	case s.stats.stopped:
		return &StreamError{Code: s.stats.code, Remote: true}
	}
	switch s.send.State() {
	case stream.SendReady, stream.SendSend:
		if s.stats.finished {
			return ErrWriteClosed
		}
		return nil
	case stream.SendResetSent, stream.SendResetRecvd:
		return &StreamError{Code: s.stats.code}
	}
	return ErrWriteClosed
}

// CloseWrite ends the sending half after what was written (FIN).
func (c *Conn) CloseWrite(s *Stream) error {
	if err := c.WriteError(s); err != nil {
		return err
	}
	s.stats.finished = true
	s.send.Finish()
	if c.qlog != nil {
		c.qlog.written(s, 0, "fin_set")
	}
	c.streams.enqueue(c, s)
	return nil
}

// Reset ends the sending half at once with an application's code, which is nobody else's
// to choose (RFC 9000 §11.2); unsent data is dropped.
func (c *Conn) Reset(s *Stream, code uint64) {
	if c.life.state != active || !s.canSend || s.gone {
		return
	}
	if c.resetSend(s, code) {
		s.stats.code = code
		if c.qlog != nil {
			c.qlog.written(s, 0, "stream_reset")
			c.qlog.streamStates(s, qlog.Local)
		}
		c.streams.enqueueControl(s)
	}
	c.wakeWriter(s)
}

// resetSend resets the sending half, and reports whether it was not yet over.
func (c *Conn) resetSend(s *Stream, code uint64) bool {
	kept := s.send.Retained()
	if !s.send.Reset(code) {
		return false
	}
	c.streams.leave(s)
	c.streams.retained -= kept
	c.streams.settle(c)
	return true
}

// wakeWriter says that a write which waits will not succeed any more.
func (c *Conn) wakeWriter(s *Stream) {
	s.starved = false
	c.events.push(Event{Kind: EventWritable, Stream: s})
}

// Read copies what has arrived in order to p. It returns 0 and nil if there is
// nothing yet, for which EventReadable is the signal; io.EOF at the end; a
// *StreamError after the peer's reset; ErrReadClosed after Stop; ErrClosed.
func (c *Conn) Read(now mono.Time, s *Stream, p []byte) (int, error) {
	if !s.canRecv {
		return 0, ErrReadClosed
	}
	n := 0
	if !s.gone {
		n = s.recv.Read(p)
	}
	return n, c.afterRead(now, s, n)
}

// afterRead counts what was read and finds the error that goes with nothing.
func (c *Conn) afterRead(now mono.Time, s *Stream, n int) error {
	if c.qlog != nil {
		c.qlog.at(now)
		if n > 0 {
			c.qlog.read(s, n, "")
		}
	}
	c.consumed(now, s)
	var err error
	if n == 0 {
		switch code, reset := s.recv.ResetCode(); {
		case s.recv.EOF():
			err = io.EOF
		case s.recv.Stopped():
			err = ErrReadClosed
		case reset:
			s.recv.ReadReset()
			if c.qlog != nil {
				c.qlog.read(s, 0, "stream_reset")
			}
			err = &StreamError{Code: code, Remote: true}
		case c.life.state != active:
			return ErrClosed
		}
	}
	if c.life.state == active {
		if c.qlog != nil {
			c.qlog.streamStates(s, qlog.Local)
		}
		c.reap(s)
	}
	return err
}

// SetReader lends the connection the slice of a reader that waits: data that
// comes in order goes straight into it until TakeReader takes it back.
func (c *Conn) SetReader(s *Stream, p []byte) {
	if !s.gone {
		s.recv.SetReader(p)
	}
}

// TakeReader takes the lent slice back and returns how many bytes are in it.
func (c *Conn) TakeReader(now mono.Time, s *Stream) int {
	n := s.recv.TakeReader()
	if c.qlog != nil && n > 0 {
		c.qlog.at(now)
		c.qlog.read(s, n, "")
	}
	c.consumed(now, s)
	if n > 0 && c.life.state == active {
		c.reap(s)
	}
	return n
}

// Peek returns what has arrived next, in one piece, without copying; nil if
// there is nothing. It is valid until the next call.
func (c *Conn) Peek(s *Stream) []byte {
	if s.gone || !s.canRecv {
		return nil
	}
	return s.recv.Peek()
}

// Discard counts n peeked bytes as read.
func (c *Conn) Discard(now mono.Time, s *Stream, n int) {
	if s.gone {
		return
	}
	s.recv.Discard(n)
	c.afterRead(now, s, n)
}

// Stop drops what has arrived and what will, and asks the peer to send no more
// (STOP_SENDING, RFC 9000 §3.5).
func (c *Conn) Stop(now mono.Time, s *Stream, code uint64) {
	if c.life.state != active || !s.canRecv || s.gone {
		return
	}
	if _, reset := s.recv.ResetCode(); reset {
		s.recv.ReadReset()
	}
	if s.recv.Stop() {
		s.stopCode = code
		s.stop.want()
		c.streams.enqueueControl(s)
	}
	c.countGaps(s)
	c.consumed(now, s)
	c.readable(s)
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.streamStates(s, qlog.Local)
	}
	c.reap(s)
}

// WindowDue reports whether there is a new limit for data to be sent, of the connection or of a stream.
func (c *Conn) WindowDue() bool { return c.flow.maxData.wanted() || c.streams.ctl.head != nil }

// CreditDue reports whether there is credit, or a control frame of a stream, to be
// sent: cheap to ask after Read, Discard and Stop.
func (c *Conn) CreditDue() bool {
	s := &c.streams
	return c.WindowDue() || s.grants[0].wanted() || s.grants[1].wanted()
}

// readable says that a read would return something.
func (c *Conn) readable(s *Stream) {
	if !s.noticed {
		s.noticed = true
		c.events.push(Event{Kind: EventReadable, Stream: s})
	}
}

// consumed counts bytes that have left a stream's buffer, and grants the peer
// as many anew.
func (c *Conn) consumed(now mono.Time, s *Stream) {
	total := s.recv.Consumed()
	if total == s.counted || c.life.state != active {
		return
	}
	rtt, shortest := c.loss.SmoothedRTT(), c.loss.RTT().Min
	if s.recv.FinalSize() < 0 && !s.recv.Stopped() {
		if limit, update := s.window.Consumed(now, total, rtt, shortest); update {
			s.recv.SetLimit(limit)
			s.maxData.want()
			c.streams.enqueueControl(s)
		}
	}
	c.flow.consume(now, total-s.counted, rtt, shortest, s)
	s.counted = total
}

// onStream takes a STREAM frame.
func (c *Conn) onStream(p *received, f wire.Stream) *wire.Error {
	s, err := c.incoming(p.now, f.ID, true, wire.FrameStream)
	if s == nil {
		p.waste(wire.FrameStream, 1)
		return err
	}
	if p.typ == wire.ZeroRTT {
		s.early = true
	}
	fresh, code := s.recv.Grow(f.Offset, len(f.Data), f.Fin)
	if code == wire.NoError && !c.flow.receive(fresh) {
		code = wire.FlowControlError
	}
	ended := f.Fin && s.recv.FinalSize() < 0
	before := s.recv.Received() // some of it may have come already
	if code == wire.NoError {
		code = s.recv.Receive(f.Offset, f.Data, f.Fin)
	}
	if code != wire.NoError {
		return frameError(code, wire.FrameStream, "data past a limit or the end")
	}
	got := s.recv.Received() - before
	if fresh > 0 || got > 0 || ended {
		p.useful = true
	} else {
		p.waste(wire.FrameStream, 1)
	}
	s.received(&c.streams.pages, p.now, got)
	if c.countGaps(s); c.streams.gaps > maxGaps {
		return frameError(wire.InternalError, wire.FrameStream, "too many holes in the data of all streams")
	}
	c.stats.streamBytesReceived += uint64(fresh)
	c.arrived(p.now, s)
	return nil
}

// countGaps keeps the sum of holes over all streams.
func (c *Conn) countGaps(s *Stream) {
	n := s.recv.Gaps()
	c.streams.gaps += int32(n) - s.gaps
	s.gaps = int32(n)
}

// arrived tells the owner of what a frame brought for the receiving half.
func (c *Conn) arrived(now mono.Time, s *Stream) {
	if c.qlog != nil {
		c.qlog.streamStates(s, qlog.Remote)
	}
	before := s.counted
	c.consumed(now, s)
	if s.recv.Stopped() {
		c.reap(s)
		return
	}
	direct := s.counted > before // went straight into a waiting reader's slice
	if _, reset := s.recv.ResetCode(); reset || direct || s.recv.Readable() > 0 || s.recv.EOF() {
		c.readable(s)
	}
}

// onReset takes RESET_STREAM.
func (c *Conn) onReset(p *received, f wire.ResetStream) *wire.Error {
	now := p.now
	s, err := c.incoming(now, f.ID, true, wire.FrameResetStream)
	if s == nil {
		p.waste(wire.FrameResetStream, 1)
		return err
	}
	p.cut(s, wire.FrameResetStream, s.recv.FinalSize() >= 0)
	fresh, code := s.recv.Grow(f.FinalSize, 0, true)
	if code == wire.NoError && !c.flow.receive(fresh) {
		code = wire.FlowControlError
	}
	if code == wire.NoError {
		_, code = s.recv.Reset(f.Code, f.FinalSize)
	}
	if code != wire.NoError {
		return frameError(code, wire.FrameResetStream, "final size breaks a limit or an earlier one")
	}
	c.countGaps(s)
	c.arrived(now, s)
	return nil
}

// onStopSending takes STOP_SENDING: the sending half is reset with the peer's code.
func (c *Conn) onStopSending(p *received, f wire.StopSending) *wire.Error {
	s, err := c.incoming(p.now, f.ID, false, wire.FrameStopSending)
	if s == nil || s.stats.stopped || s.stats.crossed {
		p.waste(wire.FrameStopSending, 1)
		return err
	}
	if !c.resetSend(s, f.Code) {
		s.stats.crossed = true // our end, which the peer did not know of
		return nil
	}
	p.cut(s, wire.FrameStopSending, false)
	s.stats.stopped, s.stats.code = true, f.Code
	if c.qlog != nil {
		c.qlog.streamStates(s, qlog.Remote)
	}
	c.streams.enqueueControl(s)
	c.events.push(Event{Kind: EventStopped, Stream: s, Code: f.Code})
	c.wakeWriter(s)
	return nil
}

// onMaxStreamData takes MAX_STREAM_DATA.
func (c *Conn) onMaxStreamData(p *received, f wire.MaxStreamData) *wire.Error {
	s, err := c.incoming(p.now, f.ID, false, wire.FrameMaxStreamData)
	if s == nil {
		p.waste(wire.FrameMaxStreamData, 1)
		return err
	}
	if p.raised(s.send.SetMax(f.Max), wire.FrameMaxStreamData) {
		s.blocked.clear()
		c.streams.enqueue(c, s)
	}
	return nil
}

// onStreamDataBlocked takes STREAM_DATA_BLOCKED: our last word may have been lost.
func (c *Conn) onStreamDataBlocked(p *received, f wire.StreamDataBlocked) *wire.Error {
	s, err := c.incoming(p.now, f.ID, true, wire.FrameStreamDataBlocked)
	if s == nil {
		p.waste(wire.FrameStreamDataBlocked, 1)
		return err
	}
	p.blockedAt(f.Limit, s.window.Limit(), &s.starving, wire.FrameStreamDataBlocked)
	if s.window.Limit() > f.Limit {
		s.maxData.want()
		c.streams.enqueueControl(s)
	}
	return nil
}

// sorted returns all streams in the order of their numbers.
func (s *streams) sorted() []*Stream {
	list := make([]*Stream, 0, len(s.table))
	for _, st := range s.table {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b *Stream) int { return int(a.id - b.id) })
	return list
}
