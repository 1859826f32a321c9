package protect

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// OpenResult says what OneRTT.Open made of a packet.
type OpenResult uint8

const (
	// OpenDropped is a packet that is too short or not authentic.
	OpenDropped OpenResult = iota
	// OpenOK is an authentic packet.
	OpenOK
	// OpenUpdated is an authentic packet, the first of the next key phase: the
	// peer began a key update, or answered ours. Both directions are in the new
	// key phase now; the caller sets the time of the old key with KeepPrevious.
	OpenUpdated
	// OpenKeyUpdateError is an authentic packet that breaks the rules of key
	// updates: the connection must close with KEY_UPDATE_ERROR.
	OpenKeyUpdateError
	// OpenLimit means that the integrity limit is reached: the connection must
	// close with AEAD_LIMIT_REACHED, and no other packet will be opened.
	OpenLimit
)

// String returns the name of the result.
func (r OpenResult) String() string {
	return [...]string{"dropped", "ok", "updated", "key update error", "limit"}[r]
}

// Open removes the protection of pkt as Opener.Open does. The caller does not
// open 1-RTT packets before the handshake is complete (RFC 9001 §5.7). A packet
// of the key phase that was not expected costs one opening, as any other does,
// and derives no key unless it is authentic.
func (k *OneRTT) Open(now mono.Time, pkt []byte, pnOff int, largest int64) (Opened, OpenResult) {
	if !k.CanRead() {
		return Opened{}, OpenDropped
	}
	if k.failures >= k.integrityLimit() {
		return Opened{}, OpenLimit
	}
	k.Discard(now)
	r := &k.read
	pn, pnLen, ok := r.header.remove(pkt, pnOff, largest)
	if !ok {
		return Opened{}, OpenDropped
	}
	if phase := pkt[0]&keyPhaseBit != 0; phase != (r.generation&1 != 0) {
		return k.openOther(pkt, pnOff+pnLen, pn)
	}
	payload, ok := r.current.open(pkt, pnOff+pnLen, pn)
	if !ok {
		return k.fail()
	}
	if pn < r.oldHigh {
		return Opened{}, OpenKeyUpdateError // an older key sealed a later packet
	}
	r.low, r.high = min(r.low, pn), max(r.high, pn)
	return Opened{Payload: payload, PN: pn, First: pkt[0]}, OpenOK
}

// openOther opens a packet whose key phase is not the current one. It is of the
// previous key phase if its packet number comes before the current one's, and of
// the next otherwise (RFC 9001 §6.5).
func (k *OneRTT) openOther(pkt []byte, headerLen int, pn int64) (Opened, OpenResult) {
	r := &k.read
	if r.previous != nil && pn < r.low {
		payload, ok := r.previous.open(pkt, headerLen, pn)
		if !ok {
			return k.fail()
		}
		r.oldHigh = max(r.oldHigh, pn)
		return Opened{Payload: payload, PN: pn, First: pkt[0]}, OpenOK
	}
	if !k.CanWrite() {
		return Opened{}, OpenDropped // we could not answer an update
	}
	if k.oldKeyMisused(pkt, headerLen, pn) {
		return Opened{}, OpenKeyUpdateError
	}
	payload, ok := r.next.open(pkt, headerLen, pn)
	if !ok {
		return k.fail()
	}
	if pn < r.high || k.updateTooEarly() {
		return Opened{}, OpenKeyUpdateError
	}
	r.advance(pn)
	if k.write.generation < r.generation {
		k.write.advance()
	}
	k.discardAt = mono.Never
	return Opened{Payload: payload, PN: pn, First: pkt[0]}, OpenUpdated
}

// oldKeyMisused reports whether the previous key sealed a packet that comes after
// one of the current key phase (RFC 9001 §6.4). Without it a peer that slid back
// would be met with silence. It is asked a few times only in a key phase, so that
// forged packets do not cost twice; a failure of it is not counted, as
// the packet is then tried with the next key.
func (k *OneRTT) oldKeyMisused(pkt []byte, headerLen int, pn int64) bool {
	r := &k.read
	if r.previous == nil || r.oldProbes == 0 {
		return false
	}
	r.oldProbes--
	old := r.previous
	old.setNonce(pn)
	_, err := old.aead.Open(nil, old.nonce[:], pkt[headerLen:], pkt[:headerLen])
	return err == nil
}

// updateTooEarly reports whether the peer cannot have seen an acknowledgment of
// the current key phase, because we sent nothing in it: it may not begin another
// (RFC 9001 §6.1, §6.2).
func (k *OneRTT) updateTooEarly() bool {
	return k.read.generation > 0 && k.write.generation == k.read.generation && k.write.sealed == 0
}

func (k *OneRTT) fail() (Opened, OpenResult) {
	k.failures++
	if k.failures >= k.integrityLimit() {
		return Opened{}, OpenLimit
	}
	return Opened{}, OpenDropped
}

// KeepPrevious keeps the previous read key for late packets until the given time,
// three times the PTO after OpenUpdated (RFC 9001 §6.5). Without it the key is
// kept until the next update.
func (k *OneRTT) KeepPrevious(until mono.Time) { k.discardAt = until }

// Discard drops the previous read key if its time is over.
func (k *OneRTT) Discard(now mono.Time) {
	if k.read.previous != nil && now >= k.discardAt {
		k.read.previous = nil
	}
}

// DiscardAt returns when Discard will have something to do, mono.Never if there
// is no previous read key.
func (k *OneRTT) DiscardAt() mono.Time {
	if k.read.previous == nil {
		return mono.Never
	}
	return k.discardAt
}
