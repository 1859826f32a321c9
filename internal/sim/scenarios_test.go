package sim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// scene is one connection with a plan made by hand.
type scene struct {
	traffic
	testing.TB
	w              *sim.World
	server, client *sim.Endpoint
	c              *sim.Session
}

// newScene connects a client to a server over the given ways. Edit, if any,
// changes the setup of either.
func newScene(t testing.TB, up, down []sim.Node, edit func(server bool, s *sim.Setup)) *scene {
	s := &scene{TB: t, w: sim.NewWorld(1)}
	var setups [2]sim.Setup
	for i := range setups {
		setups[i].Config.Params, setups[i].Config.QLog = sim.DefaultParameters(), siege.Logs
		if edit != nil {
			edit(i == 1, &setups[i])
		}
	}
	s.server = s.w.Listen("server", serverAddr, setups[1])
	s.client = s.w.Endpoint("client", clientAddr, setups[0])
	s.w.Net.Link(clientAddr, serverAddr, up, down)
	s.w.Step = s.check
	s.accept()
	return s
}

// accept makes the plan the application of the server's end, once there is one.
func (s *scene) accept() {
	s.server.OnSession = func(x *sim.Session) {
		x.Handle = func(ev *transport.Event) {
			if ev.Kind == transport.EventParameters && x.Peer == s.c {
				s.attach(s.w, x)
			}
		}
	}
}

// neighbour returns another connection's scene between the same ends.
func (s *scene) neighbour() *scene {
	n := &scene{TB: s.TB, w: s.w, server: s.server, client: s.client}
	n.accept()
	return n
}

// connect starts the connection, with 0-RTT data if the server's parameters are
// remembered.
func (s *scene) connect(remembered ...*wire.Parameters) {
	s.c = s.client.Connect(serverAddr, func(c *transport.Config) {
		for _, p := range remembered {
			c.Resumed = p
		}
	})
	a := s.attach(s.w, s.c)
	if s.c.Conn.UsingEarlyData() {
		s.c.Do(func(*transport.Conn, mono.Time) { a.start() })
	}
}

// talk adds a bidirectional stream that carries size bytes each way.
func (s *scene) talk(size int64) {
	p := &streamPlan{}
	for i := range p.legs {
		p.legs[i] = &leg{key: 2*len(s.streams) + i, size: size, stop: -1, write: 10_000, read: 10_000}
		s.total += size
	}
	s.streams = append(s.streams, p)
}

// run goes on until done, at most for the given time.
func (s *scene) run(limit time.Duration, done func() bool) {
	s.Helper()
	if err := s.w.Run(limit, done); err != nil {
		s.Fatalf("%v\n%v\nclient %+v", err, s.w.Net, s.c.Conn.Stats())
	}
}

func (s *scene) confirmed() bool { return s.c.Confirmed && s.c.Peer != nil && s.c.Peer.Confirmed }

// finish closes the connection and looks for what is left of it.
func (s *scene) finish() {
	s.Helper()
	s.c.Do(func(c *transport.Conn, now mono.Time) { c.Close(now, true, 0, "") })
	s.run(time.Hour, func() bool {
		for _, e := range []*sim.Endpoint{s.client, s.server} {
			for _, x := range e.Sessions {
				if !x.Gone {
					return false
				}
			}
		}
		return true
	})
	if err := s.w.Finish(); err != nil {
		s.Error(err)
	}
	if err := thrifty(s.w.Now(), s.client, s.server); err != nil {
		s.Error(err)
	}
}

// Both ends give up after the smaller of their timeouts, without a word.
func TestIdleTimeout(t *testing.T) {
	s := newScene(t, sim.Interop(), sim.Interop(), func(server bool, s *sim.Setup) {
		if !server {
			s.Config.Params.MaxIdleTimeout = 7 * time.Second
		}
	})
	s.talk(1000)
	s.connect()
	s.run(time.Minute, s.done)
	s.run(time.Second, nil)
	sent, now := s.w.Net.Counters().Sent, s.w.Now()
	s.run(time.Minute, func() bool { return s.c.Gone && s.c.Peer.Gone })
	for _, x := range []*sim.Session{s.c, s.c.Peer} {
		if x.Closed.Kind != transport.CloseIdle {
			t.Errorf("%s: closed with %+v", x.End.Name, *x.Closed)
		}
	}
	if took := s.w.Now().Sub(now); took < 5*time.Second || took > 7*time.Second {
		t.Errorf("idle for %v more", took)
	}
	if n := s.w.Net.Counters().Sent; n != sent {
		t.Errorf("%d datagrams were sent meanwhile", n-sent)
	}
	if err := s.w.Finish(); err != nil {
		t.Error(err)
	}
}

