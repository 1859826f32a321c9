package protect

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// OneRTT holds the 1-RTT keys of both directions, through all their key phases
// (RFC 9001 §6). The zero OneRTT has no keys. It must not be copied once it has,
// and is not safe for concurrent use.
//
// The three limits may be lowered; 0 means the default. What exceeds the limits
// of RFC 9001 §6.6 is cut to them.
type OneRTT struct {
	UpdateAfter          int64 // packets sealed in a key phase before WantUpdate; by default 1<<20, at most half of the next
	ConfidentialityLimit int64 // packets sealed in a key phase; by default the suite's
	IntegrityLimit       int64 // packets that failed to open over the whole connection; by default the suite's

	read      readKeys
	write     writeKeys
	failures  int64
	discardAt mono.Time // of read.previous
}

// readKeys has up to three generations of packet keys. The next one is derived
// as soon as the current one comes into use: a packet that pretends to be of the
// next key phase must find it ready, or the time it takes would tell what bit
// its header hides (RFC 9001 §6.3, §9.5).
type readKeys struct {
	suite      *suite // nil: no keys
	secret     []byte // of next
	header     headerKey
	previous   *packetKey // nil: gone
	current    packetKey
	next       packetKey
	generation int

	low, high int64 // packet numbers opened under current; high is -1 if none was, low counts once previous was set
	oldHigh   int64 // highest packet number opened under any earlier key, or -1
	oldProbes int   // how often openOther may still look for misuse of previous
}

// writeKeys has one generation: sealing never goes back (RFC 9001 §6.4).
type writeKeys struct {
	suite      *suite // nil: no keys
	secret     []byte // of packet
	header     headerKey
	packet     packetKey
	generation int

	sealed int64 // packets in this key phase
	first  int64 // packet number of the first of them
	acked  bool  // one of them was acknowledged
}

const (
	defaultUpdateAfter = 1 << 20
	// closeReserve is how many packets SendLimit keeps back for CONNECTION_CLOSE.
	closeReserve = 64
	// oldProbes bounds, for each key phase, the only case in which a packet costs
	// two openings: see oldKeyMisused.
	oldProbes = 4
)

// SetRead installs the first secret for packets of a version to open. It is copied.
func (k *OneRTT) SetRead(version uint32, suite uint16, secret []byte) error {
	info, err := suiteInfo(version, suite)
	if err != nil {
		return err
	}
	k.read.erase()
	r := &k.read
	r.suite, r.high, r.oldHigh = info, -1, -1
	r.header.init(info, secret)
	r.current.init(info, secret)
	r.secret = info.nextSecret(secret)
	r.next.init(info, r.secret)
	return nil
}

// SetWrite installs the first secret for packets of a version to seal. It is copied, and
// its ciphers are made for the first packet: a server has it before it knows its client.
func (k *OneRTT) SetWrite(version uint32, suite uint16, secret []byte) error {
	info, err := suiteInfo(version, suite)
	if err != nil {
		return err
	}
	k.write.erase()
	k.write = writeKeys{suite: info, secret: append([]byte(nil), secret...)}
	return nil
}

// Erase overwrites the secrets and forgets the keys: nothing is opened or sealed any more.
// What the ciphers have made of them is in the hands of crypto/aes and the collector.
func (k *OneRTT) Erase() {
	k.read.erase()
	k.write.erase()
}

// CanRead reports whether packets can be opened.
func (k *OneRTT) CanRead() bool { return k.read.suite != nil }

// CanWrite reports whether packets can be sealed.
func (k *OneRTT) CanWrite() bool { return k.write.suite != nil }

// Seal protects pkt as Sealer.Seal does, with the keys of the current key phase,
// whose bit the caller has put into the header (see Phase). It returns nil once
// the confidentiality limit forbids another packet in this key phase: ask
// SendLimit before that.
func (k *OneRTT) Seal(pkt []byte, pnOff, pnLen int, pn int64) []byte {
	sealed := k.SealFrom(pkt[:pnOff+pnLen], pkt[pnOff+pnLen:], pnLen, pn)
	if sealed == nil {
		clear(pkt[pnOff:])
	}
	return sealed
}

// SealFrom is Seal for a packet whose header ends with the packet number, and whose payload
// stands elsewhere and is left as it is. Past the limit it writes nothing.
func (k *OneRTT) SealFrom(header, payload []byte, pnLen int, pn int64) []byte {
	w := &k.write
	if w.sealed >= k.confidentialityLimit() {
		return nil
	}
	if w.sealed == 0 {
		w.first = pn
	}
	w.sealed++
	if w.packet.aead == nil {
		w.wake()
	}
	pkt := w.packet.seal(header, payload, pn)
	w.header.apply(pkt, len(header)-pnLen, pnLen)
	return pkt
}

