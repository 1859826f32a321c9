package recovery

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// RFC 9002 §6.2.1: the probe timeout counts from the last ack-eliciting packet,
// doubles each time, and an answer resets it.
func TestPTOBackoff(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms)
	pto := 100*ms + 4*50*ms + 25*ms
	equal(t, "PTO", s.l.PTO(App), pto)
	s.send(App)
	s.at(110 * ms)
	s.send(App)
	s.at(120 * ms)
	s.send(App, quiet) // does not count
	s.wantDeadline(110*ms + pto)

	s.wantPTO(0, 0, 2)
	s.payProbes()
	sent := 110*ms + pto
	for count := 1; count <= 5; count++ {
		equal(t, "PTO count", s.l.PTOCount(), count)
		s.wantDeadline(sent + pto<<count)
		sent += pto << count
		s.wantPTO(0, 0, 2)
		s.payProbes()
	}
	equal(t, "probe timeouts", s.l.Stats().PTOs, 6)

	s.now = s.now.Add(100 * ms)
	s.ack(App, "15")
	s.want("1-13 lost, 15 acked")
	equal(t, "PTO count", s.l.PTOCount(), 0)
	equal(t, "deadline is the loss timer", s.l.Deadline() < s.now.Add(s.l.PTO(App)), true)
}

// RFC 9002 §6.2: the timeout marks nothing as lost. It hands out what is
// unacknowledged, the oldest first, so that it can be sent again.
func TestPTOContents(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms)
	s.send(App, quiet)
	s.sendN(2, App)
	s.send(App, probe)
	s.send(App)
	s.wantPTO(0, 0, 2)
	s.nothing()
	s.wantInFlight(4)
	for i, number := range []int64{2, 3, 5} {
		frames, ok := s.l.Unacked(App, i)
		if !ok || frames[0].ID != number {
			t.Errorf("unacknowledged packet %d: %v %v, want number %d", i, frames, ok, number)
		}
	}
	if _, ok := s.l.Unacked(App, 3); ok {
		t.Error("there is a fourth one")
	}
	s.payProbes()
	s.wantInFlight(6)
	equal(t, "probes", s.l.Probes(App), 0)
	s.l.ProbeSent(App)
	equal(t, "probes", s.l.Probes(App), 0)
}

// RFC 9002 §7.5: probes are sent whatever the window says, and count.
func TestProbesOverdrawTheWindow(t *testing.T) {
	s := newScript(t)
	s.sendN(10, App)
	equal(t, "room", s.l.CanSend(), 0)
	s.wantPTO(0, 0, 2)
	s.payProbes()
	equal(t, "room", s.l.CanSend(), -2*size)
	equal(t, "most in flight", s.l.Stats().MaxInFlight, 12*size)
}

// An answer that comes between timeout and probe makes the probe needless.
func TestAckCancelsProbes(t *testing.T) {
	s := newScript(t)
	s.sendN(2, App)
	s.wantPTO(0, 0, 2)
	s.ack(App, "0-1")
	s.want("0-1 acked")
	equal(t, "probes", s.l.Probes(App), 0)
	s.wantNoDeadline()
}

// RFC 9002 §6.2.1: no probe timer runs beside the loss timer.
func TestLossTimerBeforePTO(t *testing.T) {
	s := newScript(t)
	s.measured(100 * ms)
	s.sendN(2, App)
	s.at(200 * ms)
	s.ack(App, "2")
	s.want("2 acked")
	s.send(App)
	s.wantDeadline(100*ms + 100*ms*9/8)
	s.expire()
	s.want("1 lost")
	s.wantDeadline(200*ms + s.l.PTO(App))

	// Nor does a probe timeout that would come first count: on a steady path it is a round trip.
	s = newHandshake(t, Config{})
	s.l.HasKeys(Handshake, true)
	sent := time.Duration(0)
	for n := range 40 {
		s.send(Handshake)
		sent += 100 * ms
		s.at(sent)
		s.ack(Handshake, strconv.Itoa(n))
		s.want(fmt.Sprintf("H%d acked", n))
	}
	s.sendN(2, Handshake)
	s.at(sent + 100*ms)
	s.ack(Handshake, "41")
	s.want("H41 acked")
	if pto := sent + s.l.PTO(Handshake); pto >= sent+100*ms*9/8 {
		t.Fatalf("a probe timeout at %v", pto)
	}
	s.wantDeadline(sent + 100*ms*9/8)
}

