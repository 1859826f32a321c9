package transport

// Every frame in every packet at every moment of a connection, to either end
// (RFC 9000 §12.4). What must come of it is derived from three short tables: when
// packets can be read, what may stand in them, and what only one end may say.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// table3 is RFC 9000 §12.4, table 3, once more, by hand: what the code's table is
// held against. I, H, 0, 1 are the packet types.
var table3 = map[string]string{
	"PADDING": "IH01", "PING": "IH01", "ACK": "IH1", "ACK_ECN": "IH1", "RESET_STREAM": "01", "STOP_SENDING": "01",
	"CRYPTO": "IH1", "NEW_TOKEN": "1", "STREAM": "01", "MAX_DATA": "01", "MAX_STREAM_DATA": "01",
	"MAX_STREAMS_BIDI": "01", "MAX_STREAMS_UNI": "01", "DATA_BLOCKED": "01", "STREAM_DATA_BLOCKED": "01",
	"STREAMS_BLOCKED_BIDI": "01", "STREAMS_BLOCKED_UNI": "01", "NEW_CONNECTION_ID": "01",
	"RETIRE_CONNECTION_ID": "01", "PATH_CHALLENGE": "01", "PATH_RESPONSE": "1", "CONNECTION_CLOSE": "IH01",
	"APPLICATION_CLOSE": "01", "HANDSHAKE_DONE": "1", "DATAGRAM": "01",
	"IMMEDIATE_ACK": "1", "ACK_FREQUENCY": "1",
}

var packetLetters = map[wire.PacketType]string{wire.Initial: "I", wire.Handshake: "H", wire.ZeroRTT: "0", wire.OneRTT: "1"}

var packetTypes = []wire.PacketType{wire.Initial, wire.ZeroRTT, wire.Handshake, wire.OneRTT}

// moments are the states of a connection, and for a server and a client what becomes
// of a packet of the four types then (Initial, 0-RTT, Handshake, 1-RTT): r it is
// read, w it waits for its keys (RFC 9001 §5.7), - it is dropped (RFC 9001 §4.9),
// c it is answered with the close again, at most, d with nothing (RFC 9000 §10.2).
var moments = []struct {
	name   string
	at     stage
	hello  int // bytes of the peer's first message that have come, if not whole
	server string
	client string
}{
	{"before anything", stageStart, 0, "rwww", "r-ww"},
	{"half a hello", stageStart, 50, "rwww", "r-ww"},
	{"Handshake keys", stageHello, 0, "rrrw", "r-rw"},
	{"complete", stageSecure, 0, "---r", "--rr"},
	{"confirmed", stageConfirmed, 0, "---r", "---r"},
	{"closing", stageConfirmed, 0, "cccc", "cccc"},
	{"draining", stageConfirmed, 0, "dddd", "dddd"},
}

// verdict is what one frame makes of a connection.
type verdict struct {
	kind CloseKind // closed so, if over
	over bool
	code wire.ErrorCode
}

func (v verdict) String() string {
	switch {
	case !v.over:
		return "open"
	case v.kind == ClosePeer:
		return "closed by the peer"
	}
	return v.code.String()
}

// judge returns what must come of a frame in a packet that is read by an end of side s.
// acked tells whether what an ACK acknowledges was sent, first whether only the first
// connection IDs exist.
func judge(s side, ft wire.FrameType, typ wire.PacketType, acked, first bool) verdict {
	violation := verdict{over: true, kind: CloseLocal, code: wire.ProtocolViolation}
	onlyServer := ft == wire.FrameNewToken || ft == wire.FrameHandshakeDone
	switch {
	case !ft.Known():
		return verdict{over: true, kind: CloseLocal, code: wire.FrameEncodingError}
	case !strings.Contains(table3[ft.String()], packetLetters[typ]):
		return violation
	case onlyServer && s == serverSide: // RFC 9000 §19.7, §19.20
		return violation
	case ft == wire.FrameRetireConnectionID && first: // RFC 9000 §19.16: of an ID that was never issued
		return violation
	case (ft == wire.FrameAck || ft == wire.FrameAckECN) && !acked: // RFC 9000 §13.1
		return violation
	case ft == wire.FrameConnectionClose || ft == wire.FrameApplicationClose:
		return verdict{over: true, kind: ClosePeer}
	}
	return verdict{}
}

