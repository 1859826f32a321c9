package transport

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Every answer here is smaller than what it answers, or is bounded by the
// bucket and three times its size: an endpoint is of no use to amplify.

// put makes the reply a batch of the one datagram that write appends.
func put(reply *dgram.Batch, d *dgram.Datagram, size int, write func([]byte) []byte) bool {
	room := reply.Next(size)
	if room == nil {
		return false
	}
	b := write(room)
	reply.Path = d.Path
	reply.Commit(len(b))
	reply.Close()
	return true
}

// negotiate answers a version that we do not speak (RFC 9000 §6.1, §21.12).
func (m *Mux) negotiate(now mono.Time, d *dgram.Datagram, inv *wire.Invariant, reply *dgram.Batch) Verdict {
	if !m.listening || len(d.Data) < wire.MinInitialSize || !m.allowed(now) {
		return Drop
	}
	var random [4]byte
	m.cfg.Rand(random[:])
	size := 7 + len(inv.DCID) + len(inv.SCID) + 4*(len(m.versions)+1)
	ok := put(reply, d, size, func(b []byte) []byte {
		return wire.AppendVersionNegotiation(b, random[0], inv.SCID, inv.DCID, append([]uint32{reservedVersion(random)}, m.versions...)...)
	})
	if !ok {
		return Drop
	}
	m.stats.VersionNegotiations++
	return Reply
}

// reservedVersion returns a version of the form that forces negotiation, so
// that peers do not grow used to a fixed list (RFC 9000 §15).
func reservedVersion(r [4]byte) uint32 {
	return 0x0a0a0a0a | uint32(r[0])<<24&0xf0000000 | uint32(r[1])<<16&0x00f00000 |
		uint32(r[2])<<8&0x0000f000 | uint32(r[3])&0x000000f0
}

// Refuse writes a CONNECTION_CLOSE for a datagram that Route called Initial, and
// reports whether there is one to send.
func (m *Mux) Refuse(now mono.Time, d *dgram.Datagram, code wire.ErrorCode, reply *dgram.Batch) bool {
	h, ok := wire.ParseLong(d.Data)
	if !ok || h.Type != wire.Initial {
		return false
	}
	if !m.close(now, d, &h, code, reply) {
		return false
	}
	m.stats.Refused++
	return true
}

// close answers a first Initial with CONNECTION_CLOSE, without making a connection.
func (m *Mux) close(now mono.Time, d *dgram.Datagram, h *wire.LongHeader, code wire.ErrorCode, reply *dgram.Batch) bool {
	if !m.allowed(now) {
		return false
	}
	_, secret := protect.InitialSecrets(h.Version, h.DCID.Bytes())
	sealer := mustSealer(protect.NewSealer(h.Version, initialSuite, secret))
	return put(reply, d, 128, func(b []byte) []byte {
		b, lengthAt := wire.AppendLong(b, h.Version, wire.Initial, &h.SCID, &h.DCID, nil, 1)
		pnOff := len(b)
		b = wire.AppendPacketNumber(b, 0, 1)
		b = wire.Close{Code: uint64(code)}.Append(b)
		varint.Put2(b[lengthAt:], uint64(len(b)-pnOff+protect.Overhead))
		return sealer.Seal(b, pnOff, 1, 0)
	})
}

// resetSize returns how large a reset is that answers so many bytes, 0 for none. One of 41 bytes or more cannot
// be told from a packet, whatever connection IDs the peer has (RFC 9000 §10.3.3), and ordinary packets
// get such an answer. What is smaller than the largest reset may be one itself: three bytes less
// each time let the ninth be the last between two endpoints that answer each other, where one byte less,
// as RFC 9000 §10.3 would have it, makes it the 23rd, and many less would show what the answer is.
func resetSize(came int) int {
	const smallest, usual, step = 5 + 16, 43, 3
	switch {
	case came >= usual:
		return min(came-1, usual)
	case came > smallest:
		return max(came-step, smallest)
	}
	return 0
}

