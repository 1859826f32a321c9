package recovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9002 §6.4: discarded keys take their packets out of flight, and no fate
// is told of them, not even of those that were decided already.
func TestDropSpace(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.l.HasKeys(Handshake, true)
	s.sendN(3, Initial)
	s.sendN(5, Handshake)
	s.wantInFlight(8)
	s.wantPTO(2, 1, 0)
	s.at(1500 * ms)
	s.l.DropSpace(s.now, Initial)
	s.wantInFlight(5)
	equal(t, "next number", s.l.Next(Initial), 3)
	equal(t, "probes", s.l.Probes(Initial), 0)
	equal(t, "PTO count", s.l.PTOCount(), 0)
	s.wantDeadline(1500*ms + 999*ms) // RFC 9002 §6.2.2: neither from the packets nor doubled
	s.at(1510 * ms)
	if !s.l.Ack(s.now, Handshake, wire.MakeAck(parse("0 4"), 0, nil), 0) {
		t.Error("refused")
	}
	s.l.DropSpace(s.now, Handshake)
	s.nothing()
	s.wantInFlight(0)
	s.wantNoDeadline()
	if s.l.spaces[Initial].sent.packets != nil || s.l.spaces[Handshake].sent.frames != nil {
		t.Error("memory is kept")
	}
	s.ack(Initial, "0-2") // harmless

	s = newHandshake(t, Config{}) // a client that has nothing in flight any more
	s.l.HasKeys(Handshake, true)
	s.send(Initial)
	s.at(100 * ms)
	s.l.DropSpace(s.now, Initial)
	s.wantDeadline(100*ms + 999*ms)
}

// Fates of other spaces survive a drop in the middle of pulling them.
func TestDropSpaceWhilePulling(t *testing.T) {
	s := newHandshake(t, Config{})
	s.sendN(2, Initial)
	s.sendN(2, App)
	s.l.Ack(s.now, App, wire.MakeAck(parse("0-1"), 0, nil), 0)
	s.l.Ack(s.now, Initial, wire.MakeAck(parse("0-1"), 0, nil), 0)
	_, p, _, _, _ := s.l.NextFate()
	equal(t, "number", p.Number, 0)
	s.l.DropSpace(s.now, Initial)
	s.want("1 acked")
}

// RFC 9002 §6.3: after a Retry everything goes again; numbers go on, nothing
// was congestion, the timer starts over. The Retry tells the round trip.
func TestRetryRestart(t *testing.T) {
	s := newHandshake(t, Config{})
	s.send(Initial)
	s.sendN(3, App) // 0-RTT
	s.at(40 * ms)
	s.l.RetryRestart(s.now)
	s.want("I0 lost, 0-2 lost")
	equal(t, "remembered", len(s.l.spaces[Initial].late.live())+len(s.l.spaces[App].late.live()), 0)
	s.wantInFlight(0)
	equal(t, "reductions", s.cc.reductions, 0)
	equal(t, "lost", s.l.Stats().Lost, 0)
	equal(t, "next Initial", s.l.Next(Initial), 1)
	equal(t, "next App", s.l.Next(App), 3)
	equal(t, "assumed RTT", s.l.SmoothedRTT(), 40*ms)
	equal(t, "samples", s.l.RTT().Samples, 0)
	s.send(Initial)
	s.wantDeadline(40*ms + 120*ms)
	s.wantInFlight(1)
	s.at(90 * ms)
	s.ack(Initial, "1")
	s.want("I1 acked")
	equal(t, "spurious", s.l.Stats().Spurious, 0)
}

// After a timeout nobody knows which Initial the Retry answers.
func TestRetryAfterTimeout(t *testing.T) {
	s := newHandshake(t, Config{})
	s.send(Initial)
	s.wantPTO(2, 0, 0)
	s.payProbes()
	s.l.RetryRestart(s.now)
	s.want("I0-2 lost")
	equal(t, "assumed RTT", s.l.SmoothedRTT(), DefaultInitialRTT)
	equal(t, "PTO count", s.l.PTOCount(), 0)
	equal(t, "probes", s.l.Probes(Initial), 0)
	s.wantDeadline(2 * 999 * ms)
}

// RFC 9002 §6.4: rejected 0-RTT packets leave without a fate. Their numbers are
// not used again (RFC 9000 §17.2.3).
func TestEarlyRejected(t *testing.T) {
	s := newHandshake(t, Config{})
	s.send(Initial)
	s.sendN(3, App)
	s.wantInFlight(4)
	s.l.EarlyRejected()
	s.nothing()
	s.wantInFlight(1)
	s.l.HasKeys(App, true)
	equal(t, "number", s.send(App), 3)
	s.ack(App, "0-3")
	s.want("3 acked")
}

