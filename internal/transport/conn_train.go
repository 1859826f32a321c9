package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// train is packets that came together, one right after the other, each with one STREAM frame
// that continues what is there. Their acknowledgment, credit and events are the same for
// all of them, and are seen to at its end.
type train struct {
	first  int64 // packet number
	n      int64 // packets
	ecn    dgram.ECN
	stream *Stream // what it has brought was not told yet; nil if there is none
}

// ReceiveTrain is Receive for datagrams that came together. It returns how many of them
// were of use.
func (c *Conn) ReceiveTrain(now mono.Time, ds []dgram.Datagram) (used int) {
	var t train
	for i := range ds {
		d := &ds[i]
		ok := false
		if c.joins(&t, d) {
			ok = c.receiveNext(now, &t, d)
		} else {
			c.trainEnds(now, &t)
			ok = c.receiveOne(now, d)
		}
		if ok {
			used++
		}
	}
	c.trainEnds(now, &t)
	return used
}

// joins reports whether a datagram may be the next of a train: by what can be seen from outside.
func (c *Conn) joins(t *train, d *dgram.Datagram) bool {
	p := c.paths.active()
	return c.life.state == active && c.hs == nil && c.qlog == nil && p.validated && d.Path == p.addr &&
		len(d.Data) > 1+connIDLen && d.Data[0]&0xc0 == 0x40 &&
		d.ECN != dgram.CE && (t.n == 0 || d.ECN == t.ecn)
}

// receiveNext takes a datagram that may be the next of the train. If what is in it is of
// another kind, the train ends before it, and it goes the ordinary way from there.
func (c *Conn) receiveNext(now mono.Time, t *train, d *dgram.Datagram) bool {
	c.stats.datagramsReceived++
	c.stats.bytesReceived += uint64(len(d.Data))
	next := c.acks.Largest() + t.n + 1
	updates := c.oneRTT.Updates()
	o, result := c.oneRTT.Open(now, d.Data, 1+connIDLen, next-1)
	if result == protect.OpenOK && o.PN == next && o.First&reservedShort == 0 && c.takeNext(now, t, o.Payload) {
		if t.n == 0 {
			t.first, t.ecn = o.PN, d.ECN
		}
		t.n++
		c.stats.packetsReceived++
		return true
	}
	c.trainEnds(now, t)
	taken, ignored := c.stats.packetsReceived, c.stats.packetsIgnored
	c.receiveOpened(now, d, d.Data, &o, result, updates, false)
	c.settle(now)
	return c.stats.packetsIgnored == ignored || c.stats.packetsReceived != taken
}

// takeNext takes the frames of a packet if that is one STREAM frame whose data, without the
// end of the stream, comes next. Otherwise it changes nothing.
func (c *Conn) takeNext(now mono.Time, t *train, payload []byte) bool {
	cur := varint.NewCursor(payload)
	typ := wire.FrameType(cur.Byte())
	if !typ.IsStream() {
		return false
	}
	f := wire.ParseStream(&cur, typ)
	if cur.Failed() || cur.Len() > 0 || f.Fin {
		return false
	}
	n := int64(len(f.Data))
	st := c.streams.find(f.ID)
	if n == 0 || st == nil || !st.canRecv || !c.flow.allows(n) || !st.recv.Continue(f.Offset, f.Data) {
		return false
	}
	c.flow.received += n
	c.stats.streamBytesReceived += uint64(n)
	st.received(&c.streams.pages, now, n)
	if st != t.stream {
		c.trainTells(now, t)
		t.stream = st
	}
	return true
}

// trainEnds sees to what the packets of a train have in common, and begins another.
func (c *Conn) trainEnds(now mono.Time, t *train) {
	if t.n == 0 {
		return
	}
	c.trainTells(now, t)
	c.acks.ReceivedRun(now, t.first, t.n, t.ecn)
	c.idle.heard(now)
	c.budget.settle(now, -int(t.n)) // each was of use
	*t = train{}
}

// trainTells tells the owner of what the train has brought.
func (c *Conn) trainTells(now mono.Time, t *train) {
	if t.stream != nil {
		c.arrived(now, t.stream)
	}
}
