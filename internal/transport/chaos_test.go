package transport

import (
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A peer that says whatever comes to its mind, in any packet, from anywhere, at
// any time, while the application does what it likes: the connection lives or
// closes, but never panics, hangs, answers for ever, amplifies or leaks (the
// end of a testConn looks at most of that).
func TestChaos(t *testing.T) {
	for seed := range uint64(600) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := mrand.New(mrand.NewPCG(seed, 11))
			s := side(seed%2 == 0)
			tc := newTestConn(t, s, stage(r.IntN(4)), func(c *Config) {
				c.DisableMTUDiscovery = r.IntN(2) == 0
				c.DisablePacing = r.IntN(2) == 0
				c.AcceptPreferred = true
				c.Params.MaxDatagramFrame = r.Int64N(2000)
				if r.IntN(2) == 0 {
					smallWindows(c)
				}
				if r.IntN(2) == 0 && s == clientSide {
					old := testParams()
					old.MaxDatagramFrame = r.Int64N(2000)
					c.Resumed = &old
				}
			}, func(sc *scriptedTLS) { sc.early = r.IntN(2) == 0 },
				func(p *wire.Parameters) {
					if s == clientSide && r.IntN(2) == 0 {
						offer(p)
					}
					p.MaxDatagramFrame = r.Int64N(2000)
					if r.IntN(2) == 0 {
						p.MaxData = r.Int64N(5000)
					}
				})
			m := &monkey{tc: tc, r: r, home: tc.path}
			for range 150 {
				m.step()
				m.check()
				if tc.gone > 0 {
					break
				}
			}
			tc.advance(time.Minute)
			tc.takeDatagrams()
			tc.abandon()
		})
	}
}

// monkey is the peer and the application of TestChaos.
type monkey struct {
	tc      *testConn
	r       *mrand.Rand
	home    dgram.Path
	streams []*Stream
	ids     int64
	old     [][]byte
}

