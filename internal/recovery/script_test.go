package recovery

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

const (
	ms   = time.Millisecond
	size = 1200 // of every packet, unless a test says otherwise
)

// spy is a real controller that writes down what it is told.
type spy struct {
	congestion.Controller
	acks       []congestion.Ack
	events     []congestion.Event
	reductions int
	persistent int
}

func newSpy() *spy { return &spy{Controller: congestion.NewReno(size)} }

func (s *spy) OnAck(a congestion.Ack) {
	s.acks = append(s.acks, a)
	s.Controller.OnAck(a)
}

func (s *spy) OnCongestion(e congestion.Event) bool {
	s.events = append(s.events, e)
	reduced := s.Controller.OnCongestion(e)
	if reduced {
		s.reductions++
	}
	return reduced
}

func (s *spy) OnPersistent(now mono.Time) {
	s.persistent++
	s.Controller.OnPersistent(now)
}

// script drives one Loss through a story. Fates that no line of the story asks
// for make it fail.
type script struct {
	t   *testing.T
	l   Loss
	cc  *spy
	now mono.Time
	ecn *wire.ECNCounts // what the peer reports
}

// newScript starts after the handshake: confirmed, App keys only.
func newScript(t *testing.T) *script {
	s := newHandshake(t, Config{})
	s.l.DropSpace(s.now, Initial)
	s.l.HasKeys(App, true)
	s.l.Confirmed()
	return s
}

// newHandshake starts before the first packet.
func newHandshake(t *testing.T, c Config) *script {
	s := &script{t: t, cc: newSpy(), now: start}
	c.Controller, c.MaxDatagram = s.cc, size
	s.l.Init(s.now, c)
	s.l.Open(Handshake)
	t.Cleanup(s.nothing)
	return s
}

// start is when every story begins: not at zero, to show what forgets to say so.
const start = mono.Time(time.Hour)

// at moves the clock to d after the start.
func (s *script) at(d time.Duration) { s.now = start.Add(d) }

type option func(*Packet)

func quiet(p *Packet)  { p.AckEliciting, p.InFlight = false, false } // ACK only
func padded(p *Packet) { p.AckEliciting = false }                    // ACK and PADDING
func probe(p *Packet)  { p.Probe = true }                            // of the MTU
func ect0(p *Packet)   { p.ECN = dgram.ECT0 }

func otherPath(p *Packet) { p.Epoch = OtherPath }

// send sends one ack-eliciting packet and returns its number.
func (s *script) send(space Space, options ...option) int64 {
	s.t.Helper()
	s.nothing()
	p := Packet{Number: s.l.Next(space), Size: size, AckEliciting: true, InFlight: true, Epoch: s.l.Epoch()}
	for _, o := range options {
		o(&p)
	}
	frames := []Frame{{Kind: 7, ID: p.Number, Off: int64(space)}, {Kind: 8, Len: uint32(p.Number)}}
	s.l.Sent(s.now, space, p, frames[:1+p.Number%2])
	return p.Number
}

// sendN sends n packets as send does.
func (s *script) sendN(n int, space Space, options ...option) {
	s.t.Helper()
	for range n {
		s.send(space, options...)
	}
}

// ack brings an ACK frame, like "0-4 7 9-12", with a delay of 0.
func (s *script) ack(space Space, numbers string) {
	s.t.Helper()
	s.delayedAck(space, numbers, 0)
}

func (s *script) delayedAck(space Space, numbers string, delay time.Duration) {
	s.t.Helper()
	s.nothing()
	if !s.l.Ack(s.now, space, wire.MakeAck(parse(numbers), 0, s.ecn), delay) {
		s.t.Errorf("ACK of %v %s is refused", space, numbers)
	}
}

// wantRefused brings an ACK frame that a peer in good faith cannot send.
func (s *script) wantRefused(space Space, numbers string) {
	s.t.Helper()
	s.nothing()
	before := s.l.Stats()
	if s.l.Ack(s.now, space, wire.MakeAck(parse(numbers), 0, s.ecn), 0) {
		s.t.Errorf("ACK of %v %s is not refused", space, numbers)
	}
	if s.l.Stats() != before {
		s.t.Errorf("a refused ACK changed something")
	}
	s.nothing()
}

// want pulls the fates and compares: "I0 acked, 3-4 lost".
func (s *script) want(fates string) {
	s.t.Helper()
	if got := s.pull(); got != fates {
		s.t.Errorf("at %v: fates are %q, want %q", s.now.Sub(start), got, fates)
	}
}

