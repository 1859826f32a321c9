package transport

// 0-RTT: RFC 9001 §4.6, RFC 9000 §7.4.1, from both ends.

import (
	"crypto/tls"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func withEarly(s *scriptedTLS) { s.early = true }

// resumed makes a client remember the fake peer's usual parameters, edited.
func resumed(edit func(*wire.Parameters)) func(*Config) {
	return func(c *Config) {
		p := testParams()
		p.ActiveCIDLimit = 4
		if edit != nil {
			edit(&p)
		}
		c.Resumed = &p
	}
}

// earlyClient returns a client that has sent its ClientHello and may send 0-RTT.
func earlyClient(t *testing.T, options ...any) *testConn {
	tc := newTestConn(t, append([]any{clientSide, stageStart, withEarly, resumed(nil)}, options...)...)
	tc.wantType("the ClientHello", wire.Initial, wire.FrameCrypto)
	tc.ignore(wire.FrameNewConnectionID)
	return tc
}

// flight lets the server's handshake flight arrive, with 0-RTT refused or not.
// first says which of the two things TLS tells first.
func (tc *testConn) earlyFlight(rejected, parametersFirst bool) {
	tc.Helper()
	tc.tls.manual = true
	tc.write(wire.Initial, ackOf(0), wire.Crypto{Data: message('S', 90)})
	tc.tlsSecret(TLSReadSecret, LevelHandshake)
	tc.tlsSecret(TLSWriteSecret, LevelHandshake)
	if parametersFirst {
		tc.tlsParameters()
	}
	if rejected {
		tc.tls1(TLSEvent{Kind: TLSEarlyRejected})
	}
	if !parametersFirst {
		tc.tlsParameters()
	}
	tc.tlsData(LevelHandshake, message('F', 52))
	tc.tlsSecret(TLSWriteSecret, LevelApp)
	tc.tls1(TLSEvent{Kind: TLSDone})
	tc.tlsSecret(TLSReadSecret, LevelApp)
}

func streamFrame(id int64, off int64, data string) wire.Stream {
	return wire.Stream{ID: id, Offset: off, Data: []byte(data), HasLen: true}
}

func TestEarlyOffered(t *testing.T) {
	tc := earlyClient(t)
	if !tc.conn.UsingEarlyData() {
		t.Error("0-RTT is not in use")
	}
	tc.wantNoEvent("the limits are remembered ones", EventParameters)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.want("data goes at once", wire.ZeroRTT, streamFrame(0, 0, "request"))
	if tc.last.dcid != tc.conn.OriginalDCID() {
		t.Errorf("0-RTT goes to %v, want the Initial's %v", tc.last.dcid, tc.conn.OriginalDCID())
	}
	tc.advanceToPTO()
	tc.clear()
}

// Without a ticket there is no 0-RTT, whatever TLS says.
func TestEarlyNotRemembered(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, withEarly)
	tc.clear()
	if tc.conn.UsingEarlyData() || tc.conn.OpenStream(tc.now, bidi) != nil {
		t.Error("0-RTT without remembered limits")
	}
	tc.clear()
}

// RFC 9000 §7.4.1: the remembered limits bind the client.
func TestEarlyLimits(t *testing.T) {
	tc := earlyClient(t, resumed(func(p *wire.Parameters) {
		p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 12, 8, 100
		p.MaxStreamsBidi, p.MaxStreamsUni = 1, 1
	}))
	s := tc.open(bidi)
	if tc.conn.OpenStream(tc.now, bidi) != nil {
		t.Error("a second stream")
	}
	tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked, wire.FrameStreamsBlockedBidi)
	tc.send(s, "0123456789")
	tc.want("the stream's limit", wire.ZeroRTT, streamFrame(0, 0, "01234567"))
	u := tc.open(uni)
	tc.send(u, "0123456789")
	tc.want("the connection's limit", wire.ZeroRTT, streamFrame(2, 0, "0123"))
	tc.wantIdle("no more")
	tc.earlyFlight(false, true)
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	tc.want("the real limits are higher", wire.OneRTT, streamFrame(2, 4, "456789"))
	tc.want("for both", wire.OneRTT, streamFrame(0, 8, "89"))
}

