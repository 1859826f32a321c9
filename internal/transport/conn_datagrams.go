package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// datagrams is the application's unreliable datagrams, both ways (RFC 9221). Those that
// leave are congestion controlled and are never sent again; each has a number, from 1 on,
// under which its fate is told, once. Those that come wait in a bounded queue, from
// which the oldest has to go when a newer one needs its place.
type datagrams struct {
	out    datagramQueue
	sent   uint64     // numbers of those that have left the queue: up to this one
	last   uint64     // number given last
	open   ranges.Set // numbers whose fate has not been told
	yields bool       // the next packet is stream data's first

	in   datagramQueue
	told bool // an EventDatagram is in the queue of events
}

// needDatagrams makes room for the first datagram: most connections have none.
func (c *Conn) needDatagrams() *datagrams {
	if c.datagrams == nil {
		c.datagrams = new(datagrams)
	}
	return c.datagrams
}

// waits reports whether there is a datagram to be sent.
func (q *datagrams) waits() bool { return q != nil && q.out.count > 0 }

// MaxDatagramSize returns how many bytes the largest datagram has that can be sent now, by
// the peer's limit and the path's MTU. It reports false if the peer takes none, or its limit
// is not known yet; known tells these apart.
func (c *Conn) MaxDatagramSize() (n int, known, ok bool) {
	known = c.peerKnown || c.early == earlyTried
	limit := c.peer.MaxDatagramFrame
	if !known || limit < smallestDatagramFrame || c.life.state != active {
		return 0, known, false
	}
	return min(payloadOf(int(min(limit, maxDatagramFrame))), c.largestDatagram()), known, true
}

const (
	smallestDatagramFrame = 2       // type and length
	maxDatagramFrame      = 1 << 16 // no limit: nothing larger fits a packet, whatever the peer says
)

// payloadOf returns how many bytes of data fit a DATAGRAM frame of so many bytes with a length.
func payloadOf(frame int) int {
	n := frame - smallestDatagramFrame
	for n > 0 && 1+varint.Len(uint64(n))+n > frame {
		n--
	}
	return n
}

// largestDatagram returns how many bytes of a datagram fit a packet with nothing else.
func (c *Conn) largestDatagram() int {
	const short, long, most = 1, 1 + 4 + 1 + 1 + 2, 4 // and the packet number
	dcid := c.ids.peer.Len()
	if r := c.ids.bySeq(c.paths.active().cid); r != nil {
		dcid = r.id.Len()
	}
	header := short + dcid + most
	if !c.server && c.early == earlyTried && !c.oneRTT.CanWrite() {
		header = long + dcid + c.self.Len() + most
	}
	room := c.mtu.size - header - protect.Overhead
	if c.hs == nil {
		return room - 1 // the frame ends with the packet and needs no length
	}
	return payloadOf(room)
}

// SendDatagram copies p, which is no longer than MaxDatagramSize, to the end of the
// queue, and returns its number. It reports false if the queue is full.
func (c *Conn) SendDatagram(now mono.Time, p []byte) (id uint64, ok bool) {
	if c.life.state != active {
		return 0, false
	}
	q := c.needDatagrams()
	if !q.out.takes(len(p)) {
		return 0, false
	}
	q.out.push(c.cfg.Pool, p, false)
	q.last++
	q.open.Add(int64(q.last), int64(q.last)+1)
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.add(&qlog.DatagramDataMoved{Length: len(p), Out: true})
	}
	return q.last, true
}

// DatagramsUnsent returns how many datagrams, and of how many bytes, wait to be sent.
func (c *Conn) DatagramsUnsent() (count, bytes int) {
	if c.datagrams == nil {
		return 0, 0
	}
	return c.datagrams.out.count, c.datagrams.out.bytes
}

// ReceiveDatagram appends the oldest datagram that has come to b, and takes it out; early
// says that it came in 0-RTT. It reports false if there is none, for which
// EventDatagram is the signal. What came before the peer closed in order is still there.
func (c *Conn) ReceiveDatagram(now mono.Time, b []byte) (p []byte, early, ok bool) {
	if c.DatagramsWaiting() == 0 {
		return b, false, false
	}
	q := &c.datagrams.in
	data, early := q.peek()
	p = append(b, data...)
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.add(&qlog.DatagramDataMoved{Length: len(data)})
	}
	q.drop(c.cfg.Pool)
	return p, early, true
}

// DatagramsWaiting returns how many datagrams ReceiveDatagram would find.
func (c *Conn) DatagramsWaiting() int {
	if c.datagrams == nil {
		return 0
	}
	return c.datagrams.in.count
}

// onDatagram takes a DATAGRAM frame of size bytes, type and length included.
func (c *Conn) onDatagram(p *received, f wire.Datagram, size int) *wire.Error {
	if int64(size) > c.params.MaxDatagramFrame {
		return frameError(wire.ProtocolViolation, 0, "DATAGRAM frame larger than allowed") // RFC 9221 §3
	}
	q := c.needDatagrams()
	c.stats.datagramFramesReceived++
	for !q.in.takes(len(f.Data)) {
		c.stats.datagramFramesDropped++
		q.in.drop(c.cfg.Pool) // RFC 9221 §5.3
	}
	q.in.push(c.cfg.Pool, f.Data, p.typ == wire.ZeroRTT)
	if !q.told {
		q.told = true
		c.events.push(Event{Kind: EventDatagram})
	}
	return nil
}

