package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// liar changes packets as a list of instructions says: each waits for some packets, and
// changes the next.
type liar struct {
	b    []byte
	wait int
	did  int
}

func (l *liar) byte() (v byte) {
	if len(l.b) > 0 {
		v, l.b = l.b[0], l.b[1:]
	}
	return v
}

func (l *liar) take(n int) []byte {
	n = min(n, len(l.b))
	v := l.b[:n]
	l.b = l.b[n:]
	return v
}

// The ways to change a packet's frames.
const (
	mutFlip    = iota // position, bits
	mutSet            // position, value
	mutInsert         // position, length, bytes
	mutCut            // position, length
	mutRepeat         // position: what follows is there twice
	mutReplace        // length, bytes: all of them
	mutFront          // length, bytes: before the others
	mutations
)

// mutate is a sim.Mutation.
func (l *liar) mutate(_ wire.PacketType, frames []byte) []byte {
	if len(l.b) == 0 {
		return frames
	}
	if l.wait > 0 {
		l.wait--
		return frames
	}
	l.did++
	frames = slices.Clone(frames)
	how := l.byte() % mutations
	at := 0
	if how < mutReplace && len(frames) > 0 {
		at = int(l.byte()) % len(frames)
	}
	switch how {
	case mutFlip:
		frames[at] ^= l.byte()
	case mutSet:
		frames[at] = l.byte()
	case mutInsert:
		frames = slices.Insert(frames, at, l.take(int(l.byte()))...)
	case mutCut:
		frames = slices.Delete(frames, at, min(at+int(l.byte()), len(frames)))
	case mutRepeat:
		if len(frames) < 1300 {
			frames = append(frames, frames[at:]...)
		}
	case mutReplace:
		frames = slices.Clone(l.take(int(l.byte())))
	case mutFront:
		frames = append(slices.Clone(l.take(int(l.byte()))), frames...)
	}
	l.wait = int(l.byte()) % 32
	return frames
}

// FuzzLive changes the frames of a connection's packets on their way, at every stage from
// the first packet on and in both directions: whatever they say then, nobody panics or goes
// round in circles, nobody sends more than three times what came from an address that is
// not validated, and nothing is left when it is over. Both ends talk meanwhile.
func FuzzLive(f *testing.F) {
	for side := range byte(8) {
		for wait := range byte(12) {
			f.Add(side, []byte{wait, mutFlip, 0, 0xff, 0, mutFlip, 9, 1, 3, mutCut, 4, 100})
			f.Add(side, []byte{wait, mutFront, 3, 0x1c, 0, 0, 2, mutRepeat, 1, 1, mutReplace, 2, 0x01, 0x1e})
			f.Add(side, []byte{wait, mutFront, 4, 0x06, 0, 1, 9, 0, mutInsert, 0, 3, 0x08, 3, 'x', 0, mutFront, 2, 0x05, 0x00})
		}
	}
	f.Fuzz(func(t *testing.T, side byte, b []byte) {
		if len(b) > 1000 {
			return
		}
		if err := lie(side, b); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLive makes sure that what FuzzLive relies on is so: a mutation that changes nothing
// changes nothing, and others are made.
func TestLive(t *testing.T) {
	for side := range byte(8) {
		if err := lie(side, []byte{200, 0}); err != nil {
			t.Error(err)
		}
	}
}

// lie runs a connection one of whose ends has its packets changed.
func lie(side byte, b []byte) error {
	w := sim.NewWorld(1)
	delay := func() []sim.Node { return []sim.Node{sim.Delay(5*time.Millisecond, 0)} }
	setup := sim.Setup{Engine: sim.Script{Early: side&2 != 0}.New}
	setup.Config.Params = sim.DefaultParameters()
	setup.Config.Params.MaxDatagramFrame = 1000
	if side&2 != 0 {
		setup.Config.Resumed = &setup.Config.Params
	}
	setup.Mux.ValidateAddress = side&4 != 0
	server, client := w.Listen("server", serverAddr, setup), w.Endpoint("client", clientAddr, setup)
	w.Net.Link(clientAddr, serverAddr, delay(), delay())
	l := &liar{b: b}
	l.wait = int(l.byte()) % 64
	server.OnSession = func(s *sim.Session) { echo(w, s) }
	[]*sim.Endpoint{client, server}[side&1].Mutate = l.mutate
	c := client.Connect(serverAddr)
	echo(w, c)
	if err := w.Run(20*time.Second, nil); err != nil {
		return err
	}
	c.Do(func(x *transport.Conn, now mono.Time) { x.Close(now, true, 7, "over") })
	if err := w.Run(time.Hour, func() bool {
		return !slices.ContainsFunc(slices.Concat(client.Sessions, server.Sessions), func(s *sim.Session) bool { return !s.Gone })
	}); err != nil {
		return err
	}
	return w.Finish()
}

// echo makes an end open streams, and read whatever comes.
func echo(w *sim.World, s *sim.Session) {
	buf := make([]byte, 4096)
	say := func(st *transport.Stream) {
		if st != nil {
			s.Conn.Write(st, content.content(st.ID(), 8000))
			s.Conn.CloseWrite(st)
		}
	}
	s.Handle = func(ev *transport.Event) {
		switch ev.Kind {
		case transport.EventSecure:
			for i := range 4 {
				say(s.Conn.OpenStream(w.Now(), i&1 == 0))
			}
			s.Conn.SendDatagram(w.Now(), buf[:100])
		case transport.EventStream:
			if !ev.Stream.Uni() {
				say(ev.Stream)
			}
		case transport.EventDatagram:
			s.Conn.ReceiveDatagram(w.Now(), buf)
		case transport.EventReadable:
			for n, err := 1, error(nil); n > 0 && err == nil; {
				n, err = s.Conn.Read(w.Now(), ev.Stream, buf)
			}
		}
	}
}

var content = &leg{}
