package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A packet of another version is answered with the versions spoken, one
// datagram for one, whatever the lengths of its connection IDs (RFC 9000 §6.1,
// §5.2.2; RFC 8999 §6) (RFC 9000 §17.2.1, RFC 9368 §2.1).
func TestMuxVersionNegotiation(t *testing.T) {
	r := newMuxRig(t, nil)
	id := make([]byte, 255)
	r.rng.Read(id)
	for n := 0; n <= 255; n++ {
		dcid, scid := id[:n], id[255-n:]
		if n%2 == 1 {
			scid = id[:(n*7)%256]
		}
		d := r.foreign(0xfaceb00c, dcid, scid, 1200)
		r.now = r.now.Add(time.Millisecond)
		r.want("unknown version", d, Reply)
		b := r.batch.Segment(0)
		versions, inv, ok := wire.ParseVersionNegotiation(b)
		if !ok || !bytes.Equal(inv.DCID, scid) || !bytes.Equal(inv.SCID, dcid) {
			t.Fatalf("IDs of %d and %d bytes: not echoed: %x", len(dcid), len(scid), b)
		}
		ours := 0
		for ; len(versions) > 0; versions = versions[4:] {
			switch v := binary.BigEndian.Uint32(versions); {
			case wire.KnownVersion(v):
				ours++
			case v&0x0f0f0f0f != 0x0a0a0a0a:
				t.Fatalf("version %#x offered", v)
			}
		}
		if ours != 2 {
			t.Fatalf("%d versions of ours are offered", ours)
		}
		if len(b) > len(d.Data) {
			t.Fatalf("reply of %d bytes to %d", len(b), len(d.Data))
		}
	}
	if got := r.mux.Stats().VersionNegotiations; got != 256 {
		t.Errorf("%d counted, want 256", got)
	}
}

// What gets no Version Negotiation: datagrams that are too short to be a first
// Initial, Version Negotiation itself, and anything while nobody listens
// (RFC 9000 §6.1, §14.1, RFC 9000 §5.2.2).
func TestMuxNoVersionNegotiation(t *testing.T) {
	r := newMuxRig(t, nil)
	id := []byte("12345678")
	for size := 0; size < 1200; size++ {
		d := r.foreign(0xfaceb00c, id, id, 1200)
		d.Data = d.Data[:size]
		r.want("too short", d, Drop)
	}
	r.want("long enough", r.foreign(0xfaceb00c, id, id, 1200), Reply)
	r.want("Version Negotiation", r.foreign(0, id, id, 1200), Drop)
	vn := wire.AppendVersionNegotiation(nil, 0, id, id, 1, 2, 3)
	r.want("real Version Negotiation", &dgram.Datagram{Data: append(vn, make([]byte, 1200)...), Path: r.path}, Drop)
	r.mux.SetListening(false)
	r.want("not listening", r.foreign(0xfaceb00c, id, id, 1200), Drop)
}

// Two endpoints that do not know each other's versions do not begin a
// conversation about it.
func TestMuxVersionNegotiationEnds(t *testing.T) {
	a, b := newMuxRig(t, nil), newMuxRig(t, nil)
	a.want("unknown version", a.foreign(0xfaceb00c, make([]byte, 255), make([]byte, 255), 1452), Reply)
	b.want("its answer", &dgram.Datagram{Data: bytes.Clone(a.batch.Segment(0)), Path: b.path}, Drop)
}

