package sim_test

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// TestS54HandshakeLossGrid drops every subset of the first ten datagrams of one
// direction, or of both: no loss makes the ends wait for each other. Of the 1,024 subsets a
// quarter, which is spread over them, has its turn where the full count is not asked for.
func TestS54HandshakeLossGrid(t *testing.T) {
	const first = 10
	s := besiege(t)
	for name, l := range map[string]losing{
		"plain":             {},
		"retry":             {retry: true},
		"amplification":     {tls: sim.Script{Certificate: 12_000}},
		"0-RTT":             {tls: sim.Script{Early: true}},
		"0-RTT after retry": {retry: true, tls: sim.Script{Early: true}},
		"long hello":        {retry: true, tls: sim.Script{ClientHello: 5000, Certificate: 15_000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range max(siege.Costly(1<<first, 1<<first/4), 16) {
				mask := i * 389 % (1 << first) // all of them, in another order
				var lost []uint64
				for n := range first {
					if mask>>n&1 == 1 {
						lost = append(lost, uint64(n+1))
					}
				}
				for direction := 1; direction <= 3; direction++ {
					l.run(t, s, lost, direction)
				}
			}
		})
	}
}

// besiege makes an attack test of the rest of a test: no goroutine is left when it is over. The rest of
// the frame is seen to in each run: what both ends hold, that streams end, and that another connection's do.
func besiege(t *testing.T) *siege.Siege {
	goroutines := siege.Ours()
	t.Cleanup(func() {
		if n := siege.OursAtEnd(goroutines); n > goroutines {
			t.Errorf("%d goroutines, %d before", n, goroutines)
		}
	})
	return siege.Lay(t, honestPacket)
}

// honestPacket returns what a datagram costs, at both ends, where none is lost.
func honestPacket(t testing.TB) time.Duration {
	honest.Do(func() {
		packets := uint64(0)
		spent := siege.OfThread(func() {
			for range 100 {
				packets += losing{}.run(t, nil, nil, 0)
			}
		})
		honest.cost = spent / time.Duration(max(packets, 1))
	})
	return honest.cost
}

var honest struct {
	sync.Once
	cost time.Duration
}

// losing is a connection whose network loses the first datagrams.
type losing struct {
	retry bool
	tls   sim.Script
}

// run loses what has the given ordinals, on the way up (1), down (2) or both, and returns how
// many datagrams came.
func (l losing) run(t testing.TB, besieged *siege.Siege, lost []uint64, direction int) (came uint64) {
	ways := [2][]sim.Node{{sim.Delay(20*time.Millisecond, 0)}, {sim.Delay(20*time.Millisecond, 0)}}
	for i := range ways {
		if direction>>i&1 == 1 {
			ways[i] = append(ways[i], sim.DropList(lost...))
		}
	}
	s := newScene(t, ways[0], ways[1], func(server bool, s *sim.Setup) {
		s.Engine = l.tls.New
		s.Mux.ValidateAddress = server && l.retry
		s.Config.HandshakeTimeout = 40 * time.Minute
		s.Config.Params.MaxIdleTimeout = 40 * time.Minute
	})
	ends := [2]besiegedEnd{{Endpoint: s.client}, {Endpoint: s.server}}
	for i := range ends {
		ends[i].Victim = besieged.Victim(t, int64(sim.DefaultParameters().MaxData))
	}
	s.w.Step = func() error {
		for i := range ends {
			ends[i].takeLogs(t)
			ends[i].look(false)
		}
		return s.check()
	}
	ends[0].Spend(func() { l.live(s, lost, direction) })
	for i := range ends {
		ends[i].takeLogs(t)
		came += ends[i].leave()
		if siege.Logs && ends[i].logged == 0 {
			t.Errorf("%s has logged nothing", ends[i].Name)
		}
	}
	return came
}

// live shakes hands, carries data both ways, and lets another connection do so, too.
func (l losing) live(s *scene, lost []uint64, direction int) {
	s.talk(5000)
	if p := sim.DefaultParameters(); l.tls.Early {
		p.ActiveCIDLimit = 2
		s.connect(&p)
	} else {
		s.connect()
	}
	l.carried(s, lost, direction)
	n := s.neighbour()
	n.talk(100)
	n.connect()
	l.carried(n, lost, direction)
	s.finish()
}

// carried lets a connection come to its end. Where every datagram is lost that says that one was lost, waiting doubles
// each time: ten on either way, one after the other behind a Retry, are seventeen minutes.
func (l losing) carried(s *scene, lost []uint64, direction int) {
	if err := s.w.Run(20*time.Minute, func() bool { return s.confirmed() && s.done() }); err != nil {
		s.Fatalf("%+v, lost %v, directions %b, the client's connection %d: %v", l, lost, direction, len(s.client.Sessions), err)
	}
	s.c.Do(func(c *transport.Conn, now mono.Time) { c.Close(now, true, 0, "") })
}

// besiegedEnd is what is measured of an end's first session.
type besiegedEnd struct {
	*sim.Endpoint
	*siege.Victim // nil for nothing
	base          int64
	looks         int
	logged        int // bytes
}

// takeLogs reads what there is of the logs of all its sessions, as a program does all the time.
func (e *besiegedEnd) takeLogs(t testing.TB) {
	if !siege.Logs {
		return
	}
	for _, x := range e.Sessions {
		records, dropped := x.Conn.QLog().Take()
		e.logged += len(records)
		for r := range bytes.SplitSeq(records, []byte{'\n'}) {
			if r = bytes.TrimPrefix(r, []byte{0x1e}); len(r) > 0 && !json.Valid(r) {
				t.Fatalf("%s: the log has %q", e.Name, r)
			}
		}
		if dropped > 0 {
			t.Errorf("%s: %d events found no room in the log", e.Name, dropped)
		}
	}
}

// look notes how much the session holds, now and then.
func (e *besiegedEnd) look(last bool) {
	if e.Victim == nil || len(e.Sessions) == 0 {
		return
	}
	if e.looks++; last || e.Due(e.looks) {
		held := siege.Retained(e.Sessions[0].Conn, &e.Pool, e.Mux.Tokens())
		if e.base == 0 {
			e.base = held
		}
		e.Holds(held-e.base, 1)
	}
}

// leave ends the measuring, and returns how many datagrams came.
func (e *besiegedEnd) leave() uint64 {
	e.look(true)
	e.Ended("stays")
	in, out := siege.Traffic{}, siege.Traffic{}
	for _, x := range e.Sessions {
		st := x.Conn.Stats()
		in.Packets, in.Bytes = in.Packets+int(st.DatagramsReceived), in.Bytes+int(st.BytesReceived)
		out.Packets, out.Bytes = out.Packets+int(st.DatagramsSent), out.Bytes+int(st.BytesSent)
	}
	e.Carried(in, out)
	return uint64(in.Packets)
}
