package transport

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// retry asks a client to show that it owns its address (RFC 9000 §8.1.2).
func (m *Mux) retry(now mono.Time, d *dgram.Datagram, h *wire.LongHeader, reply *dgram.Batch) Verdict {
	if !m.retries.take(now, d.Path.Remote.Addr(), m.cfg.Rand) {
		m.stats.RepliesSuppressed++
		return Drop
	}
	var b [connIDLen]byte
	m.cfg.Rand(b[:])
	chosen := wire.MakeConnectionID(b[:])
	token := m.tokens.retry(now, h.Version, d.Path.Remote, h.DCID, chosen)
	ok := put(reply, d, wire.MinInitialSize, func(b []byte) []byte {
		b = wire.AppendRetry(b, h.Version, &h.SCID, &chosen, token)
		tag := protect.RetryTag(h.Version, &h.DCID, b)
		return append(b, tag[:]...)
	})
	if !ok {
		return Drop
	}
	m.stats.Retries++
	return Reply
}

// retryBudget limits the rate of Retry packets. Each is smaller than the Initial that it answers, and with them new clients get
// in while a flood goes on, if they get one: of a hundred thousand Initials a second not every one can be answered. So half of
// the budget is for whoever comes first, and the other half is dealt out among networks, into shares that a hash chooses. Where
// a flood comes from less than all of the Internet, a client from elsewhere has an answer at once; and since the hash has
// another key every second, who shares with a flood this time does not when it asks again.
type retryBudget struct {
	common bucket
	shares []mono.Time // when each share will be full again; nil until common has been empty
	key    uint64      // of the hash
	until  mono.Time   // when it gets another
}

const (
	retriesBurst     = 2000
	retryInterval    = 100 * time.Microsecond
	retryShares      = 1 << retryShareBits
	retryShareBits   = 10
	retryShareBurst  = 4
	retryShareEvery  = 100 * time.Millisecond
	retryKeyLifetime = time.Second
)

func newRetryBudget(now mono.Time) retryBudget {
	return retryBudget{common: newBucket(now, retriesBurst, retryInterval)}
}

// take takes a Retry to an address, and reports whether there was one left.
func (r *retryBudget) take(now mono.Time, to netip.Addr, random func([]byte)) bool {
	if r.common.take(now) {
		return true
	}
	if r.shares == nil {
		r.shares = make([]mono.Time, retryShares)
	}
	if now >= r.until {
		var b [8]byte
		random(b[:])
		r.key, r.until = binary.LittleEndian.Uint64(b[:])|1, now.Add(retryKeyLifetime)
	}
	share := &r.shares[r.share(to)]
	full := max(*share, now).Add(retryShareEvery)
	if full.Sub(now) > retryShareBurst*retryShareEvery {
		return false
	}
	*share = full
	return true
}

// share chooses the share of an address: IPv4 has one half of them and IPv6 the other, so that neither can use up
// both. Alike are addresses that one sender is likely to have: 24 bits of them in IPv4, 32 in IPv6.
func (r *retryBudget) share(a netip.Addr) uint64 {
	a = dgram.Plain(a)
	b := a.As16()
	prefix, half := binary.BigEndian.Uint32(b[:]), uint64(retryShares/2)
	if a.Is4() {
		prefix, half = binary.BigEndian.Uint32(b[12:])>>8, 0
	}
	return half + uint64(prefix)*r.key>>(64-retryShareBits+1)
}