func (m *monkey) step() {
	tc, r := m.tc, m.r
	m.wander()
	switch n := r.IntN(100); {
	case n < 45:
		m.speak()
	case n < 55:
		tc.ack(packetTypes[r.IntN(4)&^1]) // no ACK in 0-RTT packets, mostly
	case n < 60:
		pn := r.Int64N(tc.peer.got[2].Max() + 2)
		tc.write(wire.OneRTT, wire.MakeAck(numbers(pn), r.Uint64N(1<<20), nil))
	case n < 70:
		tc.advance(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
	case n < 72:
		tc.advance(time.Duration(r.Int64N(int64(5 * time.Second))))
	case n < 77 && len(m.old) > 0:
		b := append([]byte(nil), m.old[r.IntN(len(m.old))]...)
		if r.IntN(2) == 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		tc.inject(b)
	case n < 80:
		tc.step(stage(r.IntN(4)))
	default:
		m.act()
	}
}

// wander changes where the peer's datagrams come from, now and then.
func (m *monkey) wander() {
	switch m.r.IntN(30) {
	case 0:
		m.tc.path.Remote = netip.AddrPortFrom(testElsewhere.Addr(), uint16(1+m.r.IntN(6)))
	case 1, 2, 3:
		m.tc.path = m.home
	case 4:
		m.tc.ecn = dgram.ECN(m.r.IntN(4))
	}
}

// speak makes the peer send a datagram with packets full of frames.
func (m *monkey) speak() {
	tc, r := m.tc, m.r
	var packets []testPacket
	for range 1 + r.IntN(2) {
		p := testPacket{typ: packetTypes[r.IntN(4)]}
		if r.IntN(3) > 0 {
			p.typ = wire.OneRTT
		}
		for range 1 + r.IntN(3) {
			p.frames = append(p.frames, m.frame(p.typ))
		}
		if r.IntN(10) == 0 {
			p.explicit, p.number = true, max(0, tc.peer.next[spaceOf(p.typ)]+r.Int64N(9)-4)
		}
		packets = append(packets, p)
		if p.typ == wire.OneRTT {
			break
		}
	}
	tc.writeDatagram(packets...)
}

// frame returns a frame that is mostly in order.
func (m *monkey) frame(typ wire.PacketType) wire.Frame {
	tc, r := m.tc, m.r
	all := allFrameTypes()
	ft := all[r.IntN(len(all))]
	if !ft.Permitted(typ) && r.IntN(50) > 0 {
		return wire.Ping{}
	}
	theirs := (!tc.side).streamID(r.IntN(2) == 0, r.Int64N(4))
	if r.IntN(200) == 0 {
		b := sampleFrame(ft, tc.side).Append(nil)
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return rawFrame(b)
	}
	switch ft {
	case wire.FrameAck, wire.FrameAckECN:
		if set := tc.peer.got[spaceOf(typ)]; len(set) > 0 {
			return wire.MakeAck(set, 0, nil)
		}
	case wire.FrameNewConnectionID:
		m.ids++
		return newID(m.ids, max(0, m.ids-r.Int64N(4)))
	case wire.FrameRetireConnectionID:
		return wire.RetireConnectionID{Seq: 1 + r.Int64N(max(1, tc.conn.ids.localNext-1))}
	case wire.FrameConnectionClose, wire.FrameApplicationClose,
		wire.FrameHandshakeDone, wire.FrameNewToken, wire.FrameCrypto:
		if r.IntN(20) > 0 {
			return wire.Ping{}
		}
	case wire.FrameDatagram, wire.FrameDatagramLen:
		n := r.Int64N(max(1, tc.cfg.Params.MaxDatagramFrame-3))
		return wire.Datagram{Data: make([]byte, min(n, 300)), HasLen: true}
	case wire.FrameMaxData:
		return wire.MaxData{Max: r.Int64N(50_000)}
	case wire.FrameResetStream:
		return wire.ResetStream{ID: theirs, FinalSize: r.Int64N(20)}
	case wire.FramePathChallenge:
		return wire.PathChallenge{Data: [8]byte{byte(r.Uint32())}}
	case wire.FramePathResponse:
		if len(tc.conn.paths.list) > 0 {
			return wire.PathResponse{Data: tc.conn.paths.list[r.IntN(len(tc.conn.paths.list))].challenges[r.IntN(pathTries)].data}
		}
	}
	if ft.IsStream() {
		return data(theirs, r.Int64N(30), r.IntN(20), r.IntN(10) == 0)
	}
	return sampleFrame(ft, tc.side)
}

// act is the application doing something.
func (m *monkey) act() {
	tc, r := m.tc, m.r
	tc.pump()
	for _, e := range tc.events {
		if e.Kind == EventStream {
			m.streams = append(m.streams, e.Stream)
		}
	}
	tc.events = nil
	if st := tc.conn.OpenStream(tc.now, r.IntN(2) == 0); st != nil {
		m.streams = append(m.streams, st)
	}
	if most, _, ok := tc.conn.MaxDatagramSize(); ok && most > 0 && r.IntN(3) == 0 {
		tc.conn.SendDatagram(tc.now, make([]byte, r.IntN(most)))
	}
	if r.IntN(10) == 0 {
		tc.takeDatagrams()
	}
	switch r.IntN(12) {
	case 0:
		tc.conn.Ping()
	case 1:
		tc.conn.UpdateKey(tc.now)
	case 2:
		to := m.home
		to.Local = netip.AddrPortFrom(addrPort("192.0.2.9:1").Addr(), uint16(1+r.IntN(3)))
		tc.conn.Migrate(tc.now, to, r.IntN(4) == 0)
	case 3:
		tc.conn.TooBig(tc.now, 1200+r.IntN(300))
	case 5:
		if tc.side == clientSide && !tc.conn.Secure() {
			tc.tls1(TLSEvent{Kind: TLSEarlyRejected})
		}
	case 4:
		if r.IntN(20) == 0 {
			tc.conn.Close(tc.now, r.IntN(2) == 0, 7, "enough")
		}
	}
	if len(m.streams) == 0 {
		return
	}
	st := m.streams[r.IntN(len(m.streams))]
	switch r.IntN(8) {
	case 0, 1, 2:
		if st.CanSend() {
			tc.conn.Write(st, make([]byte, r.IntN(20_000)))
		}
	case 3, 4:
		tc.read(st)
	case 5:
		tc.conn.CloseWrite(st)
	case 6:
		tc.conn.Reset(st, 5)
	case 7:
		tc.conn.Stop(tc.now, st, 6)
	}
}

// check looks at what must hold after every step.
func (m *monkey) check() {
	tc := m.tc
	tc.Helper()
	tc.pump()
	if len(tc.datagrams) > 100_000 {
		tc.Fatal("answers for ever")
	}
	for _, d := range tc.datagrams[max(0, len(tc.datagrams)-3):] {
		m.old = append(m.old[max(0, len(m.old)-20):], d.data)
	}
	c := tc.conn
	if n := len(c.paths.list); n > maxPaths || c.paths.responses > maxResponses || n == 0 {
		tc.Fatalf("%d paths, %d responses", n, c.paths.responses)
	}
	if n := int64(len(c.ids.remote)); !c.Closed() && (n > c.maxPeerIDs() || n == 0) {
		tc.Fatalf("%d IDs of the peer", n)
	}
	if c.loss.InFlight() < 0 {
		tc.Fatalf("%d bytes in flight", c.loss.InFlight())
	}
}
