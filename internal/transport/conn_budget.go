package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// budget is for frames that are legal and change nothing: a peer may be clumsy, but
// not for ever (RFC 9000 §21.9 and what is like it). It is a bucket of uselessBurst
// tokens, refilled at uselessRate a second and by one for every packet that was of
// use: so the work for nothing never outgrows the work for something by more than
// the bucket, and a connection that loses, doubles and reorders at any speed does not
// come near its end.
//
// The bucket is one time: when it will be full again.
type budget struct{ full mono.Time }

// price is the time that refills one token.
const price = time.Second / uselessRate

// settle takes what a packet cost, or gives a token back if that is -1. It reports
// false once more was spent than there is.
func (b *budget) settle(now mono.Time, cost int) bool {
	if cost < 0 && b.full <= now {
		return true
	}
	b.full = max(now, b.full).Add(time.Duration(cost) * price)
	return b.full.Sub(now) <= uselessBurst*price
}

// waste counts a frame that changes nothing, or whose effect costs us more than it
// costs the peer.
func (p *received) waste(t wire.FrameType, tokens int) {
	p.wasted = t
	p.cost += tokens
}

// wasteUnless counts a frame as wasted if it brought no news.
func (p *received) wasteUnless(news bool, t wire.FrameType) {
	if !news {
		p.waste(t, 1)
	}
}

// raised counts a limit of the peer's, which should grow, and reports whether it did.
func (p *received) raised(news bool, t wire.FrameType) bool {
	p.useful = p.useful || news
	p.wasteUnless(news, t)
	return news
}

// blockedAt counts a frame that says where the peer is blocked. Above what is granted nobody can be. At
// that, the peer may say so once; below, where it did not know yet what is granted, once for each time that
// more was. seen is what was granted at the last complaint, plus one if the peer was blocked at that.
func (p *received) blockedAt(limit, granted int64, seen *int64, t wire.FrameType) {
	at := granted
	if limit == granted {
		at++
	}
	news := limit <= granted && at > *seen
	if news {
		*seen = at
	}
	p.wasteUnless(news, t)
}

// cut counts a stream that the peer cuts off. One that it has opened itself, and of
// which nothing was read or sent, was work for us and none for it.
func (p *received) cut(s *Stream, t wire.FrameType, again bool) {
	switch {
	case again:
		p.waste(t, 1)
	case !s.local && s.recvUnused() && s.sendUnused():
		p.waste(t, uselessWork)
	}
}

func (s *Stream) recvUnused() bool { return !s.canRecv || s.recv.Consumed() == 0 }
func (s *Stream) sendUnused() bool { return !s.canSend || s.send.Offset() == 0 }

// idleFrame counts a frame that says nothing of its own: PING, or an ACK without news.
// Beside others it is usual; alone it makes the packet a waste, and in numbers too.
func (p *received) idleFrame(t wire.FrameType) {
	if p.idle++; p.idle > 2 {
		p.waste(t, 1)
	}
}

// charge settles the cost of a packet, and closes the connection when the peer has
// used up its budget.
func (c *Conn) charge(p *received) bool {
	if !p.says && !p.useful {
		p.waste(wire.FramePing, 1)
	}
	if p.cost > 0 {
		c.stats.useless += uint64(p.cost)
	}
	cost := p.cost
	if p.useful {
		cost--
	}
	if cost == 0 || c.budget.settle(p.now, cost) {
		return true
	}
	c.fail(p.now, frameError(wire.InternalError, p.wasted, "too many frames that change nothing"))
	return false
}
