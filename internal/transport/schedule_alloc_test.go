package transport

import (
	"fmt"
	"testing"
)

// manyReady returns a Conn with n streams that wait to send, incremental ones or not.
func manyReady(t testing.TB, n int, incremental bool) (*Conn, []*Stream) {
	p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) { c.Params.MaxStreamsUni = int64(n) })
	p.handshake()
	c := p.client.conn
	var list []*Stream
	for range n {
		st := c.OpenStream(p.now, true)
		c.SetPriority(st, DefaultUrgency, incremental)
		if _, err := c.Write(st, []byte("x")); err != nil {
			t.Fatal(err)
		}
		list = append(list, st)
	}
	return c, list
}

// A change of priority allocates nothing, whoever else is queued, and neither do turns.
func TestAllocationsSchedule(t *testing.T) {
	c, list := manyReady(t, 300, false)
	s := &c.streams.ready
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		st := list[i*7%len(list)]
		c.SetPriority(st, uint8(i%Urgencies), i%3 == 0)
		st = s.next()
		s.pass(st)
		s.remove(st)
		s.push(st)
		i++
	}); n > 0 {
		t.Errorf("%v allocations for a change of priority and a turn", n)
	}
}

// BenchmarkSchedule is a turn, and the way out of the schedule and in again, of one among many
// streams; and what it costs to have streams change places, the last one to the front each time.
func BenchmarkSchedule(b *testing.B) {
	for _, incremental := range []bool{true, false} {
		for _, n := range []int{1, 100, 1000, 10000} {
			c, list := manyReady(b, n, incremental)
			s := &c.streams.ready
			b.Run(fmt.Sprintf("turn/incremental=%v/streams=%d", incremental, n), func(b *testing.B) {
				for b.Loop() {
					s.pass(s.next())
				}
			})
			b.Run(fmt.Sprintf("requeue/incremental=%v/streams=%d", incremental, n), func(b *testing.B) {
				for b.Loop() {
					st := s.next()
					s.remove(st)
					s.push(st)
				}
			})
			b.Run(fmt.Sprintf("change/incremental=%v/streams=%d", incremental, n), func(b *testing.B) {
				for i := len(list) - 1; b.Loop(); i = (i + len(list) - 1) % len(list) {
					c.SetPriority(list[i], 2, incremental)
					c.SetPriority(list[i], DefaultUrgency, incremental)
				}
			})
		}
	}
}
