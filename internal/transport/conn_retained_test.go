package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// checkRetained says that the sum over all streams is right, and that who waits for it to fall is one that may not send.
func (tc *testConn) checkRetained() {
	tc.Helper()
	c, sum := tc.conn, int64(0)
	for _, st := range c.streams.table {
		if st.canSend {
			sum += st.send.Retained()
		}
	}
	if c.streams.retained != sum {
		tc.Fatalf("%d bytes are counted as retained, and the streams have %d", c.streams.retained, sum)
	}
	for st := c.streams.waiting.head; st != nil; st = st.next {
		if st.queue == queueKept && (!c.streams.keeps || st.send.Unsent() == 0) || st.queue < queueBlocked || st.gone {
			tc.Fatalf("stream %d waits in queue %d, with %d bytes to send", st.id, st.queue, st.send.Unsent())
		}
	}
}

// fills lets the peer withhold its hole until nothing new is sent.
func (h *hoarder) fills() {
	h.Helper()
	for n := 0; !h.conn.streams.keeps; n++ {
		if n > 2000 {
			h.Fatalf("%d bytes retained, and more is sent", h.conn.streams.retained)
		}
		h.round(true)
		h.checkRetained()
	}
}

// While too much is retained, what was lost goes, an end without data, and a reset. Other streams wait, whatever their urgency, and go on once
// the stream with the hole is reset, by either end.
func TestRetainedHoldsBack(t *testing.T) {
	for name, cut := range map[string]func(h *hoarder){
		"reset":        func(h *hoarder) { h.conn.Reset(h.stream, 7) },
		"STOP_SENDING": func(h *hoarder) { h.write(wire.OneRTT, wire.StopSending{ID: h.stream.ID(), Code: 7}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHoarder(t)
			h.write(wire.OneRTT, wire.MaxStreams{Max: 100})
			ended := h.open(bidi)
			h.send(ended, "ends")
			h.round(false)
			h.fills()
			for n := 0; h.conn.loss.InFlight() > h.conn.mtu.size; n++ { // so that the window has room
				if n > 100 {
					t.Fatalf("%d bytes in flight", h.conn.loss.InFlight())
				}
				h.round(false)
			}
			h.clear()
			copies := h.copies
			other := h.open(bidi)
			h.conn.SetPriority(other, 0, false)
			must(h.conn.CloseWrite(ended))
			h.send(other, "new")
			h.conn.Ping()
			h.pump()
			h.wantType("all that is no data", wire.OneRTT, wire.FramePing)
			h.want("an end without data", wire.OneRTT, wire.Stream{ID: ended.ID(), Offset: 4, Fin: true, HasLen: true})
			if other.queue != queueKept || other.Held() {
				t.Fatalf("the other stream is in queue %d; held by the peer: %v", other.queue, other.Held())
			}
			h.wantNoEvent("the peer does not hold it", EventBlocked)
			h.advanceToPTO()
			h.round(false)
			if h.copies == copies {
				t.Error("the hole is not sent again")
			}
			h.clear()
			cut(h)
			h.checkRetained()
			if n := h.conn.streams.retained; n != int64(len("new"))-other.Unsent() || other.queue == queueKept {
				t.Errorf("%d bytes retained, and the other stream is in queue %d", n, other.queue)
			}
			h.ignore(wire.FrameResetStream)
			h.want("goes on", wire.OneRTT, wire.Stream{ID: other.ID(), Data: []byte("new"), HasLen: true})
			h.ack(wire.OneRTT)
			if n := h.conn.streams.retained; n != 0 {
				t.Errorf("%d bytes retained", n)
			}
			h.abandon()
		})
	}
}

// What 0-RTT had sent, and was refused, is not retained.
func TestRetainedRestart(t *testing.T) {
	tc := earlyClient(t)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "request"))
	if n := tc.conn.streams.retained; n != 7 {
		t.Errorf("%d bytes retained", n)
	}
	tc.earlyFlight(true, true)
	tc.checkRetained()
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	tc.want("again", wire.OneRTT, streamFrame(0, 0, "request"))
	tc.ack(wire.OneRTT)
	if n := tc.conn.streams.retained; n != 0 {
		t.Errorf("%d bytes retained", n)
	}
	tc.clear()
}

// If an honest peer's path loses a packet and five copies of it at the end of the first slow start, or three later, new data
// goes on as the window has it.
func TestRetainedHonest(t *testing.T) {
	for _, test := range []struct {
		name, algorithm string
		later           bool
		copies          int
	}{
		{"reno", "reno", false, 5},
		{"cubic", "cubic", false, 5},
		{"cubic, later", "cubic", true, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHoarder(t, func(c *Config) { c.CongestionControl = test.algorithm })
			loses := func(copies int) {
				for h.hole = -1; h.conn.loss.Window() < maxRetained; {
					h.round(true)
				}
				h.hole, h.copies = h.stream.send.Offset(), 0
				for h.copies < 1+copies {
					h.round(true)
					if h.conn.streams.keeps {
						t.Fatalf("nothing new is sent after %d losses of a packet, with %d bytes retained and a widest window of %d", h.copies, h.conn.streams.retained, h.conn.streams.widest)
					}
				}
			}
			if test.later {
				loses(0)
			}
			loses(test.copies)
			h.repents()
			h.abandon()
		})
	}
}