// S-28, S-31: the matrix, completely.
func TestS28FrameMatrix(t *testing.T) {
	besiege(t, 0)
	frames := append(allFrameTypes(), 0x20)
	cells, count := 0, map[string]int{}
	for _, s := range []side{serverSide, clientSide} {
		for m := range moments {
			for i, typ := range packetTypes {
				fate := moments[m].server[i]
				if s == clientSide {
					fate = moments[m].client[i]
				}
				for _, ft := range frames {
					name := fmt.Sprintf("%v, %s, %#x in %v", s, moments[m].name, uint64(ft), typ)
					t.Run(name, func(t *testing.T) { count[matrixCell(t, s, m, typ, ft, fate)]++ })
					cells++
				}
			}
		}
	}
	if want := 2 * len(moments) * 4 * len(frames); cells != want {
		t.Errorf("%d cells, want %d", cells, want)
	}
	t.Logf("%d cells (2 ends, %d states, 4 packet types, %d frame types): %v", cells, len(moments), len(frames), count)
}

// matrixCell runs a cell and returns its outcome in a word.
func matrixCell(t *testing.T, s side, m int, typ wire.PacketType, ft wire.FrameType, fate byte) string {
	tc := atMoment(t, s, m)
	defer tc.abandon()
	var f wire.Frame = evil.Raw{byte(ft)}
	if ft.Known() {
		f = sampleFrame(ft, s)
	}
	sent := tc.peer.got[spaceOf(typ)]
	acked := len(sent) > 0
	if acked && (ft == wire.FrameAck || ft == wire.FrameAckECN) {
		f = wire.MakeAck(sent, 0, nil)
	}
	ignored, before := tc.packetsIgnored(), tc.closed
	tc.write(typ, f)
	switch fate {
	case '-':
		tc.wantOpen("dropped")
		if got := tc.packetsIgnored(); got != ignored+1 {
			t.Errorf("%d packets ignored, want 1", got-ignored)
		}
		return "dropped"
	case 'w':
		tc.wantOpen("waiting")
		if len(tc.conn.waiting.list) != 1 {
			t.Errorf("%d packets wait, want 1", len(tc.conn.waiting.list))
		}
		tc.step(stageConfirmed)
	case 'c', 'd':
		for g, p := tc.peek(); g != nil; g, p = tc.peek() {
			if _, ok := g.(wire.Close); !ok || fate == 'd' {
				t.Errorf("unexpected %v in %v", g, p)
			}
			p.seen++
		}
		if tc.closed != before {
			t.Errorf("closed %+v", tc.closed)
		}
		return "closed already"
	}
	if got, want := tc.verdict(), judge(s, ft, typ, acked, fate == 'w' || typ == wire.ZeroRTT); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	return tc.verdict().String()
}

func (tc *testConn) verdict() verdict {
	if tc.closed == nil {
		return verdict{}
	}
	v := verdict{over: true, kind: tc.closed.Kind}
	if v.kind == CloseLocal {
		v.code = wire.ErrorCode(tc.closed.Code)
	}
	return v
}

// atMoment returns a Conn at one of the moments, which has said all it has to say.
func atMoment(t *testing.T, s side, m int) *testConn {
	t.Helper()
	tc := newTestConn(t, s, moments[m].at, func(c *scriptedTLS) { c.early = true }, func(c *Config) {
		c.Params.MaxDatagramFrame = 100
		if s == clientSide {
			p := testParams()
			c.Resumed = &p
		}
	})
	if n := moments[m].hello; n > 0 {
		tc.write(wire.Initial, wire.Crypto{Data: message('h', n)})
	}
	switch moments[m].name {
	case "closing":
		tc.conn.Close(tc.now, true, 1, "bye")
	case "draining":
		tc.write(wire.OneRTT, wire.Close{App: true})
	}
	tc.clear()
	return tc
}

// S-31: the code's own table is table 3, for every type there is and for many that
// there are not (RFC 9000 §12.4, §12.5).
func TestS31PermissionTable(t *testing.T) {
	besiege(t, 0)
	for ft := wire.FrameType(0); ft < 1<<14; ft++ {
		for _, typ := range packetTypes {
			want := ft.Known() && strings.Contains(table3[ft.String()], packetLetters[typ])
			if got := ft.Permitted(typ); got != want {
				t.Errorf("%v in %v: permitted %t, want %t", ft, typ, got, want)
			}
		}
		if _, listed := table3[ft.String()]; ft.Known() != listed {
			t.Errorf("%v is known: %t, is in the table: %t", ft, ft.Known(), listed)
		}
	}
}