// RFC 9000 §7.4.1: the server's new limits are for 1-RTT packets, whose keys TLS has only behind the
// Finished. What they allow waits from the parameters to there, whether 0-RTT was refused or not.
func TestEarlyEndsWithParameters(t *testing.T) {
	for _, rejected := range []bool{false, true} {
		tc := earlyClient(t, resumed(func(p *wire.Parameters) {
			p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamsBidi = 8, 8, 1
		}))
		s := tc.open(bidi)
		tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked, wire.FrameStreamsBlockedBidi)
		tc.send(s, "0123456789")
		tc.want("the remembered limit", wire.ZeroRTT, streamFrame(0, 0, "01234567"))
		tc.tls.manual = true
		tc.write(wire.Initial, ackOf(0), wire.Crypto{Data: message('S', 90)})
		tc.tlsSecret(TLSReadSecret, LevelHandshake)
		tc.tlsSecret(TLSWriteSecret, LevelHandshake)
		tc.tlsParameters()
		early := func() (n int) {
			tc.pump()
			for _, p := range tc.out {
				if p.typ == wire.ZeroRTT && p.has(wire.FrameStream) != nil {
					n++
				}
			}
			return n
		}
		before := early()
		tc.send(tc.open(bidi), "a stream more")
		tc.conn.Stop(tc.now, s, 5)
		tc.advance(50 * time.Millisecond)
		if n := early(); n != before {
			t.Errorf("refused %v: 0-RTT data within limits that are for 1-RTT: %v", rejected, tc.out)
		}
		if rejected {
			tc.tls1(TLSEvent{Kind: TLSEarlyRejected})
			tc.advance(50 * time.Millisecond)
		}
		tc.tlsData(LevelHandshake, message('F', 52))
		tc.tlsSecret(TLSWriteSecret, LevelApp)
		tc.tls1(TLSEvent{Kind: TLSDone})
		tc.tlsSecret(TLSReadSecret, LevelApp)
		tc.ignore(wire.FrameCrypto, wire.FramePing, wire.FrameStopSending)
		if rejected {
			tc.want("all of it", wire.OneRTT, streamFrame(0, 0, "0123456789"))
		} else {
			tc.want("the rest", wire.OneRTT, streamFrame(0, 8, "89"))
		}
		tc.want("and the stream more", wire.OneRTT, streamFrame(4, 0, "a stream more"))
		tc.clear()
	}
}

// RFC 9001 §4.6.2: accepted, the data is never sent again, and 1-RTT keys take over.
func TestEarlyAccepted(t *testing.T) {
	tc := earlyClient(t)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "request"))
	pn := tc.last.pn
	tc.earlyFlight(false, true)
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	tc.wantNoEvent("accepted", EventEarlyRejected)
	tc.wantEvent("complete", EventSecure)
	if !tc.conn.UsingEarlyData() || tc.conn.hs.early != nil {
		t.Errorf("using 0-RTT: %v, its keys: %v", tc.conn.UsingEarlyData(), tc.conn.hs.early)
	}
	tc.send(s, " more")
	tc.want("from now on 1-RTT (§4.9.3)", wire.OneRTT, streamFrame(0, 7, " more"))
	tc.conn.CloseWrite(s)
	tc.want("the end", wire.OneRTT, wire.Stream{ID: 0, Offset: 12, Fin: true, HasLen: true})
	tc.write(wire.OneRTT, ackOf(pn, tc.last.pn-1, tc.last.pn))
	tc.wantEvent("one packet number space", EventStreamAcked)
	tc.clear()
}

// A lost 0-RTT packet is repeated in 1-RTT once those keys are there.
func TestEarlyLost(t *testing.T) {
	tc := earlyClient(t)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "request"))
	tc.earlyFlight(false, true)
	tc.ignore(wire.FrameCrypto)
	tc.wantIdle("nothing is lost")
	for i := range 3 {
		tc.send(s, fmt.Sprint(i))
		tc.want("1-RTT", wire.OneRTT, streamFrame(0, 7+int64(i), fmt.Sprint(i)))
	}
	tc.write(wire.OneRTT, wire.HandshakeDone{}, ackOf(tc.last.pn-2, tc.last.pn-1, tc.last.pn))
	tc.want("again", wire.OneRTT, streamFrame(0, 0, "request"))
}