// Phase returns the Key Phase bit of packets to seal.
func (k *OneRTT) Phase() bool { return k.write.generation&1 != 0 }

// Updates returns how many key updates there were, whoever began them.
func (k *OneRTT) Updates() int { return k.write.generation }

// Acked notes that the peer acknowledged packet number pn, the largest that is
// newly acknowledged.
func (k *OneRTT) Acked(pn int64) {
	if k.write.sealed > 0 && pn >= k.write.first {
		k.write.acked = true
	}
}

// StaleAck reports whether an ACK frame with the given Largest Acknowledged, in
// a packet whose unprotected first byte is first, acknowledges a packet of a
// later key phase than its own: the peer opened our update and did not follow,
// which is a KEY_UPDATE_ERROR (RFC 9001 §6.2).
func (k *OneRTT) StaleAck(first byte, largest int64) bool {
	return first&keyPhaseBit != 0 != k.Phase() && k.write.sealed > 0 && largest >= k.write.first
}

// CanUpdate reports whether Update may be called: the peer has shown that it has
// the keys of this key phase (RFC 9001 §6.1), an earlier update of ours was
// answered, and the time for which the peer may still need its previous keys is
// over (RFC 9001 §6.5). That the handshake is confirmed is for the caller to know.
func (k *OneRTT) CanUpdate() bool {
	return k.CanRead() && k.CanWrite() && k.write.acked &&
		k.write.generation == k.read.generation && k.read.previous == nil
}

// Update begins a key update: packets are sealed with the next keys from now on.
// Packets are opened with the current ones until the peer answers, when Open
// returns OpenUpdated.
func (k *OneRTT) Update() {
	if !k.CanUpdate() {
		panic("BUG: key update is not allowed now")
	}
	k.write.advance()
}

// WantUpdate reports whether this key phase has sealed so many packets that it
// should end as soon as CanUpdate allows.
func (k *OneRTT) WantUpdate() bool {
	after := k.UpdateAfter
	if after == 0 {
		after = defaultUpdateAfter
	}
	return k.CanWrite() && k.write.sealed >= min(after, k.confidentialityLimit()/2)
}

// SendLimit reports whether the keys are all but used up and cannot be updated:
// the connection must close with AEAD_LIMIT_REACHED, for which a few packets are
// held in reserve (RFC 9001 §6.6).
func (k *OneRTT) SendLimit() bool {
	limit := k.confidentialityLimit()
	return k.CanWrite() && k.write.sealed >= limit-min(closeReserve, limit/4) && !k.CanUpdate()
}

// Failures returns how many packets were not authentic, under all keys.
func (k *OneRTT) Failures() int64 { return k.failures }

// AddFailures counts packets that failed to open under other keys of the
// connection, for the integrity limit covers them all (RFC 9001 §6.6).
func (k *OneRTT) AddFailures(n int64) { k.failures += n }

func (k *OneRTT) confidentialityLimit() int64 {
	switch {
	case !k.CanWrite():
		return 0
	case k.ConfidentialityLimit > 0:
		return min(k.ConfidentialityLimit, k.write.suite.confidentiality)
	}
	return k.write.suite.confidentiality
}

func (k *OneRTT) integrityLimit() int64 {
	if k.IntegrityLimit > 0 {
		return min(k.IntegrityLimit, k.read.suite.integrity)
	}
	return k.read.suite.integrity
}

// wake makes the ciphers of the first key phase.
func (w *writeKeys) wake() {
	w.header.init(w.suite, w.secret)
	w.packet.init(w.suite, w.secret)
}

// advance moves to the next key phase. The old key is forgotten at once (RFC 9001 §6.4).
func (w *writeKeys) advance() {
	if w.packet.aead == nil {
		w.wake() // the header's key is of the first secret for ever
	}
	w.secret = succeed(w.suite, w.secret)
	w.packet.init(w.suite, w.secret)
	w.generation++
	w.sealed, w.first, w.acked = 0, 0, false
}

func (w *writeKeys) erase() {
	clear(w.secret)
	w.header.erase()
	*w = writeKeys{generation: w.generation} // which is told in the end
}

// advance moves to the key phase that packet number pn opened.
func (r *readKeys) advance(pn int64) {
	old := r.current
	r.previous, r.current = &old, r.next
	r.secret = succeed(r.suite, r.secret)
	r.next.init(r.suite, r.secret)
	r.generation++
	r.oldHigh = max(r.oldHigh, r.high)
	r.low, r.high = pn, pn
	r.oldProbes = oldProbes
}

func (r *readKeys) erase() {
	clear(r.secret)
	r.header.erase()
	*r = readKeys{generation: r.generation}
}

// succeed returns the secret that follows another, which it overwrites (RFC 9001 §6.1).
func succeed(s *suite, secret []byte) []byte {
	next := s.nextSecret(secret)
	clear(secret)
	return next
}
