package transport

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func validating(mc *MuxConfig) { mc.ValidateAddress = true }

// A Retry token serves the client that it was made for, and the connection is
// told all that it has to put into its transport parameters (RFC 9000 §7.3, §8.1.2).
func TestTokenRetryServes(t *testing.T) {
	r := newMuxRig(t, validating)
	token, chosen := r.retried()
	original := r.dcid
	r.dcid = chosen
	d := r.initial(token, 1200)
	r.want("Initial with the token", d, Initial)
	c := r.mux.Accept(r.now, d, r.cfg)
	if !c.paths.active().validated {
		t.Error("address counts as not validated")
	}
	if p := c.params; !p.HasRetrySCID || p.RetrySCID != chosen || p.OriginalDCID != original {
		t.Errorf("retry_source_connection_id %v, original %v", p.RetrySCID, p.OriginalDCID)
	}
}

// A Retry token that authenticates but does not fit is answered with
// INVALID_TOKEN (RFC 9000 §8.1.2): it would be of no use to go on.
func TestS21TokenRetryMisused(t *testing.T) {
	besiege(t, 0)
	for _, tt := range []struct {
		name   string
		misuse func(r *muxRig)
	}{
		{"other address", func(r *muxRig) { r.path.Remote = netip.MustParseAddrPort("192.0.2.2:5000") }},
		{"other port", func(r *muxRig) { r.path.Remote = netip.MustParseAddrPort("192.0.2.1:5001") }},
		{"other family", func(r *muxRig) { r.path.Remote = netip.MustParseAddrPort("[2001:db8::1]:5000") }},
		{"expired", func(r *muxRig) { r.now = r.now.Add(10*time.Second + 1) }},
		{"other DCID", func(r *muxRig) { r.dcid = wire.MakeConnectionID([]byte("anything")) }},
		{"original DCID", func(r *muxRig) { r.dcid = wire.MakeConnectionID([]byte("original")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newMuxRig(t, validating)
			token, chosen := r.retried()
			r.dcid = chosen
			r.want("before", r.initial(token, 1200), Initial)
			tt.misuse(r)
			d := r.initial(token, 1200)
			r.want("misused", d, Reply)
			r.wantClose("misused", d, wire.InvalidToken)
			if got := r.mux.Stats().InvalidTokens; got != 1 {
				t.Errorf("%d invalid tokens counted, want 1", got)
			}
		})
	}
}

// Just within its lifetime a Retry token serves.
func TestS21TokenRetryLifetime(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, func(mc *MuxConfig) { mc.ValidateAddress, mc.RetryTokenTimeout = true, 3*time.Second })
	token, chosen := r.retried()
	r.dcid = chosen
	r.now = r.now.Add(3 * time.Second)
	r.want("at the end", r.initial(token, 1200), Initial)
	r.now++
	r.want("after it", r.initial(token, 1200), Reply)
}

// A client on a link-local address comes back with the address that it left
// with, zone and all.
func TestTokenLinkLocal(t *testing.T) {
	r := newMuxRig(t, validating)
	r.path.Remote = netip.MustParseAddrPort("[fe80::1%eth0]:5000")
	token, chosen := r.retried()
	r.dcid = chosen
	r.want("Retry token", r.initial(token, 1200), Initial)
	r.dcid = wire.MakeConnectionID([]byte("original"))
	r.want("NEW_TOKEN token", r.initial(r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr()), 1200), Initial)
}

// Whatever is done to a token, it is never taken for a good one, and nothing
// panics: a token that does not authenticate may be of another server, and
// counts as none (RFC 9000 §8.1.3, RFC 9000 §8.1.4).
func TestS21TokenMangled(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, nil)
	retry := r.mux.Tokens().retry(r.now, wire.Version1, r.path.Remote, r.dcid, wire.MakeConnectionID([]byte("chosenID")))
	fresh := r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr())
	check := func(token []byte, what string, n int) {
		t.Helper()
		if tok, ok := r.mux.Tokens().open(r.now, token); ok {
			t.Errorf("%s %d: opens as %+v", what, n, tok)
		}
		d := r.initial(token, 1200)
		r.want(what, d, Initial)
		if c := r.mux.Accept(r.now, d, r.cfg); c.paths.active().validated {
			t.Errorf("%s %d: address counts as validated", what, n)
		} else {
			r.mux.Remove(c)
		}
	}
	for _, token := range [][]byte{retry, fresh} {
		for i := range token {
			check(token[:i], "truncated to", i)
			for bit := 0; bit < 8; bit++ {
				b := bytes.Clone(token)
				b[i] ^= 1 << bit
				check(b, "bit flipped at", i)
			}
		}
		for n := 1; n < 300; n += 37 {
			check(append(bytes.Clone(token), make([]byte, n)...), "extended by", n)
		}
	}
	for n := 0; n < 300; n++ {
		b := make([]byte, n)
		r.rng.Read(b)
		check(b, "random of", n)
	}
}

// A server that validates addresses answers a token that it cannot read with
// another Retry, not with an error.
func TestS21TokenUnreadable(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, validating)
	r.want("foreign token", r.initial([]byte("a token of some other server, long enough to look real"), 1200), Reply)
	if h, ok := wire.ParseLong(r.batch.Segment(0)); !ok || h.Type != wire.Retry {
		t.Errorf("reply is %v, want Retry", h.Type)
	}
	if s := r.mux.Stats(); s.Retries != 1 || s.InvalidTokens != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Tokens of another secret are foreign; those of a server that shares the
