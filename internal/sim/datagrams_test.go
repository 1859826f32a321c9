package sim_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// maxBabble is how many datagrams an end sends at most.
const maxBabble = 2000

// babble is the unreliable datagrams of one end (RFC 9221), which it sends while streams
// are read: what comes is what was sent and comes once, each has one fate, and what is
// acknowledged has come.
type babble struct {
	rand *rand.Rand
	said uint64          // ids given
	told map[uint64]bool // whether it has arrived, by id
	got  map[uint64]bool // of the peer's
	lost int
}

// drawDatagrams draws whether the ends take datagrams, from numbers of its own.
func (r *run) drawDatagrams(server, client *sim.Setup) {
	draw := rand.New(rand.NewPCG(r.seed, 9221))
	if r.babbles = draw.IntN(2) == 0; !r.babbles {
		return
	}
	for _, s := range []*sim.Setup{server, client} {
		s.Config.Params.MaxDatagramFrame = 100 + draw.Int64N(2000)
	}
	r.say("datagrams of %d and %d", server.Config.Params.MaxDatagramFrame, client.Config.Params.MaxDatagramFrame)
}

func newBabble(seed uint64, server bool) *babble {
	return &babble{rand: rand.New(rand.NewPCG(seed, 9222+uint64(side(server)))), told: map[uint64]bool{}, got: map[uint64]bool{}}
}

// datagram returns the content of an end's datagram: its id, and bytes that depend on it.
func datagram(server bool, id uint64, n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, id<<1|uint64(side(server)))
	return append(b, pattern[id%period:][:n]...)
}

// babble sends a few datagrams.
func (a *talker) babble() {
	b := a.t.babbles[side(a.s.Server)]
	if b == nil || b.rand.IntN(3) > 0 {
		return
	}
	for range 1 + b.rand.IntN(3) {
		most, _, ok := a.s.Conn.MaxDatagramSize()
		if !ok || most < 8 || b.said == maxBabble {
			return
		}
		id, ok := a.s.Conn.SendDatagram(a.w.Now(), datagram(a.s.Server, b.said+1, b.rand.IntN(most-7)))
		if !ok {
			return // the queue is full
		}
		if b.said++; id != b.said {
			a.fail(nil, "datagram %d has the number %d", b.said, id)
		}
	}
}

// heard takes the datagrams that have come.
func (a *talker) heard() {
	b := a.t.babbles[side(a.s.Server)]
	for {
		p, _, ok := a.s.Conn.ReceiveDatagram(a.w.Now(), nil)
		if !ok {
			return
		}
		if len(p) < 8 {
			a.fail(nil, "a datagram of %d bytes", len(p))
			return
		}
		id := binary.BigEndian.Uint64(p) >> 1
		if !bytes.Equal(p, datagram(!a.s.Server, id, len(p)-8)) {
			a.fail(nil, "datagram %d of %d bytes is not the one that was sent", id, len(p))
		}
		if b.got[id] {
			a.fail(nil, "datagram %d came twice", id)
		}
		b.got[id] = true
	}
}

// settled takes what is told of datagrams that were sent.
func (a *talker) settled(ev *transport.Event) {
	b, peer := a.t.babbles[side(a.s.Server)], a.t.babbles[side(!a.s.Server)]
	for id := ev.Code; id < ev.Code+uint64(ev.N); id++ {
		if _, before := b.told[id]; before || id == 0 || id > b.said {
			a.fail(nil, "the fate of datagram %d of %d is told, before %v", id, b.said, before)
		}
		if b.told[id] = ev.OK; !ev.OK {
			b.lost++
		} else if !peer.got[id] {
			a.fail(nil, "datagram %d is acknowledged and has not come", id)
		}
	}
}

// whole checks, after the end, that the fate of every datagram was told.
func (t *traffic) whole() error {
	for i, b := range t.babbles {
		if b != nil && uint64(len(b.told)) != b.said {
			return fmt.Errorf("side %d: of %d datagrams the fates of %d are told", i, b.said, len(b.told))
		}
	}
	return nil
}

// countDatagrams adds up what happened to them.
func (r *run) countDatagrams(p *pair) {
	for _, b := range p.babbles {
		if b != nil {
			r.stats["unreliable datagrams sent"] += b.said
			r.stats["unreliable datagrams acknowledged"] += uint64(len(b.told) - b.lost)
			r.stats["unreliable datagrams lost"] += uint64(b.lost)
		}
	}
}