// reset answers a packet for a connection that is not here (RFC 9000 §10.3, §11):
// smaller than what came, so that two endpoints cannot keep each other busy.
func (m *Mux) reset(now mono.Time, d *dgram.Datagram, inv *wire.Invariant, reply *dgram.Batch) Verdict {
	size := resetSize(len(d.Data))
	switch {
	case m.cfg.DisableReset || size == 0:
		return Drop
	case !m.resetHosts.take(now, d.Path.Remote.Addr(), m.cfg.MaxResetsPerHost):
		m.stats.RepliesSuppressed++
		return Drop
	case !m.allowed(now):
		return Drop
	}
	token := m.ResetToken(wire.MakeConnectionID(inv.DCID))
	ok := put(reply, d, size, func(b []byte) []byte {
		b = b[:size]
		m.cfg.Rand(b[:size-16])
		b[0] = b[0]&0x3f | 0x40
		copy(b[size-16:], token[:])
		return b
	})
	if !ok {
		return Drop
	}
	m.stats.Resets++
	return Reply
}

// allowed takes one stateless reply from the bucket.
func (m *Mux) allowed(now mono.Time) bool {
	if !m.replies.take(now) {
		m.stats.RepliesSuppressed++
		return false
	}
	return true
}

// bucket limits the rate of stateless replies: to one in every interval, and to burst at once.
type bucket struct {
	every time.Duration
	most  time.Duration // that may be saved up
	level time.Duration // that is
	last  mono.Time
}

// Whoever floods a server in the names of many makes it answer as often as it may. What it
// answers to nobody's use has little; Retry has more (retryBudget).
const (
	repliesBurst  = 1000
	replyInterval = 100 * time.Microsecond
)

func newBucket(now mono.Time, burst int, every time.Duration) bucket {
	most := time.Duration(burst) * every
	return bucket{every: every, most: most, level: most, last: now}
}

func (b *bucket) take(now mono.Time) bool {
	if now > b.last {
		b.level = min(b.level+now.Sub(b.last), b.most)
		b.last = now
	}
	if b.level < b.every {
		return false
	}
	b.level -= b.every
	return true
}

// resetHosts counts the stateless resets that hosts (dgram.Host) have asked for. One
// that has been quiet for a while begins anew. The table is kept small in two
// generations: when one is full the other, which holds those not heard of for longest, is
// forgotten. Who sends in the names of so many addresses still meets the bucket.
type resetHosts struct {
	young, old map[netip.Addr]resetHost
}

type resetHost struct {
	sent int
	last mono.Time // when it asked, granted or not
}

const (
	resetQuiet    = 30 * time.Second
	maxResetHosts = 4096 // in one generation
)

// take counts a reset to a host, and reports whether it is one of the first most.
func (r *resetHosts) take(now mono.Time, host netip.Addr, most int) bool {
	host = dgram.Host(host)
	h, ok := r.young[host]
	if !ok {
		h = r.old[host]
		if len(r.young) >= maxResetHosts {
			r.old, r.young = r.young, nil
		}
		if r.young == nil {
			r.young = make(map[netip.Addr]resetHost)
		}
	}
	if now.Sub(h.last) >= resetQuiet {
		h.sent = 0
	}
	granted := h.sent < most
	if granted {
		h.sent++
	}
	h.last = now
	r.young[host] = h
	return granted
}

// usedTokens remembers which NEW_TOKEN tokens were used, in two generations so
// that it stays small; past its bound new tokens count as used, which costs
// clients a round trip and nothing else.
type usedTokens struct {
	young, old map[[16]byte]struct{}
	since      mono.Time
}

const maxUsedTokens = 8192

func tokenKey(b []byte) [16]byte {
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func (u *usedTokens) seen(now mono.Time, b []byte) bool {
	if now.Sub(u.since) > tokenLifetime {
		u.old, u.young, u.since = u.young, nil, now
	}
	k := tokenKey(b)
	_, young := u.young[k]
	_, old := u.old[k]
	return young || old || len(u.young) >= maxUsedTokens
}

func (u *usedTokens) add(_ mono.Time, b []byte) {
	if u.young == nil {
		u.young = make(map[[16]byte]struct{})
	}
	u.young[tokenKey(b)] = struct{}{}
}