// RFC 9002 §6.2.1: 1 s before the first sample, the earliest of Initial and
// Handshake, and no peer delay for these.
func TestPTODuringHandshake(t *testing.T) {
	s := newHandshake(t, Config{})
	s.wantNoDeadline() // nothing sent yet
	s.send(Initial)
	s.wantDeadline(999 * ms)
	s.wantPTO(2, 0, 0)
	s.payProbes()
	s.wantDeadline(3 * 999 * ms)

	s.at(1100 * ms)
	s.ack(Initial, "1")
	s.want("I0 lost, I1 acked")
	s.wantDeadline(999*ms + s.l.PTO(Initial)<<1) // a client does not trust an Initial

	s = newHandshake(t, Config{})
	s.l.HasKeys(Handshake, true)
	s.send(Initial)
	s.at(200 * ms)
	s.send(Handshake)
	s.wantDeadline(999 * ms) // the earlier of the two
}

// The client has 1-RTT packets in flight before the handshake is confirmed: they
// get no timer (RFC 9002 §6.2.1) but go along as probes (§6.2.4).
func TestPTOAppOnlyWhenConfirmed(t *testing.T) {
	s := newHandshake(t, Config{})
	s.l.HasKeys(Handshake, true)
	s.l.HasKeys(App, true)
	s.send(App)
	s.send(Handshake)
	s.wantDeadline(999 * ms)
	s.wantPTO(0, 2, 1)
	s.payProbes()
	s.at(1050 * ms)
	s.ack(Handshake, "0-2")
	s.want("H0-2 acked")
	s.wantNoDeadline()
	s.l.Confirmed()
	s.l.DropSpace(s.now, Handshake)
	s.wantDeadline(1050*ms + s.l.PTO(App)) // discarding keys starts the timer over
	s.wantPTO(0, 0, 2)
	s.payProbes()
	s.ack(App, "0-3")
	s.want("0-3 acked")
}

// RFC 9002 §6.2.4: one timeout probes all spaces with something in flight.
func TestPTOInSeveralSpaces(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.l.HasKeys(Handshake, true)
	s.l.HasKeys(App, true)
	s.send(Initial)
	s.at(1 * ms)
	s.send(Handshake)
	s.send(App)
	s.wantDeadline(999 * ms)
	s.wantPTO(2, 1, 1)
	s.payProbes()
	s.wantDeadline(3 * 999 * ms) // all of them counted from the probes, doubled
	s.l.DropSpace(s.now, Initial)
	equal(t, "PTO count", s.l.PTOCount(), 0)
	s.wantPTO(0, 2, 1)
}

// RFC 9002 §6.2.2.1: a client keeps talking, with nothing in flight, until it
// knows that the server is not blocked.
func TestClientAntiDeadlock(t *testing.T) {
	s := newHandshake(t, Config{})
	s.send(Initial)
	s.at(100 * ms)
	s.ack(Initial, "0")
	s.want("I0 acked")
	s.wantInFlight(0)
	s.wantDeadline(100*ms + 300*ms)
	s.wantPTO(1, 0, 0)
	s.wantDeadline(400*ms + 600*ms) // even if the probe cannot be sent
	s.payProbes()
	s.at(500 * ms)
	s.ack(Initial, "0-1") // an Initial says nothing about being validated
	s.want("I1 acked")
	equal(t, "PTO count", s.l.PTOCount(), 1)

	s.l.HasKeys(Handshake, true)
	s.l.DropSpace(s.now, Initial)
	equal(t, "PTO count", s.l.PTOCount(), 0)
	s.wantPTO(0, 1, 0)
	s.payProbes()
	s.now = s.now.Add(100 * ms)
	s.ack(Handshake, "0")
	s.want("H0 acked")
	equal(t, "PTO count", s.l.PTOCount(), 0)
	s.wantNoDeadline()
}