// What is no first Initial of a client is dropped without a word (RFC 9000 §5.2.2).
func TestMuxNoInitial(t *testing.T) {
	r := newMuxRig(t, nil)
	for size := range 1200 {
		d := r.initial(nil, 1200)
		d.Data = d.Data[:size]
		r.want("truncated", d, Drop)
		if size > 60 {
			r.want("small", r.initial(nil, size), Drop)
		}
	}
	for n := 0; n < 8; n++ {
		r.dcid = wire.MakeConnectionID(make([]byte, n))
		r.want("short DCID", r.initial(nil, 1200), Drop)
	}
	for n := 8; n <= 20; n++ {
		r.dcid = wire.MakeConnectionID(make([]byte, n))
		r.want("good DCID", r.initial(nil, 1200), Initial)
	}
	for typ := byte(1); typ < 4; typ++ {
		d := r.initial(nil, 1200)
		d.Data[0] = d.Data[0]&0xcf | typ<<4
		r.want("other type", d, Drop)
	}
	d := r.initial(nil, 1200)
	d.Data[0] &^= 0x40
	r.want("fixed bit", d, Drop)
	d = r.initial(nil, 1200)
	d.Data[5] = 21
	r.want("DCID of 21 bytes", d, Drop)
	r.mux.SetListening(false)
	r.want("not listening", r.initial(nil, 1200), Drop)
	if s := r.mux.Stats(); s.Initials != 13 || r.mux.Conns() != 0 {
		t.Errorf("stats %+v, %d connections", s, r.mux.Conns())
	}
}

// The token of a connection ID is known to nobody without the secret: another ID or another secret has another
// one, with nothing in common (RFC 9000 §10.3.2).
func TestResetTokensAreSecret(t *testing.T) {
	seen := map[wire.ResetToken]bool{}
	ids := []wire.ConnectionID{wire.MakeConnectionID(make([]byte, 8)), wire.MakeConnectionID([]byte{7: 1}), wire.MakeConnectionID([]byte{0: 1, 7: 0})}
	for secret := range byte(3) {
		r := newMuxRig(t, func(mc *MuxConfig) { mc.ResetSecret = [32]byte{secret} })
		for _, id := range ids {
			token := r.mux.ResetToken(id)
			for other := range seen {
				same := 0
				for i := range token {
					if token[i] == other[i] {
						same++
					}
				}
				if same > len(token)/4 {
					t.Errorf("secret %d, ID %v: token %x is like %x", secret, id, token, other)
				}
			}
			seen[token] = true
			if token != r.mux.ResetToken(id) {
				t.Errorf("ID %v has two tokens", id)
			}
		}
	}
}

// A stateless reset is smaller than what it answers, not smaller than it can be
// told from noise, looks like a 1-RTT packet and ends with the token of the
// connection ID (RFC 9000 §10.3).
func TestS24ResetSizes(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, func(mc *MuxConfig) { mc.MaxResetsPerHost = 2000 })
	token := r.mux.ResetToken(r.dcid)
	for size := 0; size <= 1500; size++ {
		r.now = r.now.Add(time.Millisecond)
		d := r.short(r.dcid, size)
		if size < 22 {
			r.want("nothing smaller to say", d, Drop)
			continue
		}
		r.want("unknown connection", d, Reply)
		b := r.batch.Segment(0)
		if len(b) >= size || len(b) < 21 {
			t.Fatalf("reset of %d bytes to %d", len(b), size)
		}
		if size >= 43 && len(b) < 41 || len(b) < min(size-3, 43) {
			t.Fatalf("reset of %d bytes to %d: too small to look real", len(b), size)
		}
		if b[0]&0xc0 != 0x40 || !bytes.Equal(b[len(b)-16:], token[:]) {
			t.Fatalf("reset %x, want token %x", b, token)
		}
	}
	r.mux.SetDisableReset(true)
	r.want("switched off", r.short(r.dcid, 100), Drop)
}

// A reset is for short headers only: a stray Handshake packet may be of a
// connection that has not begun here (RFC 9000 §10.3).
func TestMuxNoResetForLongHeaders(t *testing.T) {
	r := newMuxRig(t, nil)
	for typ := byte(1); typ < 4; typ++ {
		d := r.initial(nil, 1200)
		d.Data[0] = d.Data[0]&0xcf | typ<<4
		r.want("long header", d, Drop)
	}
}