// DESIGN §5: rejected, all streams start over at offset 0, in the order of their
// numbers, whatever the order they were written in or had been sent in.
func TestS23EarlyRejected(t *testing.T) {
	besiege(t, 0)
	for _, parametersFirst := range []bool{true, false} {
		tc := earlyClient(t)
		a, b, u := tc.open(bidi), tc.open(bidi), tc.open(uni)
		tc.send(b, "bbb")
		tc.want("0-RTT", wire.ZeroRTT, streamFrame(4, 0, "bbb"))
		tc.send(u, "uuu")
		tc.conn.CloseWrite(u)
		tc.want("0-RTT", wire.ZeroRTT, wire.Stream{ID: 2, Data: []byte("uuu"), Fin: true})
		tc.send(a, "aaa")
		tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "aaa"))
		tc.send(b, "BBB")
		tc.want("0-RTT", wire.ZeroRTT, streamFrame(4, 3, "BBB"))
		last := tc.last.pn
		tc.earlyFlight(true, parametersFirst)
		tc.wantEvent("rejected", EventEarlyRejected)
		if tc.conn.UsingEarlyData() {
			t.Error("0-RTT counts as in use")
		}
		tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
		tc.want("first stream", wire.OneRTT, streamFrame(0, 0, "aaa"))
		if tc.last.pn <= last {
			t.Errorf("packet number %d after %d: numbers go on", tc.last.pn, last)
		}
		tc.want("second", wire.OneRTT, wire.Stream{ID: 2, Data: []byte("uuu"), Fin: true})
		tc.want("third", wire.OneRTT, streamFrame(4, 0, "bbbBBB"))
		if got := tc.conn.MaxDataLeft(); got != 1<<20-12 {
			t.Errorf("%d bytes of credit left, want %d", got, 1<<20-12)
		}
		tc.write(wire.OneRTT, wire.HandshakeDone{}, ackOf(tc.last.pn))
		tc.wantIdle("everything has arrived")
		if n := tc.conn.loss.InFlight(); n != 0 {
			t.Errorf("%d bytes in flight", n)
		}
	}
}

// After a rejection the new limits count, lower or higher.
func TestEarlyRejectedLowerLimits(t *testing.T) {
	for _, parametersFirst := range []bool{true, false} {
		tc := earlyClient(t, func(p *wire.Parameters) {
			p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamsBidi, p.MaxStreamsUni = 5, 3, 1, 0
		})
		a, b, u := tc.open(bidi), tc.open(bidi), tc.open(uni)
		for i, s := range []*Stream{b, a, u} {
			tc.send(s, "0123456789")
			tc.wantType(fmt.Sprint("0-RTT ", i), wire.ZeroRTT, wire.FrameStream)
		}
		tc.earlyFlight(true, parametersFirst)
		tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked, wire.FrameStreamsBlockedBidi, wire.FrameStreamsBlockedUni)
		tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
		tc.want("as much as the stream's limit allows", wire.OneRTT, streamFrame(0, 0, "012"))
		tc.wantIdle("the others are past the limit on streams")
		if tc.conn.OpenStream(tc.now, bidi) != nil {
			t.Error("another stream past the limit")
		}
		tc.write(wire.OneRTT, wire.MaxStreams{Max: 2})
		tc.want("the second stream is allowed", wire.OneRTT, streamFrame(4, 0, "01"))
		tc.wantIdle("the connection's limit is reached")
		tc.write(wire.OneRTT, wire.MaxData{Max: 100})
		tc.want("more", wire.OneRTT, streamFrame(4, 2, "2"))
		tc.write(wire.OneRTT, wire.MaxStreamData{ID: 0, Max: 10})
		tc.want("more", wire.OneRTT, streamFrame(0, 3, "3456789"))
		tc.write(wire.OneRTT, wire.MaxStreams{Uni: true, Max: 1})
		tc.want("the third", wire.OneRTT, streamFrame(2, 0, "0123456789"))
		tc.clear()
	}
}

