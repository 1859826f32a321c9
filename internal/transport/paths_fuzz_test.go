package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// pathStory is a server, and what its peer has sent and heard at each of its addresses.
type pathStory struct {
	*testConn
	asked   map[netip.AddrPort]map[[8]byte]int // challenges that came from an address, not yet answered
	outside []wire.PathChallenge               // the server's, with where they went
	where   []netip.AddrPort
	shown   map[netip.AddrPort]bool // the peer has answered there
	newest  netip.AddrPort          // where the newest non-probing packet came from
	serial  int64                   // of connection IDs
	held    int64                   // number of a packet on its way; -1 for none
}

// FuzzPaths: whatever comes from whichever address, challenges are answered where they came from
// and once, nothing but probes goes to where the peer has not gone, at most three times what
// came from there before it has shown itself, tables keep their bounds, and in the end the server
// is where an honest client is.
func FuzzPaths(f *testing.F) {
	f.Add([]byte{7, 0, 0, 1, 2, 0, 4, 10, 5, 50, 6, 1, 1, 2, 0, 2, 2, 0, 4, 200, 8, 3, 4, 255})
	f.Add([]byte{7, 0, 7, 0, 1, 1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 1, 1, 1, 0, 1, 0, 2, 0, 3, 0, 4, 3, 3, 2, 130, 5, 255, 4, 99, 4, 255})
	f.Add(challengesThenMove())
	f.Fuzz(func(t *testing.T, ops []byte) {
		s := &pathStory{testConn: newTestConn(t, serverSide), asked: map[netip.AddrPort]map[[8]byte]int{}, newest: testRemote, serial: 1, held: -1}
		s.claimed, s.shown = true, map[netip.AddrPort]bool{testRemote: true}
		for i := 0; i+1 < min(len(ops), 300) && s.closed == nil; i += 2 {
			s.op(ops[i]%9, ops[i+1])
			s.check()
		}
		s.settle()
	})
}

// challengesThenMove leaves as many answers on another path without an acknowledgement as may be,
// and then has the peer move to a third, while the congestion window has room.
func challengesThenMove() (ops []byte) {
	for i := range maxPathProbes {
		ops = append(ops, 1, byte(61+6*i))
	}
	return append(ops, 0, 2)
}

// from puts the peer at one of six addresses.
func (s *pathStory) from(n byte) netip.AddrPort {
	s.path.Remote = testRemote
	if n %= 6; n > 0 {
		s.path.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, n / 2}), 4000+uint16(n))
	}
	return s.path.Remote
}

func (s *pathStory) op(op, n byte) {
	switch op {
	case 0:
		s.newest = s.from(n)
		s.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 40 + 4*int(n)})
	case 1:
		at, data := s.from(n), [8]byte{n, 1}
		if s.asked[at] == nil {
			s.asked[at] = map[[8]byte]int{}
		}
		s.asked[at][data]++
		s.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.PathChallenge{Data: data}}, size: 40 + 5*int(n)})
	case 2: // the answer to a challenge, from where it went or from somewhere else
		if len(s.outside) == 0 {
			return
		}
		i := int(n&15) % len(s.outside)
		if s.path.Remote = s.where[i]; n&128 != 0 {
			s.from(n)
		}
		s.shown[s.where[i]] = true
		s.write(wire.OneRTT, wire.PathResponse(s.outside[i]))
	case 3:
		s.from(n)
		s.write(wire.OneRTT, wire.PathResponse{Data: [8]byte{n, 0xff}})
	case 4:
		s.advanceKeeping(time.Duration(n) * 10 * time.Millisecond)
	case 5:
		if st := s.conn.OpenStream(s.now, uni); st != nil {
			_, _ = s.conn.Write(st, make([]byte, 50*int(n)))
			_ = s.conn.CloseWrite(st)
		}
		s.pump()
	case 6:
		s.newest = s.from(n)
		s.ack(wire.OneRTT)
	case 7:
		s.path.Remote = s.newest
		s.write(wire.OneRTT, newID(s.serial, max(s.serial-1, 0)))
		s.serial++
	case 8: // a packet is long on its way, and changes nothing if others come first
		next := &s.peer.next[recovery.App]
		if s.held < 0 {
			s.held = *next
			*next++
			return
		}
		if at := s.from(n); s.held == *next-1 {
			s.newest = at
		}
		s.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, number: s.held, explicit: true, size: 100})
		s.held = -1
	}
}

// advanceKeeping lets time pass, and keeps what is said.
func (s *pathStory) advanceKeeping(d time.Duration) {
	end := s.now.Add(d)
	for s.conn.Deadline() <= end {
		s.advanceToTimer()
		s.check()
	}
	s.now = max(s.now, end)
}

// check looks at what the server has sent.
func (s *pathStory) check() {
	s.Helper()
	s.pump()
	for i := range s.out {
		s.packet(&s.out[i])
	}
	s.out, s.events = nil, s.events[:0]
	waiting := 0
	for i := range s.conn.paths.list {
		waiting += len(s.conn.paths.list[i].responses)
	}
	if p := &s.conn.paths; len(p.list) > maxPaths || p.responses > maxResponses || p.responses != waiting || p.probes > maxPathProbes {
		s.Fatalf("%d paths, %d answers of %d wait, %d probes", len(p.list), p.responses, waiting, p.probes)
	}
}

func (s *pathStory) packet(p *sentPacket) {
	s.Helper()
	to, probing := p.datagram.path.Remote, true
	for _, f := range p.frames {
		switch f := f.(type) {
		case wire.PathChallenge:
			s.outside, s.where = append(s.outside, f), append(s.where, to)
		case wire.PathResponse:
			if s.asked[to][f.Data]--; s.asked[to][f.Data] < 0 {
				s.Fatalf("%v to %v, which has not asked, or has its answer", f, to)
			}
		case wire.Padding, wire.NewConnectionID:
		default:
			probing = false
		}
	}
	if !probing && to != s.newest && !s.shown[to] {
		s.Fatalf("%v, and the peer is at %v", p, s.newest)
	}
}

// settle has an honest client at one address that answers everything.
func (s *pathStory) settle() {
	s.Helper()
	if s.closed == nil {
		s.newest = s.from(3)
		for range 40 {
			s.write(wire.OneRTT, wire.Ping{})
			s.check()
			for i, c := range s.outside {
				if s.where[i] == s.path.Remote {
					s.shown[s.path.Remote] = true
					s.write(wire.OneRTT, wire.PathResponse(c))
				}
			}
			s.ack(wire.OneRTT)
			s.outside, s.where = nil, nil
			s.advanceKeeping(300 * time.Millisecond)
		}
		if at := s.conn.Path(); s.closed == nil && (at != s.path || !s.conn.paths.active().validated) {
			s.Fatalf("at %v in the end, validated %v, want %v", at, s.conn.paths.active().validated, s.path)
		}
	}
	if c := s.closed; c != nil && c.Kind == CloseLocal && wire.ErrorCode(c.Code) != wire.NoViablePath && c.Frame != wire.FrameAck && wire.ErrorCode(c.Code) != wire.ConnectionIDLimitError {
		s.Fatalf("closed with %+v", *c)
	}
	s.clear()
}