// RFC 9000 §9.4: packets of the old path do not touch the new one.
func TestMigration(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms) // 0
	s.sendN(5, App)      // 1-5
	s.at(150 * ms)
	s.send(App, otherPath) // 6: a path probe on the new path, which counts for none
	s.wantInFlight(5)

	s.at(160 * ms)
	old := s.cc
	s.cc = newSpy()
	s.l.ResetPath(s.now, s.cc)
	equal(t, "epoch", s.l.Epoch(), 1)
	s.wantInFlight(0)
	equal(t, "smoothed", s.l.SmoothedRTT(), 333*ms)
	equal(t, "samples", s.l.RTT().Samples, 0)
	s.sendN(2, App) // 7-8
	s.wantInFlight(2)

	s.at(200 * ms)
	s.ack(App, "5") // of the old path: fates, and nothing else
	s.want("1-2 lost, 5 acked")
	s.wantInFlight(2)
	equal(t, "samples", s.l.RTT().Samples, 0)
	equal(t, "reductions", s.cc.reductions+old.reductions, 0)
	equal(t, "ACKs told", len(s.cc.acks), 0)

	s.at(220 * ms)
	s.ack(App, "5-8")
	s.want("3-4 lost, 6-8 acked")
	s.wantInFlight(0)
	equal(t, "latest", s.l.RTT().Latest, 60*ms)
	equal(t, "reductions", s.cc.reductions, 0)
	equal(t, "ACKs told", len(s.cc.acks), 1)
	equal(t, "bytes told", s.cc.acks[0].Bytes, 2*size)
	s.ack(App, "1-8")
	s.want("1-4 acked")
	equal(t, "bytes told", len(s.cc.acks), 1)
}

// RFC 9002 §7.8: a window that was not used does not grow.
func TestAppLimited(t *testing.T) {
	s := newScript(t)
	s.sendN(9, App)
	s.l.SetAppLimited(true)
	s.at(50 * ms)
	s.ack(App, "0")
	s.want("0 acked")
	equal(t, "app-limited", s.cc.acks[0].AppLimited, true)
	s.sendN(2, App) // now it is full, though the application has no more
	s.ack(App, "0-1")
	s.want("1 acked")
	equal(t, "app-limited", s.cc.acks[1].AppLimited, false)
	s.l.SetAppLimited(false)
	s.ack(App, "0-10")
	s.want("2-10 acked")
	equal(t, "app-limited", s.cc.acks[2].AppLimited, false)
}

// The controller learns of one ACK once, with sums; rounds are counted over all spaces.
func TestControllerIsTold(t *testing.T) {
	s := newHandshake(t, Config{})
	s.sendN(2, Initial)
	s.send(App, quiet)
	s.sendN(3, App)
	s.at(70 * ms)
	s.ack(App, "0-2")
	s.want("0-2 acked")
	a := s.cc.acks[0]
	equal(t, "bytes", a.Bytes, 2*size)
	equal(t, "in flight before", a.InFlight, 5*size)
	equal(t, "send time", a.LargestSent, start)
	equal(t, "sequence", a.LargestPN, 4)
	equal(t, "next in sequence", a.NextPN, 6)
	equal(t, "sample", a.RTT, 70*ms)
	s.ack(Initial, "0")
	s.want("I0 acked")
	equal(t, "sample", s.cc.acks[1].RTT, 70*ms)
	s.ack(App, "0-3")
	s.want("3 acked")
	s.ack(Initial, "0-1")
	s.want("I1 acked")
	equal(t, "ACKs", len(s.cc.acks), 4)
}

// RFC 9002 §7.7: what is in flight is paced, packets that only acknowledge and
// packets of other paths are not. Charging in batches changes nothing.
func TestPacing(t *testing.T) {
	var single congestion.Pacer
	single.Init(start, size)
	s := newHandshake(t, Config{})
	single.Update(s.l.Window(), s.l.SmoothedRTT(), true)
	for i := range 200 {
		s.at(time.Duration(i/7) * 20 * ms)
		switch i % 10 {
		case 3:
			s.send(App, quiet)
		case 4:
			s.send(App, otherPath)
		default:
			s.send(App)
			single.Sent(s.now, size)
		}
		if i%3 == 0 {
			equal(t, "budget", s.l.Pacer().Budget(s.now), single.Budget(s.now))
			equal(t, "next", s.l.Pacer().Next(s.now), single.Next(s.now))
		}
	}
	s.send(App)
	s.l.ResetPath(s.now, newSpy())
	equal(t, "budget of a new path", s.l.Pacer().Budget(s.now), 10*size)
}

func TestSetMaxDatagram(t *testing.T) {
	s := newScript(t)
	s.l.SetMaxDatagram(1452)
	equal(t, "window", s.l.Window(), 10*1452)
	equal(t, "budget", s.l.Pacer().Budget(s.now)%1452, 0)
}

