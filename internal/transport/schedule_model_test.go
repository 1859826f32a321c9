package transport

import (
	"fmt"
	mrand "math/rand/v2"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// scheduleModel knows what every stream has to send, and of the schedule only its rules. It
// looks at all streams for each frame.
type scheduleModel struct {
	*testConn
	r             interface{ IntN(n int) int }
	streams       []*modelStream
	limit, credit int64         // of the connection, and what is left of it
	flying        []wire.Stream // not acknowledged
	passed        map[[2]member]int
	frames, alone int
}

// modelStream is a unidirectional stream.
type modelStream struct {
	*Stream
	written, sent, max int64
	lost               ranges.Set
	finished, finSent  bool
	finDue             bool
	over               bool // reset, or acknowledged whole
}

// member is one of those that take turns: a stream, or the seat of an urgency's others.
type member struct {
	stream *modelStream
	seat   uint8
}

func (s *modelStream) member() member {
	if s.incremental {
		return member{stream: s}
	}
	return member{seat: s.urgency}
}

func newScheduleModel(t *testing.T, r interface{ IntN(n int) int }) *scheduleModel {
	m := &scheduleModel{r: r, passed: make(map[[2]member]int), limit: 20000, credit: 20000}
	m.testConn = newTestConn(t, func(p *wire.Parameters) { p.MaxStreamsUni, p.MaxStreamDataUni, p.MaxData = 100, 3000, m.limit })
	return m
}

// sendable reports whether the stream has a frame that may go.
func (m *scheduleModel) sendable(s *modelStream) bool {
	switch {
	case s.over:
		return false
	case len(s.lost) > 0:
		return true
	case s.sent < s.written:
		return s.sent < s.max && m.credit > 0
	}
	return s.finDue
}

// packet makes the Conn send one and holds each of its frames against the rules.
func (m *scheduleModel) packet() {
	m.Helper()
	frames, size := m.transmitOne()
	full := size >= m.conn.mtu.size-20
	var last *modelStream
	for _, f := range frames {
		s := m.streams[f.ID>>2]
		m.allowed(s)
		if s != last {
			if last != nil && m.sendable(last) {
				m.Fatalf("stream %d has not done with its turn", last.id)
			}
			m.turn(s)
		}
		last = s
		m.sent(s, f)
	}
	m.flying = append(m.flying, frames...)
	m.frames += len(frames)
	for _, s := range m.streams {
		if !full && m.sendable(s) {
			m.Fatalf("stream %d could have sent more in a packet of %d bytes", s.id, size)
		}
	}
}

// allowed says that no stream of a lower urgency is passed over, and in the line none with a
// lower number.
func (m *scheduleModel) allowed(s *modelStream) {
	m.Helper()
	if !m.sendable(s) {
		m.Fatalf("stream %d has nothing to send", s.id)
	}
	for _, o := range m.streams {
		switch {
		case !m.sendable(o):
		case o.urgency < s.urgency:
			m.Fatalf("stream %d with urgency %d goes before stream %d with %d", s.id, s.urgency, o.id, o.urgency)
		case o.urgency == s.urgency && !o.incremental && !s.incremental && o.id < s.id:
			m.Fatalf("stream %d goes before %d", s.id, o.id)
		}
	}
}

// turn says that nobody has a second turn while somebody else waits for one.
func (m *scheduleModel) turn(s *modelStream) {
	m.Helper()
	at := s.member()
	for w := range m.waiting() {
		if w == at || w.urgency() != s.urgency {
			continue
		}
		if m.passed[[2]member{w, at}]++; m.passed[[2]member{w, at}] > 1 {
			m.Fatalf("stream %d has two turns while %+v waits", s.id, w)
		}
	}
	m.served(at)
}

func (w member) urgency() uint8 {
	if w.stream != nil {
		return w.stream.urgency
	}
	return w.seat
}

// waiting returns the members that have something to send.
func (m *scheduleModel) waiting() map[member]bool {
	all := make(map[member]bool)
	for _, s := range m.streams {
		if m.sendable(s) {
			all[s.member()] = true
		}
	}
	return all
}

// served forgets who has passed a member.
func (m *scheduleModel) served(w member) {
	for k := range m.passed {
		if k[0] == w {
			delete(m.passed, k)
		}
	}
}

// settle forgets it for those that have nothing to send.
func (m *scheduleModel) settle() {
	waiting := m.waiting()
	for k := range m.passed {
		if !waiting[k[0]] {
			delete(m.passed, k)
		}
	}
}

// sent notes a frame.
func (m *scheduleModel) sent(s *modelStream, f wire.Stream) {
	end := f.Offset + int64(len(f.Data))
	if len(s.lost) > 0 {
		if f.Offset != s.lost.Min() {
			m.Fatalf("stream %d sends from %d, and what is lost begins at %d", s.id, f.Offset, s.lost.Min())
		}
		s.lost.Remove(f.Offset, end)
	} else {
		m.credit -= end - s.sent
		s.sent = end
	}
	if f.Fin {
		s.finDue, s.finSent = false, true
	}
	m.settle()
}

// step does something at random.
func (m *scheduleModel) step() {
	m.Helper()
	k := m.r.IntN(100)
	switch {
	case k < 4 && len(m.streams) < 40 || len(m.streams) == 0:
		m.streams = append(m.streams, &modelStream{Stream: m.open(uni), max: 3000})
		return
	case k < 30:
		for range 1 + m.r.IntN(3) {
			m.packet()
		}
		return
	case k < 34:
		m.limit += int64(m.r.IntN(8000))
		m.credit = m.limit - m.total()
		m.receiveOnly(wire.MaxData{Max: m.limit})
	case k < 37:
		m.ackAll()
	default:
		m.act(m.streams[m.r.IntN(len(m.streams))], k)
	}
	m.settle()
	m.check()
}

// total returns how much of the connection's credit is used.
func (m *scheduleModel) total() (n int64) {
	for _, s := range m.streams {
		n += s.sent
	}
	return n
}

// act does something to a stream.
func (m *scheduleModel) act(s *modelStream, k int) {
	m.Helper()
	switch {
	case k < 40 && len(m.flying) > 0:
		f := m.flying[m.r.IntN(len(m.flying))]
		s = m.streams[f.ID>>2]
		r := recovery.Frame{Kind: sentStream, ID: f.ID, Off: f.Offset, Len: uint32(len(f.Data))}
		if f.Fin {
			r.Flag = 1
		}
		m.conn.resend(recovery.App, &r)
		if !s.over {
			s.lost.Add(f.Offset, f.Offset+int64(len(f.Data)))
			s.finDue = s.finDue || f.Fin
		}
	case k < 55:
		m.served(s.member())
		m.conn.SetPriority(s.Stream, uint8(3+m.r.IntN(3)), m.r.IntN(2) == 0)
	case s.over:
	case k < 85 && !s.finished:
		n, err := m.conn.Write(s.Stream, make([]byte, 1+m.r.IntN(3000)))
		must(err)
		s.written += int64(n)
	case k < 93:
		s.max += int64(m.r.IntN(4000))
		m.receiveOnly(wire.MaxStreamData{ID: s.id, Max: s.max})
	case k < 96 && !s.finished:
		must(m.conn.CloseWrite(s.Stream))
		s.finished, s.finDue = true, true
	case k == 99:
		s.over = true
		if m.r.IntN(2) == 0 {
			m.conn.Reset(s.Stream, 1)
		} else {
			m.receiveOnly(wire.StopSending{ID: s.id})
		}
	}
}

// ackAll makes the peer acknowledge everything.
func (m *scheduleModel) ackAll() {
	if len(m.peer.got[recovery.App]) == 0 {
		return
	}
	m.receiveOnly(wire.MakeAck(m.peer.got[recovery.App], 0, nil))
	m.flying = nil
	for _, s := range m.streams {
		s.lost = nil
		if s.finSent {
			s.finDue = false
			s.over = s.over || s.sent == s.written
		}
	}
}

// only returns the stream that stands in the schedule if there is just one, nil otherwise.
func (m *scheduleModel) only() (only *Stream) {
	for _, s := range m.streams {
		switch {
		case s.queue != queueReady:
		case only != nil:
			return nil
		default:
			only = s.Stream
		}
	}
	return only
}

// check looks at the shape of the schedule.
func (m *scheduleModel) check() {
	m.Helper()
	m.checkRetained()
	s := &m.conn.streams.ready
	want := m.only()
	if got := s.only(); got != want {
		m.Fatalf("alone in the schedule is %p, and not %p", got, want)
	}
	if want != nil {
		m.alone++
	}
	for i, st := range s.line {
		if int(st.place) != i || st.gone || st.incremental || st.queue != queueReady || i > 0 && before(st, s.line[(i-1)/2]) {
			m.Fatalf("stream %d at %d of the line: %+v", st.id, i, st)
		}
	}
	for u := range s.rounds {
		r := &s.rounds[u]
		if busy := s.busy&(1<<u) != 0; busy != (r.head != nil) || busy != (r.tail != nil) {
			m.Fatalf("urgency %d is busy: %v, with %v", u, busy, r)
		}
		seated := r.ahead == nil
		var prev *Stream
		for st := r.head; st != nil; prev, st = st, st.next {
			if st.prev != prev || st.gone || !st.incremental || int(st.urgency) != u || st.queue != queueReady {
				m.Fatalf("stream %d in round %d: %+v", st.id, u, st)
			}
			seated = seated || r.ahead == st
		}
		if r.tail != prev || !seated {
			m.Fatalf("round %d ends with %v, seat after %v", u, r.tail, r.ahead)
		}
	}
	for _, st := range m.streams {
		if st.over && st.queue != queueNone {
			m.Fatalf("stream %d is over and in queue %d", st.id, st.queue)
		}
	}
}

// Whatever happens to streams, each frame is one that the rules of RFC 9218 §10 allow, no packet
// goes half empty, and nobody has two turns while another waits for one.
func TestScheduleModel(t *testing.T) {
	seed := mrand.Uint64()
	t.Logf("seed %d", seed)
	frames, alone := 0, 0
	for run := range uint64(60) {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			m := newScheduleModel(t, mrand.New(mrand.NewPCG(seed, run)))
			for range 500 {
				m.step()
			}
			m.clear()
			frames += m.frames
			alone += m.alone
		})
	}
	if frames < 60*60 && !t.Failed() {
		t.Errorf("only %d frames", frames)
	}
	if alone < 60 && !t.Failed() {
		t.Errorf("a stream was alone only %d times", alone)
	}
}
