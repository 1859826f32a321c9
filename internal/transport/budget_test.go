package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
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
	"connection ID again": {1, func(int64) []wire.Frame {
		return []wire.Frame{wire.NewConnectionID{Seq: 1, ID: wire.MakeConnectionID([]byte("again")), Token: testToken}}
	}},
	"stale retirement": {4, func(int64) []wire.Frame { return []wire.Frame{wire.RetireConnectionID{Seq: 1}} }},
	"unasked answer":   {1, func(int64) []wire.Frame { return []wire.Frame{wire.PathResponse{}} }},
	"old crypto":       {1, func(int64) []wire.Frame { return []wire.Frame{wire.Crypto{}} }},
	"old stop":         {1, func(int64) []wire.Frame { return []wire.Frame{wire.StopSending{ID: 12}} }},
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