// 0-RTT packets in flight have no timer: they do not silence the client either.
func TestClientAntiDeadlockWithEarlyData(t *testing.T) {
	s := newHandshake(t, Config{})
	s.send(Initial)
	s.sendN(3, App)
	s.at(100 * ms)
	s.ack(Initial, "0")
	s.want("I0 acked")
	s.wantInFlight(3)
	s.wantPTO(1, 0, 0)
	s.l.SetPeerValidated()
	s.wantNoDeadline()
}

// A server is never in that position, and needs no timer when nothing is in flight.
func TestServerNeedsNoAntiDeadlock(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.send(Initial, quiet)
	s.wantNoDeadline()
	s.send(Initial)
	s.at(100 * ms)
	s.ack(Initial, "0-1")
	s.want("I0-1 acked")
	s.wantNoDeadline()
}

// RFC 9002 §6.2.2.1: a server that may not send has no probe timer; when the
// client speaks again, a timeout that was missed happens at once.
func TestAmplificationLimitedServer(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.l.HasKeys(Handshake, true)
	s.send(Initial)
	s.sendN(2, Handshake)
	s.l.SetAmplificationLimited(true)
	s.wantNoDeadline()
	s.at(5 * time.Second)
	equal(t, "a probe timeout", s.l.Advance(s.now), false)
	s.l.SetAmplificationLimited(false)
	s.wantDeadline(999 * ms)
	s.wantPTO(2, 1, 0)
	s.payProbes()
	s.wantDeadline(5*time.Second + 2*999*ms)

	// The loss timer runs nevertheless: declaring a loss sends nothing.
	s.l.SetAmplificationLimited(true)
	s.at(5100 * ms)
	s.ack(Handshake, "1")
	s.want("H1 acked")
	equal(t, "a timer", s.l.Deadline() != mono.Never, true)
	s.expire()
	s.want("H0 lost")
}

// RFC 9002 §6.2.1: the backoff goes on across sends; it saturates instead of wrapping.
func TestPTOSaturates(t *testing.T) {
	s := newScript(t)
	s.send(App)
	last := s.now
	for range 100 {
		at := s.l.Deadline()
		if at < last {
			t.Fatalf("deadline %v before %v", at, last)
		}
		last = at
		if at == mono.Never {
			break
		}
		s.now = at
		if !s.l.Advance(at) {
			t.Fatal("no probe timeout")
		}
	}
	equal(t, "the last deadline", last, mono.Never)
	s.now = mono.Never - 1
	s.l.Advance(s.now)
	s.ack(App, "0")
	s.want("0 acked")
	s.wantNoDeadline()
}

// A clock that stands still makes no timer fire twice.
func TestClockStandsStill(t *testing.T) {
	s := newScript(t)
	s.send(App)
	s.ack(App, "0")
	s.want("0 acked")
	s.sendN(3, App)
	s.ack(App, "3")
	s.want("3 acked")
	s.wantDeadline(ms)
	for range 10 {
		equal(t, "a probe timeout", s.l.Advance(s.now), false)
	}
	s.at(1 * ms)
	s.l.Advance(s.now)
	s.want("1-2 lost")
	s.send(App)
	s.wantPTO(0, 0, 2)
	for range 10 {
		equal(t, "a probe timeout", s.l.Advance(s.now), false)
	}
}

// Losing every packet of a space leaves no timer behind.
func TestNoKeysNoTimer(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.l.HasKeys(Initial, false)
	s.send(Initial)
	s.wantNoDeadline()
	s.l.HasKeys(Initial, true)
	s.wantDeadline(999 * ms)
}
