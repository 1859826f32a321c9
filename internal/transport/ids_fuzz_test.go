package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// idStory is a connection, and what its peer knows of the connection IDs of both.
type idStory struct {
	*testConn
	theirs map[int64]wire.ConnectionID // the peer's, by sequence number
	given  map[int64]bool              // and those that the Conn has said it gave up
	ours   map[int64]wire.ConnectionID
	gone   map[int64]bool // ours that the peer has retired
	dest   int64          // which of ours the peer sends to
	next   int64
	prior  int64
	last   wire.NewConnectionID
	bad    bool           // the peer has broken a rule that the Conn may have forgotten the reason of
	must   wire.ErrorCode // it has broken one that the Conn must notice
}

// FuzzConnectionIDs: whatever the peer does about connection IDs, ours have the numbers, tokens
// and bounds of RFC 9000 §5.1.1, none of the peer's is used that it did not give, or after it was
// given up, and the connection ends for an offence, with its code, and for nothing else.
func FuzzConnectionIDs(f *testing.F) {
	for _, server := range []bool{false, true} {
		f.Add(server, []byte{0, 0, 0, 0, 3, 0, 5, 1, 7, 0, 2, 1, 3, 0, 0, 129, 4, 100, 6, 0, 3, 0, 7, 1, 8, 2, 2, 0, 3, 0})
		f.Add(server, []byte{0, 0, 1, 33, 3, 0})
		f.Add(server, []byte{2, 0})
		f.Add(server, []byte{0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 4, 255})
	}
	f.Fuzz(func(t *testing.T, server bool, ops []byte) {
		s := &idStory{
			testConn: newTestConn(t, side(server)), next: 1, given: map[int64]bool{}, gone: map[int64]bool{},
			theirs: map[int64]wire.ConnectionID{0: peerID(0)}, ours: map[int64]wire.ConnectionID{},
		}
		s.claimed = true
		for _, l := range s.conn.ids.local {
			s.ours[l.seq] = l.id
		}
		for i := 0; i+1 < min(len(ops), 300) && s.closed == nil; i += 2 {
			s.op(ops[i]%9, int64(ops[i+1]))
			s.check()
		}
		s.clear()
	})
}

func (s *idStory) op(op byte, n int64) {
	switch op {
	case 0: // a new ID, and maybe the end of old ones
		f := newID(s.next+n%2, min(s.prior+n>>6, s.next))
		s.next = f.Seq + 1
		s.prior = max(s.prior, f.RetirePriorTo)
		s.offends(f)
		s.theirs[f.Seq], s.last = f.ID, f
		s.write(wire.OneRTT, f)
	case 1: // any number with any ID
		f := newID(n%16, 0)
		f.ID = peerID(n / 16)
		s.offends(f)
		if s.theirs[f.Seq] == (wire.ConnectionID{}) {
			s.theirs[f.Seq] = f.ID
		}
		s.write(wire.OneRTT, f)
	case 2:
		seq := n % 8
		if _, known := s.ours[seq]; !known || seq == s.dest {
			s.must = wire.ProtocolViolation
		}
		s.gone[seq] = true
		s.write(wire.OneRTT, wire.RetireConnectionID{Seq: seq})
	case 3:
		s.ack(wire.OneRTT)
	case 4:
		s.advanceSafely(time.Duration(n) * 10 * time.Millisecond)
	case 5: // somebody moves
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n % 4)}), 4000)
		if s.side == serverSide {
			s.path.Remote = to
			s.write(wire.OneRTT, wire.Ping{})
		} else if s.conn.Migrate(s.now, dgram.Path{Local: to, Remote: testRemote}, false) == nil {
			s.pump()
		}
	case 6:
		if s.last.Seq > 0 {
			s.write(wire.OneRTT, s.last)
		}
	case 7:
		if st := s.conn.OpenStream(s.now, uni); st != nil {
			_, _ = s.conn.Write(st, make([]byte, 10*n))
		}
		s.pump()
	case 8: // the peer sends to another of ours
		if id, ok := s.ours[n%8]; ok && !s.gone[n%8] {
			s.peer.dcid, s.dest = id, n%8
		}
	}
}

// offends notes whether a frame is at odds with an earlier one.
func (s *idStory) offends(f wire.NewConnectionID) {
	s.bad = s.bad || f.Seq == 0 // a server has given that a token, which was another
	for seq, id := range s.theirs {
		s.bad = s.bad || (seq == f.Seq) != (id == f.ID)
	}
}

// check looks at what the Conn has sent.
func (s *idStory) check() {
	s.Helper()
	s.pump()
	for i := range s.out {
		p := &s.out[i]
		used := int64(-1)
		for seq, id := range s.theirs {
			if id == p.dcid && !s.given[seq] {
				used = seq
			}
		}
		if used < 0 && s.closed == nil {
			s.Fatalf("%v goes to %v, which is not one of %v, or given up: %v", p, p.dcid, s.theirs, s.given)
		}
		for _, f := range p.frames {
			s.frame(f)
		}
	}
	s.out = nil
	c := s.conn
	if len(c.ids.local) > maxLocalIDs || len(c.ids.retired) > maxRetired || s.closed == nil && int64(len(c.ids.remote)) > c.maxPeerIDs() {
		s.Fatalf("%d IDs of ours, %d of the peer's, %d retired", len(c.ids.local), len(c.ids.remote), len(c.ids.retired))
	}
	s.judge()
}

func (s *idStory) frame(f wire.Frame) {
	s.Helper()
	switch f := f.(type) {
	case wire.NewConnectionID:
		id, again := s.ours[f.Seq]
		if again && id != f.ID || !again && f.Seq != int64(len(s.ours)) || f.Token != s.cfg.ResetToken(f.ID) || f.RetirePriorTo != 0 {
			s.Fatalf("%v, after %v", f, s.ours)
		}
		for seq, id := range s.ours {
			if id == f.ID && seq != f.Seq {
				s.Fatalf("%v is number %d, too", f, seq)
			}
		}
		if s.ours[f.Seq] = f.ID; int64(len(s.ours)-len(s.gone)) > testParams().ActiveCIDLimit {
			s.Fatalf("%d IDs at once", len(s.ours)-len(s.gone))
		}
	case wire.RetireConnectionID:
		if _, ok := s.theirs[f.Seq]; !ok {
			s.Fatalf("%v, and there are %v", f, s.theirs)
		}
		s.given[f.Seq] = true
	}
}

// judge looks how the connection has ended, if it has.
func (s *idStory) judge() {
	s.Helper()
	if s.closed == nil {
		if s.must != 0 {
			s.Fatalf("it goes on, want %v", s.must)
		}
		return
	}
	switch code := wire.ErrorCode(s.closed.Code); {
	case s.must != 0 && code == s.must, s.bad && code == wire.ProtocolViolation:
	case code == wire.ConnectionIDLimitError, code == wire.NoViablePath:
	case code == wire.ProtocolViolation && s.closed.Frame == wire.FrameAck: // nothing was acknowledged for too long
	case code == wire.ProtocolViolation && s.prior > 0 && s.closed.Frame == wire.FrameNewConnectionID: // none is left
	case s.closed.Kind == CloseIdle:
	default:
		s.Fatalf("closed with %+v", *s.closed)
	}
}