// appendData fills the packet with the application's data. Datagrams come first, because
// they are the ones that age. If stream data then found no place, the next packet is stream
// data's first: neither waits for the other for longer than a packet.
func (c *Conn) appendData(d *datagram, pk *packet) {
	q := c.datagrams
	switch {
	case q == nil:
		c.streams.appendData(c, d, pk)
	case q.out.count == 0:
		q.yields = false
		c.streams.appendData(c, d, pk)
	case q.yields && c.streamsWait():
		q.yields = false
		c.streams.appendData(c, d, pk)
		q.append(c, d, pk)
	default:
		before := q.sent
		if !q.append(c, d, pk) {
			return // the next packet is the datagram's
		}
		c.streams.appendData(c, d, pk)
		q.yields = q.sent != before && c.streamsWait()
	}
}

// streamsWait reports whether there is stream data that may go.
func (c *Conn) streamsWait() bool { return !c.streams.ready.empty() }

// makeRoom takes back an ACK that need not go yet if the datagram whose turn it is would fit
// the packet but for that. Otherwise it would wait for as long as there is something to acknowledge.
func (c *Conn) makeRoom(d *datagram, pk *packet) {
	q := c.datagrams
	if !q.waits() || pk.ackDue || pk.ackEnd == pk.body || q.yields && c.streamsWait() {
		return
	}
	p, _ := q.out.peek()
	rest := d.room()
	if !c.fits(len(p), rest) && c.fits(len(p), rest+pk.ackEnd-pk.body) {
		d.b, pk.ackEnd = d.b[:pk.body], pk.body
		c.frames = c.frames[:pk.frames]
	}
}

// fits reports whether a datagram of n bytes fits so many bytes of a packet.
func (c *Conn) fits(n, room int) bool {
	return 1+varint.Len(uint64(n))+n <= room || c.mayEnd(n) && 1+n <= room
}

// mayEnd reports whether a frame with n bytes of data can do without a length, as the last of
// its packet: nothing must be put behind it, neither the padding that a short packet needs
// (RFC 9001 §5.4.2) nor that of a datagram with Initial packets.
func (c *Conn) mayEnd(n int) bool { return c.hs == nil && n >= 3 }

// append writes as many datagrams as fit. It reports false if not even one does for what
// stands before it in the UDP datagram, which then is to end here.
func (q *datagrams) append(c *Conn, d *datagram, pk *packet) bool {
	some := len(d.b) == pk.body && d.n == 1 // what limits the packet is not ours to wait for
	for q.out.count > 0 {
		p, _ := q.out.peek()
		n := len(p)
		if !c.fits(n, d.room()) {
			if n > c.largestDatagram() { // the path has become narrower (RFC 9221 §5)
				q.pop(c)
				q.settle(c, q.sent, 1, false)
				continue
			}
			return some
		}
		bare := c.mayEnd(n) && q.ends(c, d.room(), n)
		d.b = append(d.b, byte(wire.Datagram{HasLen: !bare}.Type()))
		if !bare {
			d.b = varint.Append(d.b, uint64(n))
		}
		d.b = append(d.b, p...)
		if bare {
			d.limit = len(d.b) + protect.Overhead // nothing may follow
		}
		some, pk.eliciting = true, true
		q.pop(c)
		q.record(c, pk)
		c.stats.datagramFramesSent++
		c.stats.datagramBytesSent += uint64(n)
	}
	return true
}

// ends reports whether the frame of the oldest datagram, of n bytes, is the last that the
// packet has room or any data for.
func (q *datagrams) ends(c *Conn, room, n int) bool {
	rest := room - 1 - varint.Len(uint64(n)) - n
	if rest < smallestDatagramFrame {
		return true
	}
	return q.out.count == 1 && !c.streamsWait()
}

// pop takes the oldest datagram out of the queue.
func (q *datagrams) pop(c *Conn) {
	q.out.drop(c.cfg.Pool)
	q.sent++
}

// record notes that the packet carries the datagram with the number sent. Those of one packet
// share a record.
func (q *datagrams) record(c *Conn, pk *packet) {
	if n := len(c.frames); n > pk.frames {
		if f := &c.frames[n-1]; f.Kind == sentDatagrams && f.ID+int64(f.Len) == int64(q.sent) {
			f.Len++
			return
		}
	}
	c.record(recovery.Frame{Kind: sentDatagrams, ID: int64(q.sent), Len: 1})
}

// settle tells the fate of n datagrams from the number first on, unless it has been
// told: a packet that was declared lost can still be acknowledged.
func (q *datagrams) settle(c *Conn, first uint64, n int, arrived bool) {
	if n == 0 || !q.open.Contains(int64(first)) {
		return
	}
	q.open.Remove(int64(first), int64(first)+int64(n))
	if !arrived {
		c.stats.datagramFramesLost += uint64(n)
	}
	c.events.pushFate(first, uint32(n), arrived)
}

// loseAll gives up all datagrams whose fate is not known: those of 0-RTT that was refused, of
// which not one is said again, and those of a connection that is over.
func (q *datagrams) loseAll(c *Conn) {
	if q == nil {
		return
	}
	q.out.release(c.cfg.Pool)
	q.sent, q.yields = q.last, false
	for len(q.open) > 0 {
		r := q.open[0]
		q.settle(c, uint64(r.Start), int(r.Len()), false)
	}
}

// release ends it all with the connection. With keep, what has come can still be read.
func (q *datagrams) release(c *Conn, keep bool) {
	if q == nil {
		return
	}
	q.loseAll(c)
	q.open = nil
	if !keep {
		q.in.release(c.cfg.Pool)
	}
}