// Two endpoints that answer each other's stateless resets fall silent within ten datagrams, because
// each answer is smaller (RFC 9000 §10.3.3), and however many resets they may send.
func TestS24ResetPingPong(t *testing.T) {
	besiege(t, 0)
	plenty := func(mc *MuxConfig) { mc.MaxResetsPerHost = 1 << 20 }
	a, b := newMuxRig(t, plenty), newMuxRig(t, func(mc *MuxConfig) { plenty(mc); mc.ResetSecret = [32]byte{9} })
	for size := 22; size <= 1500; size++ {
		a.now, b.now = a.now.Add(time.Second), b.now.Add(time.Second) // it is not the bucket that ends it
		d := a.short(a.dcid, size)
		from, to := b, a
		for sizes := []int{size}; ; sizes = append(sizes, len(d.Data)) {
			if len(sizes) > 10 {
				t.Fatalf("still at it after datagrams of %v bytes", sizes)
			}
			from, to = to, from
			if _, v := from.route(d); v != Reply {
				break
			}
			d = &dgram.Datagram{Data: bytes.Clone(from.batch.Segment(0)), Path: to.path}
		}
	}
}

// Stateless replies come out of one bucket, which fills with time; Retry, which lets new
// clients in while that one is empty, has a budget of its own.
func TestS24ReplyRate(t *testing.T) {
	besiege(t, 0)
	burst := limits.Bound(t, "replies-burst")
	r := newMuxRig(t, func(mc *MuxConfig) {
		validating(mc)
		mc.MaxResetsPerHost = 2 * burst
	})
	stray := r.short(r.dcid, 100)
	for i := 0; i < burst; i++ {
		switch i % 2 {
		case 0:
			r.want("reset", stray, Reply)
		case 1:
			r.want("Version Negotiation", r.foreign(0xfaceb00c, []byte("1"), nil, 1200), Reply)
		}
	}
	r.want("one too many", stray, Drop)
	for range limits.Bound(t, "retries-burst") + limits.Bound(t, "retries-share") {
		r.want("Retry", r.initial(nil, 1200), Reply)
	}
	r.want("one too many", r.initial(nil, 1200), Drop)
	r.want("one too many", r.foreign(0xfaceb00c, []byte("1"), nil, 1200), Drop)
	r.batch.Reset()
	if r.mux.Refuse(r.now, r.initial(nil, 1200), wire.ConnectionRefused, r.batch) || !r.batch.Empty() {
		t.Error("a refusal past the limit")
	}
	if got := r.mux.Stats().RepliesSuppressed; got != 4 {
		t.Errorf("%d suppressed, want 4", got)
	}
	r.now = r.now.Add(100 * time.Microsecond)
	r.want("a tenth of a millisecond later", stray, Reply)
	r.want("and no more", stray, Drop)
	r.now = r.now.Add(time.Hour)
	n := 0
	for ; n < 2*burst; n++ {
		if _, v := r.route(stray); v != Reply {
			break
		}
	}
	if n != burst {
		t.Errorf("%d replies at once after an hour, want %d", n, burst)
	}
}

// A refusal is a CONNECTION_CLOSE under Initial keys, and leaves nothing behind.
// RFC 9000 §5.2.2.
func TestMuxRefuse(t *testing.T) {
	r := newMuxRig(t, nil)
	for _, n := range []int{0, 1, 20} {
		r.scid = wire.MakeConnectionID(make([]byte, n))
		d := r.initial(nil, 1200)
		r.want("first Initial", d, Initial)
		r.batch.Reset()
		if !r.mux.Refuse(r.now, d, wire.ConnectionRefused, r.batch) {
			t.Fatal("no refusal")
		}
		r.wantClose("refusal", d, wire.ConnectionRefused)
	}
	if r.mux.Conns() != 0 || r.mux.Handshakes() != 0 || r.mux.Stats().Refused != 3 {
		t.Errorf("%d connections, %d handshakes, stats %+v", r.mux.Conns(), r.mux.Handshakes(), r.mux.Stats())
	}
	r.batch.Reset()
	if r.mux.Refuse(r.now, r.short(r.dcid, 1200), wire.ConnectionRefused, r.batch) {
		t.Error("refused what is no Initial")
	}
}