// What a rejected client said about its streams besides data is said again.
func TestEarlyRejectedControl(t *testing.T) {
	tc := earlyClient(t)
	a, b := tc.open(bidi), tc.open(bidi)
	tc.send(a, "aaa")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "aaa"))
	tc.conn.Stop(tc.now, a, 7)
	tc.want("STOP_SENDING", wire.ZeroRTT, wire.StopSending{ID: 0, Code: 7})
	tc.send(b, "bbb")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(4, 0, "bbb"))
	tc.conn.Reset(b, 8)
	tc.want("RESET_STREAM", wire.ZeroRTT, wire.ResetStream{ID: 4, Code: 8, FinalSize: 3})
	tc.earlyFlight(true, true)
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	seen := map[string]bool{}
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		seen[f.String()] = p.typ == wire.OneRTT
		p.seen++
	}
	for _, f := range []wire.Frame{wire.StopSending{ID: 0, Code: 7}, wire.ResetStream{ID: 4, Code: 8}} {
		if !seen[f.String()] {
			t.Errorf("%v is not said again: %v", f, seen)
		}
	}
}

// RFC 9000 §7.4.1: a server that accepts 0-RTT may not lower what the client
// relied on; one that rejects it may.
func TestS23EarlyLoweredLimits(t *testing.T) {
	besiege(t, 0)
	for name, lower := range map[string]func(*wire.Parameters){
		"initial_max_data":                    func(p *wire.Parameters) { p.MaxData-- },
		"initial_max_stream_data_bidi_local":  func(p *wire.Parameters) { p.MaxStreamDataBidiLocal-- },
		"initial_max_stream_data_bidi_remote": func(p *wire.Parameters) { p.MaxStreamDataBidiRemote-- },
		"initial_max_stream_data_uni":         func(p *wire.Parameters) { p.MaxStreamDataUni-- },
		"initial_max_streams_bidi":            func(p *wire.Parameters) { p.MaxStreamsBidi-- },
		"initial_max_streams_uni":             func(p *wire.Parameters) { p.MaxStreamsUni-- },
		"active_connection_id_limit":          func(p *wire.Parameters) { p.ActiveCIDLimit-- },
	} {
		t.Run(name, func(t *testing.T) {
			tc := earlyClient(t, lower)
			tc.earlyFlight(false, true)
			tc.clearTo(wire.FrameConnectionClose)
			tc.wantClose("accepted", wire.ProtocolViolation)

			tc = earlyClient(t, lower)
			tc.earlyFlight(true, true)
			tc.wantOpen("rejected")
			tc.clear()
		})
	}
	tc := earlyClient(t, func(p *wire.Parameters) { p.MaxIdleTimeout, p.MaxAckDelay = time.Second, time.Second })
	tc.earlyFlight(false, true)
	tc.wantOpen("what is not remembered may change")
	tc.clear()
}

// RFC 9000 §17.2.5.3: after a Retry 0-RTT goes again, with new packet numbers.
func TestEarlyRetry(t *testing.T) {
	tc := earlyClient(t)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.want("0-RTT", wire.ZeroRTT, streamFrame(0, 0, "request"))
	pn := tc.last.pn
	r := newMuxRig(t, validating)
	r.dcid, r.scid = tc.conn.OriginalDCID(), tc.conn.ID()
	token, chosen := r.retried()
	tc.peer.setInitialKeys(chosen, tc.side)
	tc.inject(r.batch.Segment(0))
	tc.wantType("the ClientHello again", wire.Initial, wire.FrameCrypto)
	if string(tc.last.token) != string(token) || tc.last.dcid != chosen {
		t.Errorf("Initial to %v with token %x", tc.last.dcid, tc.last.token)
	}
	tc.want("0-RTT again", wire.ZeroRTT, streamFrame(0, 0, "request"))
	if tc.last.dcid != chosen || tc.last.pn <= pn {
		t.Errorf("0-RTT packet %d to %v, want more than %d to %v", tc.last.pn, tc.last.dcid, pn, chosen)
	}
	tc.conn.Destroy(tc.now)
	tc.wantClosed("over", CloseSilent)
}