// secret serve, even if its clock counts from another time.
func TestTokenSecrets(t *testing.T) {
	fill := func(b []byte) { clear(b) }
	addr := netip.MustParseAddrPort("192.0.2.1:5000")
	const epoch = int64(1_700_000_000_000_000_000)
	mine := NewTokens([32]byte{1}, epoch, fill)
	b := mine.New(1000, wire.Version1, addr.Addr())
	if _, ok := NewTokens([32]byte{2}, epoch, fill).open(1000, b); ok {
		t.Error("opens under another secret")
	}
	restarted := NewTokens([32]byte{1}, epoch+int64(time.Hour), fill)
	tok, ok := restarted.open(0, b)
	if !ok || tok.kind != tokenNew || tok.age != time.Hour-1000 || tok.addr != addr.Addr() {
		t.Errorf("after a restart: %+v, %v", tok, ok)
	}
}

// A NEW_TOKEN token validates the address at once, from any port, but only once
// and only for a day (RFC 9000 §8.1.3, §8.1.4).
func TestTokenNew(t *testing.T) {
	r := newMuxRig(t, validating)
	token := r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr())
	r.path.Remote = netip.AddrPortFrom(r.path.Remote.Addr(), 7777)
	d := r.initial(token, 1200)
	r.want("first use", d, Initial)
	c := r.mux.Accept(r.now, d, r.cfg)
	if p := c.params; !c.paths.active().validated || p.HasRetrySCID || p.OriginalDCID != r.dcid {
		t.Errorf("validated %v, parameters %+v", c.paths.active().validated, p)
	}
	r.dcid = wire.MakeConnectionID([]byte("another one"))
	r.want("second use", r.initial(token, 1200), Reply)
	if h, _ := wire.ParseLong(r.batch.Segment(0)); h.Type != wire.Retry {
		t.Errorf("second use is answered by %v, want Retry", h.Type)
	}
	r.now = r.now.Add(tokenLifetime + time.Second) // the register of used tokens turns over
	r.want("second use, a day later", r.initial(token, 1200), Reply)
	r.now = r.now.Add(tokenLifetime + time.Second)
	r.want("second use, two days later", r.initial(token, 1200), Reply)
}

// A NEW_TOKEN token from another address or another time validates nothing (RFC 9000 §8.1.4).
// RFC 9000 §8.1.3.
func TestS21TokenNewMisused(t *testing.T) {
	besiege(t, 0)
	for _, tt := range []struct {
		name   string
		misuse func(r *muxRig)
	}{
		{"other address", func(r *muxRig) { r.path.Remote = netip.MustParseAddrPort("192.0.2.2:5000") }},
		{"expired", func(r *muxRig) { r.now = r.now.Add(tokenLifetime + 1) }},
		{"from the future", func(r *muxRig) { r.mux.tokens.epoch -= int64(2 * time.Minute) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newMuxRig(t, nil)
			token := r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr())
			tt.misuse(r)
			d := r.initial(token, 1200)
			r.want("counts as none", d, Initial)
			if c := r.mux.Accept(r.now, d, r.cfg); c.paths.active().validated {
				t.Error("address counts as validated")
			}
		})
	}
}

// The two kinds are not confused: a NEW_TOKEN token in place of a Retry's never
// claims a Retry, and a Retry token kept for a later connection is refused (RFC 9000 §8.1.1).
func TestS21TokenKinds(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, validating)
	token, _ := r.retried()
	r.dcid = wire.MakeConnectionID([]byte("later connection"))
	d := r.initial(token, 1200)
	r.want("a Retry token, later", d, Reply)
	r.wantClose("a Retry token, later", d, wire.InvalidToken)

	d = r.initial(r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr()), 1200)
	r.want("a NEW_TOKEN token", d, Initial)
	if c := r.mux.Accept(r.now, d, r.cfg); c.params.HasRetrySCID {
		t.Error("the connection claims a Retry")
	}
}

// The register of used tokens is bounded. Past the bound tokens count as used: who has one gets a Retry where
// addresses are validated, as without one, and it is counted. A day later there is room again.
func TestS21TokenRegisterBounded(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "used-tokens")
	r := newMuxRig(t, validating)
	use := func(i int) Verdict {
		r.dcid = wire.MakeConnectionID(binary.BigEndian.AppendUint64(nil, uint64(i)))
		d := r.initial(r.mux.Tokens().New(r.now, wire.Version1, r.path.Remote.Addr()), wire.MinInitialSize)
		_, v := r.route(d)
		if v == Initial {
			c := r.mux.Accept(r.now, d, r.cfg)
			if !c.paths.active().validated {
				t.Fatalf("token %d validates no address", i)
			}
			r.mux.Remove(c)
		}
		return v
	}
	for i := range most {
		if v := use(i); v != Initial {
			t.Fatalf("token %d of %d: verdict %v", i, most, v)
		}
	}
	for i := range 3 {
		if v, n := use(most+i), r.mux.Stats().InvalidTokens; v != Reply || n != uint64(i+1) {
			t.Fatalf("past the bound: verdict %v, %d invalid tokens counted, want a Retry and %d", v, n, i+1)
		}
		if h, ok := wire.ParseLong(r.batch.Segment(0)); !ok || h.Type != wire.Retry {
			t.Fatalf("past the bound: %+v", h)
		}
	}
	if n := len(r.mux.used.young) + len(r.mux.used.old); n != most {
		t.Errorf("%d tokens remembered, want %d", n, most)
	}
	r.now = r.now.Add(tokenLifetime + 1)
	if v := use(most + 3); v != Initial {
		t.Errorf("a day later there is still no room: %v", v)
	}
	for i := 1; i < most; i++ {
		use(most + 3 + i)
	}
	if v, n := use(2*most+3), len(r.mux.used.young)+len(r.mux.used.old); v != Reply || n != 2*most {
		t.Errorf("the day after: verdict %v, %d tokens remembered, want a Retry and %d", v, n, 2*most)
	}
}