// A client believes a refusal.
func TestMuxRefusalReachesClient(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	p := tc.wantPacket("the first flight", wire.Initial)
	tc.clear()
	r := newMuxRig(t, nil)
	d := &dgram.Datagram{Data: p.datagram.data, Path: r.path}
	r.want("first Initial", d, Initial)
	r.batch.Reset()
	r.mux.Refuse(r.now, d, wire.ConnectionRefused, r.batch)
	tc.inject(r.batch.Segment(0))
	tc.wantClosed("refused", ClosePeer)
	if tc.closed.Code != uint64(wire.ConnectionRefused) || tc.closed.App {
		t.Errorf("closed %+v", tc.closed)
	}
	tc.wantIdle("draining")
}

// Past RetryAbove handshakes in flight clients must show their address, past
// RefuseAbove nothing is answered at all; handshakes that end make room.
func TestS15HandshakesBounded(t *testing.T) {
	besiege(t, 0)
	retry, refuse := limits.Bound(t, "retry-above"), limits.Bound(t, "refuse-above")
	r := newMuxRig(t, nil)
	for handshakes, want := range map[int]Verdict{retry - 1: Initial, retry: Reply, refuse - 1: Reply, refuse: Drop} {
		r.mux.handshakes = handshakes // as if so many were in flight
		r.want(fmt.Sprint(handshakes, " in flight"), r.initial(nil, 1200), want)
	}
	r = newMuxRig(t, func(mc *MuxConfig) { mc.RetryAbove, mc.RefuseAbove = 3, 5 })
	var conns []*Conn
	begin := func(token []byte) {
		t.Helper()
		d := r.initial(token, 1200)
		r.want("Initial", d, Initial)
		conns = append(conns, r.mux.Accept(r.now, d, r.cfg))
	}
	for i := byte(0); i < 3; i++ {
		r.dcid = wire.MakeConnectionID([]byte{i, 0, 0, 0, 0, 0, 0, 0})
		begin(nil)
	}
	for i := byte(3); i < 5; i++ {
		r.dcid = wire.MakeConnectionID([]byte{i, 0, 0, 0, 0, 0, 0, 0})
		token, chosen := r.retried()
		r.dcid = chosen
		begin(token)
	}
	r.dcid = wire.MakeConnectionID([]byte("too many"))
	r.want("full", r.initial(nil, 1200), Drop)
	r.want("full, for those with tokens too", r.initial(r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr()), 1200), Drop)
	if s := r.mux.Stats(); s.Overloaded != 2 || s.Retries != 2 || r.mux.Handshakes() != 5 {
		t.Errorf("stats %+v, %d handshakes", s, r.mux.Handshakes())
	}
	r.mux.Apply(conns[0], &Event{Kind: EventSecure})
	r.mux.Apply(conns[0], &Event{Kind: EventClosed}) // counts once
	if r.mux.Handshakes() != 4 {
		t.Errorf("%d handshakes, want 4", r.mux.Handshakes())
	}
	r.want("room, with a Retry", r.initial(nil, 1200), Reply)
	r.mux.Remove(conns[1])
	r.mux.Remove(conns[1])
	r.mux.Apply(conns[2], &Event{Kind: EventGone})
	r.want("room", r.initial(nil, 1200), Initial)
	for _, c := range conns {
		r.mux.Remove(c)
	}
	r.wantEmpty()
}