// A server reads 0-RTT when TLS gives the keys, whether the packets come before
// or after the ClientHello, and marks the streams (RFC 9001 §4.9.3).
func TestEarlyServer(t *testing.T) {
	for _, before := range []bool{true, false} {
		tc := newTestConn(t, serverSide, stageStart, withEarly)
		hello := testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Crypto{Data: message('C', 300)}}}
		early := testPacket{typ: wire.ZeroRTT, frames: []wire.Frame{streamFrame(0, 0, "request")}}
		if before {
			tc.writePacket(early)
			tc.wantNoEvent("no keys yet", EventStream)
			tc.writePacket(hello)
		} else {
			tc.writePacket(hello)
			tc.writePacket(early)
		}
		s := tc.wantEvent("0-RTT data", EventStream).Stream
		if data, err := tc.read(s); data != "request" || err != nil || !s.Early() {
			t.Errorf("read %q, %v, early %v", data, err, s.Early())
		}
		if !tc.conn.UsingEarlyData() || tc.conn.paths.active().validated {
			t.Errorf("using 0-RTT %v, address validated %v", tc.conn.UsingEarlyData(), tc.conn.paths.active().validated)
		}
		tc.clear()
		tc.send(s, "half a round trip earlier")
		tc.want("an answer before the handshake is complete", wire.OneRTT, streamFrame(0, 0, "half a round trip earlier"))
		tc.see(wire.FrameAck)
		tc.write(wire.Handshake, wire.Crypto{Data: message('F', 52)})
		tc.write(wire.OneRTT, wire.Stream{ID: 0, Offset: 7, Data: []byte(" ends"), Fin: true})
		if data, err := tc.read(s); data != " ends" || err != nil {
			t.Errorf("read %q, %v", data, err)
		}
		if _, err := tc.read(s); err != io.EOF {
			t.Errorf("error %v, want EOF", err)
		}
		tc.write(wire.OneRTT, streamFrame(4, 0, "later"))
		if tc.wantEvent("1-RTT data", EventStream).Stream.Early() {
			t.Error("a 1-RTT stream counts as early")
		}
		ignored := tc.packetsIgnored()
		tc.write(wire.ZeroRTT, streamFrame(8, 0, "late"))
		tc.wantNoEvent("0-RTT keys are gone with the handshake (§4.9.3)", EventStream)
		if tc.packetsIgnored() != ignored+1 {
			t.Error("the late 0-RTT packet is not ignored")
		}
		tc.clear()
	}
}

// RFC 9001 §4.6.2: a server that rejects 0-RTT processes none of it, and nothing
// of it is in the way of what the client sends again.
func TestS23EarlyServerRejects(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageStart)
	for i := range int64(5) {
		tc.write(wire.ZeroRTT, streamFrame(4*i, 0, "0-RTT"))
	}
	tc.step(stageHello)
	tc.write(wire.ZeroRTT, streamFrame(0, 0, "0-RTT"))
	tc.wantNoEvent("rejected", EventStream)
	if n := len(tc.conn.waiting.list); n != 0 || tc.conn.acks.Wanted() {
		t.Errorf("%d packets wait, an ACK is wanted: %v", n, tc.conn.acks.Wanted())
	}
	tc.step(stageSecure)
	tc.write(wire.OneRTT, streamFrame(0, 0, "1-RTT"))
	s := tc.wantEvent("1-RTT", EventStream).Stream
	if data, _ := tc.read(s); data != "1-RTT" || s.Early() || tc.conn.UsingEarlyData() {
		t.Errorf("read %q, early %v", data, s.Early())
	}
	tc.clear()
}

// 0-RTT does not lift the amplification limit (RFC 9000 §8.1).
func TestS25EarlyServerAmplification(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageStart, withEarly, func(s *scriptedTLS) { s.serverFlight = 700 })
	tc.write(wire.Initial, wire.Crypto{Data: message('C', 300)})
	tc.write(wire.ZeroRTT, streamFrame(0, 0, "request"))
	s := tc.wantEvent("0-RTT data", EventStream).Stream
	tc.send(s, string(make([]byte, 16000)))
	tc.pump()
	in := int(tc.conn.stats.bytesReceived)
	if out := tc.sent(testRemote); out > 3*in || out < 2*in {
		t.Errorf("sent %d bytes for %d", out, in)
	}
	tc.clear()
	for range 5 {
		if tc.conn.loss.Deadline() < tc.conn.hs.deadline {
			tc.advanceToTimer()
		}
	}
	if out := tc.sent(testRemote); out > 3*in {
		t.Errorf("sent %d bytes for %d", out, in)
	}
	tc.clear()
}

