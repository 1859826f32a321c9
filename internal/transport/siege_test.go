package transport

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// assault is the frame of an attack test. Whatever the attack is, this must hold for
// each connection under it, and is seen to at the end of the test (aftermath):
//
//   - it does no more for what comes in than is fit, and comes to rest;
//   - it holds no more memory than before it, but for the bound, and while the attack goes on
//     no more than twice its window and 128 KiB;
//   - it has closed as the test wanted, or carries a stream both ways;
//   - so does another connection with the same configuration;
//   - its log, if it keeps one, can be read, and is bounded;
//   - no goroutine is left.
//
// That no more than three times what came goes to an unvalidated address is seen to in
// every test (checkAmplification).
type assault struct {
	*siege.Siege
	bound int64
}

// besieged is the frame of the test that runs: they run one after the other.
var besieged *assault

// besiege makes an attack test of the rest of a test. bound is how many bytes a
// connection may hold more than before, 0 where nothing piles up.
func besiege(t *testing.T, bound int64) {
	goroutines := siege.Ours()
	besieged = &assault{siege.Lay(t, honestPacket), bound}
	t.Cleanup(func() {
		besieged = nil
		if n := siege.OursAtEnd(goroutines); n > goroutines {
			t.Errorf("%d goroutines, %d before", n, goroutines)
		}
	})
}

// honestPacket returns what a packet costs that brings a thousand bytes of a stream, which the application
// reads.
func honestPacket(t testing.TB) time.Duration {
	honest.Do(func() {
		tc := newTestConn(t, serverSide)
		tc.attacked = new(siege.Siege).Victim(t, 0)
		st := tc.accept(0, "x")
		for n := range int64(2000) {
			tc.write(wire.OneRTT, data(0, 1+1000*n, 1000, false))
			tc.attacked.Spend(func() { _, _ = tc.read(st) })
			tc.out, tc.datagrams, tc.events = nil, nil, nil
		}
		honest.cost, tc.attacked = tc.attacked.Each(), nil
		tc.abandon()
	})
	return honest.cost
}

var honest struct {
	sync.Once
	cost time.Duration
}

// victim is what the frame knows of a connection.
type victim struct {
	siege  *assault
	before int64 // bytes in use
	inputs int   // datagrams and timers that made it work,
	bytes  int   // the bytes of these,
	turns  int   // the events and batches that came of it,
	steps  int   // and all that there were
	log    int   // bytes of its log
	lost   bool  // it cannot go on, as the test has it

	neighbour *testConn // another connection of the same configuration

	attacked *siege.Victim // what is measured of it until the attack is over; nil for nothing
	base     int64         // bytes that it held when that began
}

// stand begins the frame of a connection.
func (tc *testConn) stand() {
	s := besieged
	if s == nil {
		return
	}
	besieged = nil
	if tc.neighbour = newTestConn(tc.TB, tc.side, tc); tc.neighbour.closed != nil {
		tc.neighbour = nil // the configuration asks for more than the scripted handshake has
	}
	besieged, tc.victim.siege = s, s
	tc.attacked, tc.base = s.Victim(tc.TB, int64(tc.cfg.Params.MaxData)), tc.retained()
	if s.bound > 0 {
		tc.before = tc.held()
	}
}

// retained returns how many bytes the connection holds, but for what it shares.
func (tc *testConn) retained() int64 { return siege.Retained(tc.conn, tc.cfg, tc.pool) }

// look notes what the connection holds by now; a log has a bound of its own.
func (tc *testConn) look() {
	if tc.attacked != nil && !siege.Logs {
		tc.attacked.Holds(tc.retained()-tc.base, 1)
	}
}

// provoked counts what the connection does while something comes in.
func (tc *testConn) provoked(bytes int, by func()) {
	tc.inputs, tc.bytes = tc.inputs+1, tc.bytes+bytes
	before := tc.steps
	by()
	tc.turns += tc.steps - before
	tc.attacked.Turned(tc.steps - before)
	if tc.attacked.Took(bytes) {
		tc.look()
	}
}

// how says how a connection under attack has ended.
func (tc *testConn) how() string {
	switch c := tc.closed; {
	case c == nil:
		return "stays"
	case c.Kind == CloseLocal && !c.App:
		return wire.ErrorCode(c.Code).String()
	default:
		return endings[c.Kind]
	}
}

var endings = map[CloseKind]string{
	CloseLocal: "closed by its program", ClosePeer: "closed by the peer", CloseIdle: "idle timeout",
	CloseHandshakeTimeout: "handshake timeout", CloseReset: "stateless reset", CloseVersion: "no common version", CloseSilent: "silent",
}