// Who floods from one network has its Retry packets and no more: clients from elsewhere have theirs, all but the few that share
// with it, and those have theirs when they ask again. A flood from everywhere has no more than all shares.
func TestS15RetryShares(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, validating)
	ask := func(a, b, c, d byte) Verdict {
		r.path.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, c, d}), r.path.Remote.Port())
		_, v := r.route(r.initial(nil, 1200))
		return v
	}
	burst, share := limits.Bound(t, "retries-burst"), limits.Bound(t, "retries-share")
	got := 0
	for i := range 2 * burst {
		if ask(10, 1, 1, byte(i)) == Reply {
			got++
		}
	}
	if want := burst + share; got != want {
		t.Errorf("a network has %d of %d, want %d", got, 2*burst, want)
	}
	late := func() (list []byte) {
		for i := range byte(200) {
			if ask(10, 2, i, 1) != Reply {
				list = append(list, i)
			}
		}
		return list
	}
	first := late()
	if len(first) > 20 {
		t.Errorf("%d of 200 other networks have nothing", len(first))
	}
	r.now = r.now.Add(time.Second)
	for range 2 * burst {
		ask(10, 1, 1, 1) // what the second has brought is gone at once
	}
	for _, i := range late() {
		if bytes.IndexByte(first, i) >= 0 {
			t.Errorf("10.2.%d.0/24 has nothing for the second time", i)
		}
	}
	r.now = r.now.Add(time.Hour)
	got = 0
	for i := range 20_000 {
		if ask(11, byte(i>>8), byte(i), 1) == Reply {
			got++
		}
	}
	if want := burst + share*retryShares/2; got > want || got < want*9/10 {
		t.Errorf("20,000 networks have %d at once, want %d: IPv6 has the other half", got, want)
	}
	// All of an IPv6 network that one sender has is one, and IPv4 does not notice.
	r.now = r.now.Add(time.Hour)
	ask6 := func(a uint32, b uint16) Verdict {
		ip := [16]byte{0x20, 1}
		binary.BigEndian.PutUint32(ip[:], a)
		binary.BigEndian.PutUint16(ip[4:], b)
		r.path.Remote = netip.AddrPortFrom(netip.AddrFrom16(ip), r.path.Remote.Port())
		_, v := r.route(r.initial(nil, 1200))
		return v
	}
	got = 0
	for i := range 20_000 {
		if ask6(0x20010db8, uint16(i)) == Reply {
			got++
		}
	}
	if want := burst + share; got != want {
		t.Errorf("an IPv6 network has %d at once, want %d", got, want)
	}
	for i := range byte(100) {
		if ask(12, 0, i, 1) != Reply && ask(13, 0, i, 1) != Reply {
			t.Errorf("12.0.%d.0/24 has nothing", i)
		}
	}
	if ask6(0x20010db9, 0) != Reply && ask6(0x20010dba, 0) != Reply {
		t.Error("another IPv6 network has nothing")
	}
	if n := r.mux.Stats().RepliesSuppressed; n == 0 {
		t.Error("none is counted as suppressed")
	}
}

// rest lets everything happen that is under way, but no long timer.
func (p *pair) rest() {
	for len(p.flight) > 0 || min(p.client.conn.Deadline(), p.server.conn.Deadline()) < p.now.Add(time.Second) {
		p.step()
	}
}

func (r *muxRig) wantEmpty() {
	r.t.Helper()
	if m := r.mux; len(m.conns)+len(m.resets.conns)+len(m.owned)+m.handshakes != 0 {
		r.t.Errorf("left over: %d IDs, %d tokens, %d connections, %d handshakes", len(m.conns), len(m.resets.conns), len(m.owned), m.handshakes)
	}
}

