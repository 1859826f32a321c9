package transport

import (
	mrand "math/rand/v2"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The bucket by itself: what fits at once, what time gives back, and what use does.
func TestBudget(t *testing.T) {
	burst, rate := limits.Bound(t, "useless-burst"), limits.Bound(t, "useless-rate")
	var b budget
	now := mono.Time(time.Hour)
	for i := range burst {
		if !b.settle(now, 1) {
			t.Fatalf("empty after %d", i)
		}
	}
	if b.settle(now, 1) {
		t.Error("more than the bucket holds")
	}
	now = now.Add(time.Second)
	for i := range rate - 1 {
		if !b.settle(now, 1) {
			t.Fatalf("a second gave back %d", i)
		}
	}
	if b.settle(now, 1) {
		t.Error("a second gave back too much")
	}
	for range 10 {
		b.settle(now, -1)
	}
	if !b.settle(now, 9) || b.settle(now, 1) {
		t.Error("ten packets of use are worth ten")
	}
	now = now.Add(time.Hour)
	for range 10 * burst {
		b.settle(now, -1)
	}
	if !b.settle(now, burst) || b.settle(now, 1) {
		t.Error("a full bucket holds no more")
	}
}

// useless is ways to keep a connection busy for nothing, without breaking a rule:
// what the n-th packet holds, and what it costs.
var useless = map[string]struct {
	cost  int
	frame func(n int64) []wire.Frame
}{
	"ping":               {1, func(int64) []wire.Frame { return []wire.Frame{wire.Ping{}} }},
	"pings":              {19, func(int64) []wire.Frame { return repeat(wire.Ping{}, 20) }}, // 18 too many, and the packet
	"padding":            {1, func(int64) []wire.Frame { return []wire.Frame{wire.Padding{N: 20}} }},
	"empty stream frame": {1, func(int64) []wire.Frame { return []wire.Frame{wire.Stream{ID: 0, HasLen: true}} }},
	"stream data again":  {1, func(int64) []wire.Frame { return []wire.Frame{wire.Stream{ID: 4, Data: []byte("x"), HasLen: true}} }},
	"data of a stream that is over": {1, func(int64) []wire.Frame {
		return []wire.Frame{wire.Stream{ID: 8, Data: []byte("x"), HasLen: true, Fin: true}}
	}},
	"max data":            {1, func(int64) []wire.Frame { return []wire.Frame{wire.MaxData{Max: 1}} }},
	"max stream data":     {1, func(int64) []wire.Frame { return []wire.Frame{wire.MaxStreamData{ID: 0, Max: 1}} }},
	"max streams":         {1, func(int64) []wire.Frame { return []wire.Frame{wire.MaxStreams{Max: 1}} }},
	"data blocked":        {1, func(int64) []wire.Frame { return []wire.Frame{wire.DataBlocked{Limit: 1}} }},
	"stream data blocked": {1, func(int64) []wire.Frame { return []wire.Frame{wire.StreamDataBlocked{ID: 0, Limit: 1}} }},
	"streams blocked":     {1, func(int64) []wire.Frame { return []wire.Frame{wire.StreamsBlocked{Uni: true, Limit: 1}} }},
	"data blocked, a little further each time":        {1, func(n int64) []wire.Frame { return []wire.Frame{wire.DataBlocked{Limit: n}} }},
	"stream data blocked, a little further each time": {1, func(n int64) []wire.Frame { return []wire.Frame{wire.StreamDataBlocked{ID: 0, Limit: n}} }},
	"data blocked beyond what was granted":            {1, func(n int64) []wire.Frame { return []wire.Frame{wire.DataBlocked{Limit: 1<<40 + n}} }},
	"stream data blocked beyond what was granted": {1, func(n int64) []wire.Frame {
		return []wire.Frame{wire.StreamDataBlocked{ID: 0, Limit: 1<<62 - 1 - 1<<20 + n}}
	}},
	"streams blocked beyond what was granted":     {1, func(n int64) []wire.Frame { return []wire.Frame{wire.StreamsBlocked{Limit: 1<<20 + n}} }},
	"uni streams blocked beyond what was granted": {1, func(n int64) []wire.Frame { return []wire.Frame{wire.StreamsBlocked{Uni: true, Limit: n}} }},
	"connection ID again": {1, func(int64) []wire.Frame {
		return []wire.Frame{wire.NewConnectionID{Seq: 1, ID: wire.MakeConnectionID([]byte("again")), Token: testToken}}
	}},
	"stale retirement":         {4, func(int64) []wire.Frame { return []wire.Frame{wire.RetireConnectionID{Seq: 1}} }},
	"unasked answer":           {1, func(int64) []wire.Frame { return []wire.Frame{wire.PathResponse{}} }},
	"old crypto":               {1, func(int64) []wire.Frame { return []wire.Frame{wire.Crypto{}} }},
	"old stop":                 {1, func(int64) []wire.Frame { return []wire.Frame{wire.StopSending{ID: 12}} }},
	"stop of what has arrived": {1, func(int64) []wire.Frame { return []wire.Frame{wire.StopSending{ID: 16}} }},
	"stop of what was reset":   {1, func(int64) []wire.Frame { return []wire.Frame{wire.StopSending{ID: 20}} }},
	"immediate ack":            {1, func(int64) []wire.Frame { return []wire.Frame{wire.ImmediateAck{}} }},
	"immediate acks":           {20, func(int64) []wire.Frame { return repeat(wire.ImmediateAck{}, 20) }},
	"ack frequency, old":       {1, func(int64) []wire.Frame { return []wire.Frame{request(0, 1, recovery.MinAckDelay, 3)} }},
	"ack frequency, the same":  {1, func(n int64) []wire.Frame { return []wire.Frame{request(n, 1, recovery.MinAckDelay, 3)} }},
}

func repeat(f wire.Frame, n int) (list []wire.Frame) {
	for range n {
		list = append(list, f)
	}
	return list
}

// Each kind of useless frame ends the connection when there were too many, and not
// before; and a second of silence is worth some.
func TestS49UselessFrames(t *testing.T) {
	besiege(t, 0)
	burst := limits.Bound(t, "useless-burst")
	for name, kind := range useless {
		t.Run(name, func(t *testing.T) {
			tc := newTestConn(t, serverSide)
			tc.write(wire.OneRTT, wire.Stream{ID: 4, Data: []byte("x"), HasLen: true})
			tc.write(wire.OneRTT, wire.Stream{ID: 8, Fin: true, Data: []byte("x"), HasLen: true}, wire.StopSending{ID: 12})
			tc.events = nil
			tc.over(16, 20)
			for n := int64(0); tc.closed == nil; n++ {
				if int(n)*kind.cost > burst+100 {
					t.Fatalf("open after %d packets", n)
				}
				tc.write(wire.OneRTT, kind.frame(n)...)
				tc.out, tc.datagrams, tc.events = nil, nil, nil
			}
			if got := tc.conn.Stats().UselessFrames; got < uint64(burst) || got > uint64(burst)+100 {
				t.Errorf("closed after %d", got)
			}
			tc.claimed = true
			if tc.closed.Code != uint64(wire.InternalError) || !tc.closed.Limit {
				t.Errorf("closed with %+v", *tc.closed)
			}
		})
	}
}

// over makes the peer open two streams, whose receiving halves stay open. On the first the Conn answers,
// and the peer has it all; the second it resets on the way.
func (tc *testConn) over(answered, reset int64) {
	tc.Helper()
	s1 := tc.accept(answered, "question")
	tc.send(s1, "answer")
	if err := tc.conn.CloseWrite(s1); err != nil {
		tc.Fatal(err)
	}
	s2 := tc.accept(reset, "question")
	tc.send(s2, "answer")
	tc.pump()
	tc.conn.Reset(s2, 7)
	tc.pump()
	tc.ack(wire.OneRTT)
	if !s1.send.Done() {
		tc.Fatal("the answer has not arrived")
	}
}

// STOP_SENDING that crosses the end of what it stops costs nothing, once (RFC 9000 §3.5).
func TestStopThatCrosses(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.ignore(wire.FrameStream, wire.FrameResetStream)
	tc.over(0, 4)
	tc.conn.Reset(tc.accept(8, "question"), 7) // before anything was sent
	for i, want := range []uint64{0, 3, 6} {
		tc.write(wire.OneRTT, wire.StopSending{ID: 0}, wire.StopSending{ID: 4}, wire.StopSending{ID: 8})
		if got := tc.conn.Stats().UselessFrames; got != want {
			t.Errorf("%d useless frames after %d of each, want %d", got, i+1, want)
		}
	}
	tc.abandon()
}

// A peer that has come to a limit may say so once each time that it has been granted more, before it knows of the next
// limit or after.
func TestBlockedCosts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limits  []int64 // that the peer complains of
		granted []int64 // meanwhile
		want    int
	}{
		{"nothing granted", []int64{0}, []int64{0}, 0},
		{"in step", []int64{0, 10, 20, 30}, []int64{0, 10, 20, 30}, 0},
		{"each has crossed our word", []int64{0, 10, 20, 30}, []int64{10, 20, 30, 40}, 0},
		{"now and then", []int64{0, 10, 20, 21, 22}, []int64{10, 10, 21, 22, 22}, 0},
		{"one at a time", []int64{0, 1, 2, 3, 4}, []int64{0, 1, 3, 3, 4}, 0},
		{"again", []int64{10, 10, 10}, []int64{10, 10, 10}, 2},
		{"again, after it was raised", []int64{10, 10, 10}, []int64{10, 20, 20}, 1},
		{"late, behind the next", []int64{20, 10}, []int64{20, 20}, 1},
		{"ever higher below the limit", []int64{1, 2, 3, 4, 5}, []int64{9, 9, 9, 9, 9}, 4},
		{"above the limit", []int64{11, 12, 13, 10}, []int64{10, 10, 10, 10}, 3},
		{"at the end of the format", []int64{1<<62 - 2, 1<<62 - 1, 1<<62 - 1}, []int64{1<<62 - 1, 1<<62 - 1, 1<<62 - 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p received
			var seen int64
			for i, limit := range tt.limits {
				p.blockedAt(limit, tt.granted[i], &seen, wire.FrameDataBlocked)
			}
			if p.cost != tt.want {
				t.Errorf("costs %d, want %d", p.cost, tt.want)
			}
		})
	}
}

// An honest peer in windows so small that it is blocked all the time, and some of whose datagrams are lost,
// earns more with what it brings than its complaints cost.
func TestBudgetOfBlockedPeer(t *testing.T) {
	for _, window := range []int64{1, 10, 100, 3000} {
		for _, whole := range []int64{window, 1 << 20} {
			p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) {
				c.Params.MaxData, c.Params.MaxStreamDataBidiLocal, c.Params.MaxStreamDataBidiRemote = whole, window, window
				c.MaxStreamWindow, c.MaxConnWindow = window, whole
			})
			r := mrand.New(mrand.NewPCG(uint64(window), 7))
			p.drop = func(*node, []byte) bool { return r.IntN(100) < 5 }
			p.handshake()
			p.transfer(int(min(200*window, 100_000)))
			for _, n := range []*node{p.client, p.server} {
				if st := n.conn.Stats(); st.UselessFrames > st.PacketsReceived/4 {
					t.Errorf("windows of %d and %d: %d useless frames in %d packets", window, whole, st.UselessFrames, st.PacketsReceived)
				}
			}
		}
	}
}