// A client's keep-alive keeps both ends alive, with two datagrams each time.
func TestKeepAlive(t *testing.T) {
	s := newScene(t, sim.Interop(), sim.Interop(), func(server bool, s *sim.Setup) {
		if !server {
			s.Config.KeepAlive = 10 * time.Second
		}
	})
	s.connect()
	s.run(time.Minute, s.confirmed)
	s.run(5*time.Second, nil)
	sent := s.w.Net.Counters().Sent
	s.run(time.Hour, nil)
	if s.c.Closed != nil || s.c.Peer.Closed != nil {
		t.Fatalf("closed: %v, %v", s.c.Closed, s.c.Peer.Closed)
	}
	if n := s.w.Net.Counters().Sent - sent; n < 700 || n > 760 {
		t.Errorf("%d datagrams in an hour, want 2 for each of 360 times", n)
	}
	s.finish()
}

// A round-trip time of ten seconds is far beyond what an end assumes at first:
// probes go out in vain, and nothing else happens.
func TestLongRTT(t *testing.T) {
	far := func() []sim.Node { return []sim.Node{sim.Rate(10_000_000, 1000), sim.Delay(5*time.Second, 0)} }
	s := newScene(t, far(), far(), func(_ bool, s *sim.Setup) {
		s.Config.HandshakeTimeout = 5 * time.Minute
		s.Config.Params.MaxIdleTimeout = 5 * time.Minute
	})
	s.talk(500_000)
	s.connect()
	s.run(10*time.Minute, s.done)
	for _, x := range []*sim.Session{s.c, s.c.Peer} {
		if st := x.Conn.Stats(); st.PacketsLost > 0 || st.RTT.Smoothed < 9*time.Second {
			t.Errorf("%s: %+v", x.End.Name, st)
		}
	}
	s.finish()
}

// A path that carries nothing for two seconds costs about as much again, for
// the probe timeout has backed off by then.
func TestBlackout(t *testing.T) {
	var from mono.Time = mono.Never
	out := func() sim.Node {
		return sim.When(func(now mono.Time) bool { return from <= now && now < from.Add(2*time.Second) }, sim.Blackhole(0, time.Hour))
	}
	s := newScene(t, sim.Interop(out()), sim.Interop(out()), nil)
	s.talk(1 << 20)
	s.connect()
	s.run(time.Minute, func() bool { return s.progress() > 0.3 })
	from = s.w.Now()
	s.run(time.Minute, func() bool { return s.w.Now() >= from.Add(2*time.Second) })
	moved := s.moved
	s.run(2*time.Second, func() bool { return s.moved > moved })
	s.run(time.Minute, s.done)
	if took := s.w.Now().Sub(from); took > 15*time.Second {
		t.Errorf("took %v from then on", took)
	}
	s.finish()
}

// When everything of a long enough time is lost the window collapses (RFC 9002
// §7.6), and the transfer comes back all the same.
func TestPersistentCongestion(t *testing.T) {
	lose := false
	s := newScene(t, sim.Interop(sim.When(func(mono.Time) bool { return lose }, sim.Loss(100, 0))), sim.Interop(), nil)
	s.talk(2 << 20)
	s.connect()
	s.run(time.Minute, func() bool { return s.progress() > 0.3 })
	lose = true
	s.run(10*time.Second, func() bool { return s.c.Conn.Stats().PTOs >= 4 })
	lose = false
	least := s.c.Conn.Stats().Window
	s.run(10*time.Second, func() bool {
		least = min(least, s.c.Conn.Stats().Window)
		return s.c.Conn.Stats().PersistentCongestion > 0
	})
	// What let us know was an acknowledgment, for which it grew from two datagrams again.
	if least > 4*1452 {
		t.Errorf("the window fell to %d only", least)
	}
	s.run(time.Minute, s.done)
	s.finish()
}