// forsake says that a connection that is not closed cannot go on, for a reason that is
// the test's own.
func (tc *testConn) forsake(string) {
	tc.abandon()
	tc.lost = true
}

// aftermath sees to all that must hold when the attack is over.
func (tc *testConn) aftermath() {
	s := tc.victim.siege
	if s == nil {
		return
	}
	tc.look()
	tc.attacked.Ended(tc.how())
	tc.attacked = nil
	if most := 200 + 8*tc.inputs + tc.bytes/4; tc.turns > most {
		tc.Errorf("%d events and batches for %d datagrams and timers with %d bytes, want %d at most", tc.turns, tc.inputs, tc.bytes, most)
	}
	if s.bound > 0 {
		if grown := tc.held() - tc.before; grown > s.bound {
			tc.Errorf("%d bytes more are held, want %d at most", grown, s.bound)
		}
	}
	if tc.closed == nil && !tc.lost {
		tc.survive("the connection under attack")
	}
	tc.takeLog()
	if tc.neighbour != nil {
		tc.neighbour.survive("another connection")
		tc.neighbour.finish()
	}
}

// survive lets the handshake end, if it has not, and carries data both ways.
func (tc *testConn) survive(who string) {
	tc.Helper()
	tc.path = tc.conn.Path()
	if !tc.conn.Secure() {
		tc.step(stageConfirmed)
	}
	if !tc.conn.Confirmed() {
		tc.write(wire.OneRTT, wire.HandshakeDone{})
	}
	tc.clear()
	tc.write(wire.OneRTT, wire.MaxStreams{Max: 1 << 60}, wire.MaxData{Max: 1<<62 - 1})
	st := tc.conn.OpenStream(tc.now, bidi)
	if st == nil {
		tc.Fatalf("%s: no stream to be had; closed %+v", who, tc.closed)
	}
	tc.write(wire.OneRTT, wire.MaxStreamData{ID: st.ID(), Max: 1 << 20})
	tc.send(st, "canary")
	for range 40 {
		tc.path = tc.conn.Path()
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			p.seen++
			switch f := f.(type) {
			case wire.PathChallenge:
				here := tc.path
				tc.path = p.datagram.path
				tc.write(wire.OneRTT, wire.PathResponse(f))
				tc.path = here
			case wire.Stream:
				if f.ID == st.ID() && string(f.Data) == "canary" {
					tc.answered(who, st)
					return
				}
			}
		}
		tc.ack(wire.OneRTT)
		tc.advance(100 * time.Millisecond)
	}
	tc.Fatalf("%s: the canary does not come; closed %+v", who, tc.closed)
}

// forget leaves of the addresses only those in the rig's books that the connection still knows.
func (tc *testConn) forget() {
	heard, told := tc.heard, tc.told
	tc.heard, tc.told = map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
	for _, p := range tc.conn.paths.list {
		tc.heard[p.addr.Remote], tc.told[p.addr.Remote] = heard[p.addr.Remote], told[p.addr.Remote]
	}
}

// answered lets the canary's stream end.
func (tc *testConn) answered(who string, st *Stream) {
	tc.Helper()
	must(tc.conn.CloseWrite(st))
	song := "sings"
	if tc.conn.flow.received+int64(len(song)) > tc.conn.flow.in.Limit() {
		song = "" // the application reads nothing, and the peer's credit is used up
	}
	tc.write(wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte(song), Fin: true, HasLen: true})
	if got, err := tc.read(st); got != song {
		tc.Fatalf("%s: the canary reads %q, %v; closed %+v", who, got, err, tc.closed)
	}
	tc.ack(wire.OneRTT)
	tc.abandon()
}

// takeLog reads what there is of a log.
func (tc *testConn) takeLog() {
	tc.Helper()
	if !siege.Logs {
		return
	}
	records, _ := tc.conn.QLog().Take()
	tc.log += len(records)
	for r := range bytes.SplitSeq(records, []byte{'\n'}) {
		if r = bytes.TrimPrefix(r, []byte{0x1e}); len(r) > 0 && !json.Valid(r) {
			tc.Fatalf("the log has %q", r)
		}
	}
	if most := 1<<20 + 1000*(tc.inputs+tc.turns) + 100*tc.bytes; tc.log > most {
		tc.Errorf("a log of %d bytes for %d datagrams and timers with %d bytes", tc.log, tc.inputs, tc.bytes)
	}
}
