package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A run is what follows in a batch when only stream data is left to send: packets that
// each fill a datagram with one STREAM frame of new bytes. What is the same for all
// of them is found out once, and nobody who has nothing to say is asked for each.

const streamHeaderLen = 1 + 8 + 8 // of a STREAM frame without a length, at most

// transmitRun adds a run to a batch that begins with a full datagram, within what the congestion
// window, but for what is reserved, and the pacer allow. It returns how many bytes it has added.
func (c *Conn) transmitRun(now mono.Time, b *dgram.Batch, p *path, reserve, pace int) int {
	size := c.mtu.size
	if b.SegmentSize() != size || pace <= 0 || !p.validated || !c.onlyData() {
		return 0
	}
	first := c.loss.Next(recovery.App)
	most := min((c.loss.CanSend()-reserve)/size, (pace-1)/size+1, int(c.skip.next-first))
	if most <= 0 {
		return 0
	}
	dcid := &c.ids.peer
	if r := c.ids.bySeq(p.cid); r != nil {
		dcid = &r.id
	}
	var space [1 + wire.MaxConnectionIDLen]byte
	pnLen := wire.PacketNumberLen(first+int64(most), c.loss.LargestAcked(recovery.App))
	header := wire.AppendShort(space[:0], dcid, c.spin, c.oneRTT.Phase(), pnLen)
	for len(c.frames) < most && c.writeRunPacket(b.Next(size), size, header, first+int64(len(c.frames)), pnLen) {
		b.Commit(size)
	}
	return c.sentRun(now, p, first, size)
}

// onlyData reports whether a packet would carry nothing but stream data: no part of the
// connection has anything else to say.
func (c *Conn) onlyData() bool {
	if c.hs != nil || c.qlog != nil || c.acks.Wanted() || c.loss.Probes(recovery.App) > 0 || c.datagrams.waits() {
		return false
	}
	s := &c.streams
	if s.ctl.head != nil || c.postOut != nil && c.postOut.Pending(1) {
		return false
	}
	for _, g := range [...]signal{
		c.flow.maxData, c.flow.dataBlocked, s.grants[0], s.grants[1], s.blocked[0], s.blocked[1],
		c.control.ping, c.control.handshakeDone, c.control.newToken, c.asking.signal,
	} {
		if g.wanted() {
			return false
		}
	}
	return !c.ids.wanted()
}

// writeRunPacket writes packet pn of a run into room, with data of the stream whose turn it is.
// It reports false if there is no room, or what is left of the stream's data is for a
// packet of the usual kind: its end, or what was lost.
func (c *Conn) writeRunPacket(room []byte, size int, header []byte, pn int64, pnLen int) bool {
	st := c.streams.ready.next()
	if cap(room) < size || st == nil || !c.streams.within(st) {
		return false
	}
	off, left := st.send.Fresh(c.fresh())
	head := wire.StreamHeaderLen(st.id, off, 0, false)
	n := size - len(header) - pnLen - head - protect.Overhead
	if left <= int64(n) {
		return false
	}
	pkt := append(room, header...)
	pkt = wire.AppendPacketNumber(pkt, pn, pnLen)
	if lent := st.send.Lend(head, n); lent != nil {
		var kept [streamHeaderLen]byte
		copy(kept[:], lent[:head])
		wire.AppendStreamHeader(lent[:0], st.id, off, n, false, false)
		sealed := c.oneRTT.SealFrom(pkt, lent, pnLen, pn)
		copy(lent, kept[:head])
		if sealed == nil {
			return false
		}
		st.send.TakeLent(n)
	} else {
		at := len(pkt) + head
		pkt = wire.AppendStreamHeader(pkt, st.id, off, n, false, false)[:at+n]
		st.send.Take(pkt[at:], off, n, false)
		c.oneRTT.Seal(pkt, len(header), pnLen, pn)
	}
	c.flow.out.Take(int64(n))
	c.streams.retained += int64(n)
	c.stats.streamBytesSent += uint64(n)
	c.record(recovery.Frame{Kind: sentStream, ID: st.id, Off: off, Len: uint32(n)})
	c.streams.ready.pass(st)
	c.streams.writable(c, st)
	return true
}

// sentRun is commit and sent for the packets of a run, of size bytes each, whose frames
// stand in c.frames. It returns how many bytes they have.
func (c *Conn) sentRun(now mono.Time, p *path, first int64, size int) int {
	n := len(c.frames)
	if n == 0 {
		return 0
	}
	if c.loss.InFlight() == 0 {
		c.idle.progress = now
	}
	c.loss.SentRun(now, recovery.App, recovery.Packet{
		Number: first, Size: int32(size), Epoch: c.loss.Epoch(), AckEliciting: true, InFlight: true, ECN: c.marking,
	}, c.frames)
	c.frames = c.frames[:0]
	c.idle.spoke(now)
	c.ackOnlyRun = 0
	c.skip.advance(c, recovery.App)
	p.sent += int64(n * size)
	c.stats.packetsSent += uint64(n)
	c.stats.datagramsSent += uint64(n)
	c.stats.bytesSent += uint64(n * size)
	return n * size
}