// A connection may end at any time, in its handshake too, from either side and
// with or without a word: nothing is left of it.
func TestEndAtAnyTime(t *testing.T) {
	ways := []func(c *transport.Conn, now mono.Time){
		func(c *transport.Conn, now mono.Time) { c.Close(now, true, 7, "enough") },
		func(c *transport.Conn, now mono.Time) { c.Close(now, false, 0, "") },
		func(c *transport.Conn, now mono.Time) { c.Destroy(now) },
	}
	for after := range 100 {
		for i, end := range ways {
			s := newScene(t, sim.Interop(sim.Loss(3, 0)), sim.Interop(sim.Loss(3, 0)), func(server bool, s *sim.Setup) {
				s.Engine = sim.Script{Early: true}.New
				s.Mux.ValidateAddress = server && after%2 == 1
				if after%3 == 1 {
					s.ThinkTime = 5 * time.Millisecond
				}
			})
			for range 5 {
				s.talk(100_000)
			}
			p := sim.DefaultParameters()
			p.ActiveCIDLimit = 2
			s.connect(&p)
			s.run(time.Duration(after)*3*time.Millisecond, nil)
			x := s.c
			if all := s.server.Sessions; (after+i)%2 == 1 && len(all) > 0 {
				x = all[0]
			}
			if !x.Gone {
				x.Do(end)
			}
			s.run(10*time.Minute, nil)
			if err := s.w.Finish(); err != nil {
				t.Errorf("end %d after %d ms: %v", i, 3*after, err)
			}
		}
	}
}

// A server that has lost its state says so with a stateless reset, which the
// client believes.
func TestStatelessReset(t *testing.T) {
	s := newScene(t, sim.Interop(), sim.Interop(), nil)
	s.talk(1 << 20)
	s.connect()
	s.run(time.Minute, func() bool { return s.progress() > 0.5 })
	s.c.Peer.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	s.run(time.Second, func() bool { return s.c.Closed != nil })
	if s.c.Closed.Kind != transport.CloseReset {
		t.Errorf("closed with %+v", *s.c.Closed)
	}
	s.run(time.Minute, nil)
	if err := s.w.Finish(); err != nil {
		t.Error(err)
	}
}

// A client goes to the server's preferred address in the middle of what it does.
func TestPreferredAddress(t *testing.T) {
	s := newScene(t, sim.Interop(sim.Loss(2, 0)), sim.Interop(sim.Loss(2, 0)), func(server bool, s *sim.Setup) {
		if server {
			s.Config.Params.PreferredAddress = &wire.PreferredAddress{IPv4: movedAddr}
		}
		s.Config.AcceptPreferred = true
	})
	s.server.Moved(movedAddr)
	s.w.Net.Link(clientAddr, movedAddr, sim.Interop(), sim.Interop())
	s.talk(1 << 20)
	s.connect()
	s.run(time.Minute, s.done)
	for _, x := range []*sim.Session{s.c, s.c.Peer} {
		if p := x.Conn.Path(); p.Local != movedAddr && p.Remote != movedAddr {
			t.Errorf("%s: path %v", x.End.Name, p)
		}
	}
	s.finish()
}

// Many connections of one client's endpoint to one server's at a time.
func TestManyConnections(t *testing.T) {
	const count = 20
	w := sim.NewWorld(7)
	server := w.Listen("server", serverAddr, sim.Setup{})
	client := w.Endpoint("client", clientAddr, sim.Setup{})
	w.Net.Link(clientAddr, serverAddr, sim.Interop(sim.Loss(2, 0)), sim.Interop(sim.Loss(2, 0)))
	all := map[*sim.Session]*traffic{}
	server.OnSession = func(x *sim.Session) {
		x.Handle = func(ev *transport.Event) {
			if ev.Kind == transport.EventSecure {
				all[x.Peer].attach(w, x)
			}
		}
	}
	for i := range count {
		tr := &traffic{streams: []*streamPlan{{server: i%2 == 1, legs: [2]*leg{
			{key: i, size: 50_000, stop: -1, write: 7000, read: 7000},
			{key: i + count, size: 50_000, stop: -1, write: 7000, read: 7000, how: byReader},
		}}}}
		c := client.Connect(serverAddr)
		all[c] = tr
		tr.attach(w, c)
	}
	err := w.Run(time.Minute, func() bool {
		for _, tr := range all {
			if !tr.done() {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err, w.Net)
	}
	for c := range all {
		c.Do(func(c *transport.Conn, now mono.Time) { c.Close(now, true, 1, fmt.Sprint("end of ", count)) })
	}
	if err := w.Run(5*time.Minute, nil); err != nil {
		t.Error(err)
	}
	if err := w.Finish(); err != nil {
		t.Error(err)
	}
}