// Nothing stays in the tables of either end after EventGone, however the
// connection ended.
func TestMuxEmptyAfterGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(p *pair)
	}{
		{"closed", func(p *pair) { p.client.conn.Close(p.now, true, 1, "") }},
		{"closed by the server", func(p *pair) { p.server.conn.Close(p.now, false, 1, "") }},
		{"destroyed", func(p *pair) { p.client.conn.Destroy(p.now); p.server.conn.Destroy(p.now) }},
		{"idle", func(p *pair) { p.drop = func(*node, []byte) bool { return true } }},
		{"in the handshake", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, nil)
			if tt.end != nil {
				p.handshake()
				p.rest()
				tt.end(p)
			} else {
				p.runUntil(time.Minute, func() bool { return p.server.conn != nil })
				p.drop = func(*node, []byte) bool { return true }
			}
			p.flush(p.client)
			p.flush(p.server)
			p.runUntil(10*time.Minute, func() bool { return p.client.saw(EventGone) && p.server.saw(EventGone) })
			for _, n := range []*node{p.client, p.server} {
				if m := n.mux; len(m.conns)+len(m.resets.conns)+len(m.owned)+m.handshakes != 0 {
					t.Errorf("%s: left over: %d IDs, %d tokens, %d connections, %d handshakes", n.name, len(m.conns), len(m.resets.conns), len(m.owned), m.handshakes)
				}
				if n.pool.Outstanding() != 0 {
					t.Errorf("%s: %d chunks left", n.name, n.pool.Outstanding())
				}
			}
		})
	}
}

// Datagrams find their connection by every ID that was issued, and by the
// client's first choice until the handshake is confirmed (RFC 9000 §5.1.1, §11).
// RFC 9000 §10.3.2.
func TestMuxRoutesEveryID(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	p.rest()
	for _, n := range []*node{p.client, p.server} {
		if len(n.conn.ids.local) != maxLocalIDs || len(n.mux.conns) != maxLocalIDs {
			t.Errorf("%s: %d IDs, %d routes, want %d", n.name, len(n.conn.ids.local), len(n.mux.conns), maxLocalIDs)
		}
		for _, l := range n.conn.ids.local {
			d := &dgram.Datagram{Data: append(append([]byte{0x40}, l.id.Bytes()...), make([]byte, 30)...), Path: n.conn.Path()}
			if c, v := n.mux.Route(p.now, d, n.batch); c != n.conn || v != Deliver {
				t.Errorf("%s: ID %v: verdict %v", n.name, l.id, v)
			}
		}
		if n.mux.conns[p.client.conn.OriginalDCID()] != nil {
			t.Errorf("%s: the first DCID is still routed", n.name)
		}
	}
}

// The rest of a first flight that comes in the same batch of datagrams finds
// the connection before its events are drained.
func TestMuxSecondInitial(t *testing.T) {
	r := newMuxRig(t, nil)
	d := r.initial(nil, 1200)
	r.want("first", d, Initial)
	c := r.mux.Accept(r.now, d, r.cfg)
	if got := r.want("second", r.initial(nil, 1200), Deliver); got != c {
		t.Errorf("delivered to %p, want %p", got, c)
	}
	zero := r.initial(nil, 1200)
	zero.Data[0] = 0xd0
	if got := r.want("0-RTT", zero, Deliver); got != c {
		t.Errorf("delivered to %p, want %p", got, c)
	}
}

// A stateless reset of a connection that the peer has lost ends it (RFC 9000 §10.3.1).
func TestMuxResetEndsConnection(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	p.rest()
	// The server restarts with the same secret.
	old := p.server.conn
	p.server.mux.Remove(old)
	p.server.conn = nil
	p.client.conn.Ping()
	p.flush(p.client)
	p.runUntil(time.Second, func() bool { return p.client.closed() != nil })
	if r := p.client.closed(); r == nil || r.Kind != CloseReset {
		t.Fatalf("closed %+v", r)
	}
	p.runUntil(time.Minute, func() bool { return p.client.saw(EventGone) })
	if !p.client.saw(EventGone) || p.client.mux.Conns() != 0 {
		t.Error("the client is not done")
	}
}