// nothing demands that there is no fate to pull.
func (s *script) nothing() {
	s.t.Helper()
	if got := s.pull(); got != "" {
		s.t.Errorf("at %v: unexpected fates %q", s.now.Sub(start), got)
	}
}

// pull renders the fates and checks that each comes with its own frames.
func (s *script) pull() string {
	s.t.Helper()
	var out []string
	var first, last int64
	var what string
	flush := func() {
		if what != "" {
			number, rest, _ := strings.Cut(what, " ")
			n := fmt.Sprint(first)
			if last > first {
				n = fmt.Sprintf("%d-%d", first, last)
			}
			out = append(out, number+n+" "+rest)
		}
	}
	for space, p, frames, fate, ok := s.l.NextFate(); ok; space, p, frames, fate, ok = s.l.NextFate() {
		if len(frames) != int(1+p.Number%2) || frames[0].ID != p.Number || frames[0].Off != int64(space) {
			s.t.Errorf("%v packet %d comes with frames %v", space, p.Number, frames)
		}
		w := [...]string{"I", "H", ""}[space] + " " + fate.String()
		if w == what && p.Number == last+1 {
			last++
			continue
		}
		flush()
		what, first, last = w, p.Number, p.Number
	}
	flush()
	return strings.Join(out, ", ")
}

// wantDeadline demands that the timer is set for d after the start.
func (s *script) wantDeadline(d time.Duration) {
	s.t.Helper()
	if got := s.l.Deadline(); got != start.Add(d) {
		s.t.Errorf("at %v: deadline is %v, want %v", s.now.Sub(start), got.Sub(start), d)
	}
}

func (s *script) wantNoDeadline() {
	s.t.Helper()
	if got := s.l.Deadline(); got != mono.Never {
		s.t.Errorf("at %v: deadline is %v, want none", s.now.Sub(start), got.Sub(start))
	}
}

// expire moves the clock to the deadline and lets it do its work.
func (s *script) expire() (pto bool) {
	s.t.Helper()
	s.nothing()
	at := s.l.Deadline()
	if at == mono.Never {
		s.t.Fatalf("at %v: no timer is set", s.now.Sub(start))
	}
	if s.now < at {
		if s.l.Advance(at - 1) {
			s.t.Errorf("the probe timer expired early")
		}
		s.nothing()
	}
	s.now = max(s.now, at)
	return s.l.Advance(s.now)
}

// wantPTO lets the timer expire and demands these numbers of probes.
func (s *script) wantPTO(initial, handshake, app int) {
	s.t.Helper()
	if !s.expire() {
		s.t.Errorf("at %v: no probe timeout", s.now.Sub(start))
	}
	got := [...]int{s.l.Probes(Initial), s.l.Probes(Handshake), s.l.Probes(App)}
	if want := [...]int{initial, handshake, app}; got != want {
		s.t.Errorf("at %v: probes owed are %v, want %v", s.now.Sub(start), got, want)
	}
}

// payProbes sends what is owed.
func (s *script) payProbes() {
	s.t.Helper()
	for space := Initial; space <= App; space++ {
		for s.l.Probes(space) > 0 {
			s.send(space)
			s.l.ProbeSent(space)
		}
	}
}

func (s *script) wantInFlight(packets int) {
	s.t.Helper()
	if got := s.l.InFlight(); got != packets*size {
		s.t.Errorf("at %v: %d bytes in flight, want %d packets", s.now.Sub(start), got, packets)
	}
}

// measured gives the path a first RTT sample with one packet.
func (s *script) measured(rtt time.Duration) {
	s.t.Helper()
	n := strconv.FormatInt(s.send(App), 10)
	s.now = s.now.Add(rtt)
	s.ack(App, n)
	s.want(n + " acked")
}

// equal compares two values of a story.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// parse reads "0-4 7" into a set.
func parse(numbers string) ranges.Set {
	var set ranges.Set
	for _, f := range strings.Fields(numbers) {
		from, to, dash := strings.Cut(f, "-")
		a, err := strconv.ParseInt(from, 10, 64)
		b := a
		if dash && err == nil {
			b, err = strconv.ParseInt(to, 10, 64)
		}
		if err != nil {
			panic(err)
		}
		set.Add(a, b+1)
	}
	return set
}
