package sim

import (
	"bytes"
	"encoding/binary"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Mutation changes the frames of a packet that is on its way: protection does not keep
// it from that, as if there were none. It returns what is to be there instead, which may
// be longer or shorter.
type Mutation func(t wire.PacketType, frames []byte) []byte

func newScribe(m Mutation) scribe {
	return scribe{mutate: m, one: dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))}
}

// scribe writes what one end sends anew. It has the secrets that TLS gave to that end.
type scribe struct {
	mutate  Mutation
	openers [wire.OneRTT]*protect.Opener
	sealers [wire.OneRTT]*protect.Sealer
	oneRTT  protect.OneRTT
	largest [wire.OneRTT + 1]int64
	initial uint32 // version of the Initial keys; 0 for none
	one     *dgram.Batch
}

// secret takes a secret from TLS: the end writes with it.
func (w *scribe) secret(version uint32, ev *transport.TLSEvent) {
	if ev.Kind != transport.TLSWriteSecret {
		return
	}
	switch ev.Level {
	case transport.LevelEarly:
		w.install(version, wire.ZeroRTT, ev.Suite, ev.Data)
	case transport.LevelHandshake:
		w.install(version, wire.Handshake, ev.Suite, ev.Data)
	case transport.LevelApp:
		if w.oneRTT.SetRead(version, ev.Suite, ev.Data) != nil || w.oneRTT.SetWrite(version, ev.Suite, ev.Data) != nil {
			panic("BUG: a secret that protects nothing")
		}
		w.largest[wire.OneRTT] = -1
	}
}

func (w *scribe) install(version uint32, t wire.PacketType, suite uint16, secret []byte) {
	opener, err := protect.NewOpener(version, suite, secret)
	sealer, bad := protect.NewSealer(version, suite, secret)
	if err != nil || bad != nil {
		panic("BUG: a secret that protects nothing")
	}
	w.openers[t], w.sealers[t] = opener, sealer
	if t != wire.Initial {
		w.largest[t] = -1
	}
}

// send sends every datagram of a batch, rewritten. What an endpoint sends is judged as
// it was.
func (w *scribe) send(s *Session, b *dgram.Batch) {
	judged := s.End.watch != nil
	if judged {
		s.End.watchOut(b)
	}
	for i := range b.Count() {
		out := w.rewrite(s, b.Segment(i))
		w.one.Reset()
		w.one.Path, w.one.ECN = b.Path, b.ECN
		room := w.one.Next(dgram.MaxBatchBytes)
		w.one.Commit(copy(room[:cap(room)], out))
		if !judged {
			s.End.watchOut(w.one)
		}
		s.End.world.send(w.one)
	}
}

// rewrite returns a datagram with the frames of its packets changed. A packet that
// cannot be opened stays as it is.
func (w *scribe) rewrite(s *Session, b []byte) (out []byte) {
	for len(b) > 0 {
		t, pnOff, end := wire.OneRTT, shortHeader, len(b)
		if b[0]&0x80 != 0 {
			h, ok := wire.ParseLong(b)
			if !ok || h.Type == wire.Retry {
				break
			}
			t, pnOff, end = h.Type, h.PNOffset, h.End
		}
		pkt := b[:end]
		b = b[end:]
		out = append(out, w.packet(s, t, pnOff, pkt)...)
	}
	return append(out, b...)
}

func (w *scribe) packet(s *Session, t wire.PacketType, pnOff int, was []byte) []byte {
	pkt := bytes.Clone(was)
	o, ok := w.open(s, t, pnOff, pkt)
	if !ok {
		return was
	}
	w.largest[t] = max(w.largest[t], o.PN)
	pnLen := int(o.First&3) + 1
	frames := w.mutate(t, o.Payload)
	for pnLen+len(frames) < 4 { // or there is no sample (RFC 9001 §5.4.2)
		frames = append(frames, 0)
	}
	is := append(pkt[:pnOff+pnLen:pnOff+pnLen], frames...)
	is = append(is, make([]byte, protect.Overhead)...)[:len(is)]
	if t == wire.OneRTT {
		return w.oneRTT.Seal(is, pnOff, pnLen, o.PN)
	}
	varint.Put2(is[pnOff-2:], uint64(len(is)-pnOff+protect.Overhead))
	return w.sealers[t].Seal(is, pnOff, pnLen, o.PN)
}

func (w *scribe) open(s *Session, t wire.PacketType, pnOff int, pkt []byte) (protect.Opened, bool) {
	if t == wire.OneRTT {
		if !w.oneRTT.CanRead() {
			return protect.Opened{}, false
		}
		o, result := w.oneRTT.Open(s.End.world.now, pkt, pnOff, w.largest[t])
		return o, result == protect.OpenOK || result == protect.OpenUpdated
	}
	if version := binary.BigEndian.Uint32(pkt[1:]); t == wire.Initial && w.initial != version {
		first := s.Conn.FirstDCID()
		client, server := protect.InitialSecrets(version, first.Bytes())
		if s.Server {
			client = server
		}
		w.initial = version
		w.install(version, t, initialSuite, client)
	}
	if w.openers[t] == nil {
		return protect.Opened{}, false
	}
	return w.openers[t].Open(pkt, pnOff, w.largest[t])
}

const initialSuite = 0x1301 // TLS_AES_128_GCM_SHA256 (RFC 9001 §5.2)