// Only the tokens of IDs in use count, and only at the end of a datagram that
// nothing else opens.
// RFC 9000 §10.3.1.
func TestS24ResetTokensInUse(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide)
	spare := wire.ResetToken{9}
	tc.write(wire.OneRTT, wire.NewConnectionID{Seq: 1, ID: wire.MakeConnectionID([]byte("peer-001")), Token: spare})
	reset := func(token wire.ResetToken, n int) []byte {
		b := make([]byte, n)
		b[0] = 0x40
		copy(b[n-16:], token[:])
		return b
	}
	tc.inject(reset(spare, 43))
	tc.wantOpen("the token of an ID that is not in use")
	tc.inject(reset(testToken, 20))
	tc.wantOpen("too short")
	wrong := testToken
	wrong[15] ^= 1
	tc.inject(reset(wrong, 43))
	tc.wantOpen("a wrong token")
	tc.inject(append(reset(testToken, 43), 0))
	tc.wantOpen("not at the end")
	tc.clear()
	tc.inject(reset(testToken, 21))
	tc.wantClosed("the token of the ID in use", CloseReset)
	tc.wantIdle("no answer to a reset")
}

// The token of one connection, at the end of a datagram for another of the same endpoint, ends neither
// (RFC 9000 §10.3.1), whichever of its IDs that is for; for an ID that nobody has, it ends the one whose token it is.
func TestS24ResetTokenOfAnother(t *testing.T) {
	besiege(t, 0)
	a := newPair(t, nil)
	b := newPair(t, func(_ *node, _ *Config, m *MuxConfig) { m.ResetSecret[0]++ }) // another server
	b.client.mux = a.client.mux
	b.client.cfg.Rand = a.client.cfg.Rand // no two of their IDs are the same
	b.client.conn = b.client.mux.Connect(b.now, dgram.Path{Local: b.client.addr, Remote: b.server.addr}, b.client.cfg)
	b.client.tls.Close()
	b.client.tls = tls.QUICClient(&tls.QUICConfig{TLSConfig: b.client.tlsConf})
	b.flight = nil
	b.client.startTLS(b.now)
	b.flush(b.client)
	for _, p := range []*pair{a, b} {
		p.handshake()
		p.rest()
	}
	reset := func(id wire.ConnectionID) flight {
		r := a.client.conn.ids.remote[0]
		if !r.hasToken || !r.used {
			t.Fatal("A knows no token")
		}
		data := slices.Concat([]byte{0x40}, id.Bytes(), make([]byte, 30), r.token[:])
		return flight{b.now, b.client, data, dgram.Path{Local: b.client.addr, Remote: b.server.addr}, 0}
	}
	for _, l := range b.client.conn.ids.local {
		b.deliver(reset(l.id))
	}
	if a.client.conn.life.state != active || b.client.conn.life.state != active {
		t.Fatalf("A's token with B's IDs: A is in state %d, B in %d", a.client.conn.life.state, b.client.conn.life.state)
	}
	b.transfer(1000)
	a.transfer(1000)
	b.deliver(reset(wire.MakeConnectionID([]byte("nobody's"))))
	a.flush(a.client)
	if r := a.client.closed(); r == nil || r.Kind != CloseReset || b.client.conn.life.state != active {
		t.Errorf("A's token with nobody's ID: A is %+v, B in state %d", r, b.client.conn.life.state)
	}
}

// The Retry of a server is smaller than three times the Initial, and the tag is
// over the client's own DCID (RFC 9001 §5.8); wrong ones are tested at the client (RFC 9000 §17.2.5.1).
func TestMuxRetry(t *testing.T) {
	for n := 8; n <= 20; n++ {
		r := newMuxRig(t, validating)
		r.dcid = wire.MakeConnectionID(bytes.Repeat([]byte{7}, n))
		token, chosen := r.retried()
		if len(token) > 128 || chosen.Len() != connIDLen || chosen == r.dcid || r.batch.SegmentSize() > 3*1200 {
			t.Errorf("token of %d bytes, ID of %d, Retry of %d", len(token), chosen.Len(), r.batch.SegmentSize())
		}
	}
}