// A client may replace its connection ID in 0-RTT; the handshake goes on under
// the one that it began with (RFC 9000 §7.2), and 1-RTT under the new one.
func TestEarlyServerNewID(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello, withEarly)
	tc.clear()
	id := wire.MakeConnectionID([]byte("another!"))
	tc.write(wire.ZeroRTT, wire.NewConnectionID{Seq: 1, RetirePriorTo: 1, ID: id}, streamFrame(0, 0, "request"))
	s := tc.wantEvent("0-RTT data", EventStream).Stream
	tc.clear()
	tc.send(s, "answer")
	tc.want("the new ID is used", wire.OneRTT, streamFrame(0, 0, "answer"))
	if tc.last.dcid != id {
		t.Errorf("1-RTT goes to %v, want %v", tc.last.dcid, id)
	}
	tc.see(wire.FrameAck)
	tc.write(wire.Handshake, wire.Ping{})
	tc.wantType("an ACK", wire.Handshake, wire.FrameAck)
	if tc.last.dcid != tc.peer.id {
		t.Errorf("Handshake packets go to %v, want %v", tc.last.dcid, tc.peer.id)
	}
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Data: message('F', 52)})
	if !tc.conn.Secure() {
		t.Error("the handshake is stuck")
	}
	tc.clear()
}

// newResumePair is a pair whose client keeps tickets in cache, remembers the
// server's parameters and so tries 0-RTT. The server has the ticket keys of an
// earlier one if server is not nil.
func newResumePair(t *testing.T, remembered *wire.Parameters, cache tls.ClientSessionCache, server *tls.Config) *pair {
	return newPairTLS(t, func(n *node, c *Config, _ *MuxConfig) {
		if n.name == "client" {
			c.Resumed = remembered
		}
	}, func(c, s *node) {
		c.tlsConf.ClientSessionCache = cache
		if server != nil {
			s.tlsConf = server
		}
	})
}

// The whole of it with crypto/tls: a ticket, 0-RTT accepted, and 0-RTT
// rejected because the server has forgotten its keys.
func TestEarlyRealTLS(t *testing.T) {
	for _, reject := range []bool{false, true} {
		cache := tls.NewLRUClientSessionCache(1)
		first := newResumePair(t, nil, cache, nil)
		first.handshake()
		first.rest()
		remembered := *first.client.conn.PeerParameters()
		var keys *tls.Config
		if !reject {
			keys = first.server.tlsConf
		}
		p := newResumePair(t, &remembered, cache, keys)
		c := p.client.conn
		s := c.OpenStream(p.now, false)
		if s == nil {
			t.Fatal("no 0-RTT")
		}
		if _, err := c.Write(s, []byte("request")); err != nil {
			t.Fatal(err)
		}
		p.flush(p.client)
		p.handshake()
		p.rest()
		if c.UsingEarlyData() == reject || p.client.saw(EventEarlyRejected) != reject || p.server.conn.UsingEarlyData() == reject {
			t.Errorf("reject %v: client %v, server %v", reject, c.UsingEarlyData(), p.server.conn.UsingEarlyData())
		}
		var got []byte
		for _, e := range p.server.events {
			if e.Kind == EventStream {
				b := make([]byte, 100)
				n, _ := p.server.conn.Read(p.now, e.Stream, b)
				got = append(got, b[:n]...)
				if e.Stream.Early() == reject {
					t.Errorf("reject %v: Early() is %v", reject, e.Stream.Early())
				}
			}
		}
		if string(got) != "request" {
			t.Errorf("reject %v: the server read %q", reject, got)
		}
		if n := c.loss.Probes(recovery.App); n != 0 {
			t.Errorf("%d probes", n)
		}
	}
}