// RFC 9000 §13.2.1: the peer need not acknowledge what only acknowledges. We
// track a thousand such packets; one that is ack-eliciting is never forgotten.
func TestQuietPacketsAreBounded(t *testing.T) {
	most := limits.Bound(t, "quiet-packets")
	s := newScript(t)
	s.send(App)
	for i := range 20_000 {
		s.send(App, quiet)
		if i%1000 == 500 {
			s.send(App)
		}
	}
	sp := s.l.spaces[App]
	equal(t, "quiet packets", sp.quiet, most)
	equal(t, "ack-eliciting packets", sp.eliciting, 21)
	if n := cap(sp.sent.packets); n > 4*(most+21) {
		t.Errorf("room for %d packets", n)
	}
	s.wantInFlight(21)
	last := s.l.Next(App) - 1
	s.ack(App, fmt.Sprintf("0 2-%d", last))
	if _, p, _, _, ok := s.l.NextFate(); !ok || p.Number != 0 {
		t.Error("the oldest packet is forgotten")
	}
	n := 1
	for _, _, _, _, ok := s.l.NextFate(); ok; _, _, _, _, ok = s.l.NextFate() {
		n++
	}
	equal(t, "fates", n, most+21)
	equal(t, "quiet packets", sp.quiet, 0)
	s.wantInFlight(0)
}

// A lossy time leaves memory behind, which Trim gives back.
func TestTrim(t *testing.T) {
	s := newScript(t)
	s.sendN(2000, App)
	s.ack(App, "1999")
	s.want("0-1996 lost, 1999 acked")
	s.at(time.Second)
	s.l.Advance(s.now)
	s.want("1997-1998 lost")
	s.l.Trim()
	sp := s.l.spaces[App]
	equal(t, "memory", cap(sp.sent.packets)+cap(sp.sent.frames)+cap(sp.late.packets)+cap(sp.late.frames)+cap(s.l.fates), 0)
	s.send(App)
	s.l.Trim()
	s.ack(App, "2000")
	s.want("2000 acked")
}

func TestNames(t *testing.T) {
	equal(t, "spaces", Initial.String()+Handshake.String()+App.String()+Space(9).String(), "InitialHandshakeAppSpace?")
	equal(t, "fates", Acked.String()+Lost.String(), "ackedlost")
	var l Loss
	l.Init(start, Config{})
	equal(t, "controller", l.Controller().Name(), "cubic")
}

// A packet that the system refused to send leaves everything as if it had never been:
// the flight, the pacer's budget, the probe timer and what spans persistent congestion.
func TestUnsent(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms) // 0
	s.at(200 * ms)
	budget := s.l.Pacer().Budget(s.now)
	n := s.send(App, probe, ect0)
	s.wantInFlight(1)
	s.l.Unsent(s.now, App, n)
	s.wantInFlight(0)
	s.wantNoDeadline()
	equal(t, "budget", s.l.Pacer().Budget(s.now), budget)
	s.l.Unsent(s.now, App, n) // twice is once
	s.l.Unsent(s.now, App, n+7)
	s.wantInFlight(0)
	equal(t, "number", s.send(App), n+1)
	s.at(250 * ms)
	s.ack(App, "2")
	s.want("2 acked")
	equal(t, "lost", s.l.Stats().ProbesLost, 0)
}

// What is outstanding on paths that were left takes nothing from the next one, however far
// probes had overdrawn the window of the last; nor do probes of other paths.
func TestNewPathIsFree(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms)
	for s.l.CanSend() >= size {
		s.send(App)
	}
	for range 12 {
		s.send(App) // as probe timeouts do
	}
	s.cc = newSpy()
	s.l.ResetPath(s.now, s.cc)
	equal(t, "room on a new path", s.l.CanSend(), s.l.Window())

	s = newScript(t)
	s.sendN(20, App, otherPath)
	equal(t, "room beside probes of another path", s.l.CanSend(), s.l.Window())
}

// A peer that moves for ever and acknowledges nothing gets one window more than it had, and no more.
func TestPathsShareWhatIsUnacknowledged(t *testing.T) {
	s := newScript(t)
	for range 100 {
		for s.l.CanSend() >= size {
			s.send(App)
		}
		s.l.ResetPath(s.now, newSpy())
	}
	if n := s.l.unacked; n > 2*s.l.Window() {
		t.Errorf("%d bytes are remembered, of windows of %d", n, s.l.Window())
	}
}

// To change the path costs the same, however much was sent before: a peer may do so with every packet. No record is
// looked at, since none belongs to the new path.
func TestResetPathWalksNothing(t *testing.T) {
	s := newScript(t)
	s.sendN(3, App)
	records := s.l.app.sent.packets
	s.l.app.sent.packets, s.l.app.sent.head = nil, 1 // who looks at records panics
	s.l.ResetPath(s.now, newSpy())
	s.l.app.sent.packets, s.l.app.sent.head = records, 0
	s.wantInFlight(0)
	s.ack(App, "0-2")
	s.want("0-2 acked")
}

// No packet is ever taken for one of a later path, nor a probe of another path for one of the path in use.
func TestPathsAreNotMixedUp(t *testing.T) {
	s := newScript(t)
	s.send(App)
	s.send(App, otherPath)
	for i := range 1 << 16 {
		s.l.ResetPath(s.now, newSpy())
		if n := s.l.InFlight(); n != 0 {
			t.Fatalf("%d bytes in flight on path %d, which nothing was sent on", n, i+1)
		}
	}
}
