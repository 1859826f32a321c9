package interop

import (
	"context"
	"crypto/tls"
	"fmt"
)

// handshake shakes hands, looks at what both ends say of it, and exchanges a word.
func handshake(d *duel) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	err = bothKnow(near, far, "TLS 1.3 with the ALPN that both offer", func(c conn) bool {
		s := c.tls()
		return s.HandshakeComplete && s.Version == tls.VersionTLS13 && s.NegotiatedProtocol == alpn && !s.DidResume
	})
	if err != nil {
		return err
	}
	if near.tls().CurveID != far.tls().CurveID || near.tls().CipherSuite != far.tls().CipherSuite {
		return fmt.Errorf("group and suite: %v and %#x at the client, %v and %#x at the server",
			near.tls().CurveID, near.tls().CipherSuite, far.tls().CurveID, far.tls().CipherSuite)
	}
	if n := len(near.tls().VerifiedChains); n != 1 {
		return fmt.Errorf("%d verified chains at the client", n)
	}
	_, err = d.line(near, far)
	return err
}

func closeByClient(d *duel) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	return closing(d, near, far)
}

func closeByServer(d *duel) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	return closing(d, far, near)
}

// closing closes at one end and wants code and reason at both.
func closing(d *duel, here, there conn) error {
	const code, reason = 0x1234_5678, "that is all"
	here.close(code, reason)
	if err := wantFailure(here.ended(d.ctx), byApplication, code, false); err != nil {
		return fmt.Errorf("at the end that closed: %w", err)
	}
	err := there.ended(d.ctx)
	if err := wantFailure(err, byApplication, code, true); err != nil {
		return fmt.Errorf("at the other end: %w", err)
	}
	if f := err.(*failure); f.reason != reason {
		return fmt.Errorf("the reason came as %q", f.reason)
	}
	return nil
}

// versionNegotiation offers Cinnabar a version of QUIC that it does not speak: as a
// server it says so, and quic-go goes on with version 1; as a client it gives up.
func versionNegotiation(d *duel) error {
	if d.client == d.server {
		return errNoWay // there is no version that one of two alike does not speak
	}
	o := options{version2: true}
	s, err := d.listen(o)
	if err != nil {
		return err
	}
	c, err := d.dialer(o)
	if err != nil {
		return err
	}
	tap, err := d.tap(s.addr())
	if err != nil {
		return err
	}
	if d.client == (cinnabar{}) {
		_, err := c.dial(d.ctx, tap.addr(), false)
		return wantFailure(err, byVersion, 0, true)
	}
	near, far, err := d.meet(c, s, tap.addr())
	if err != nil {
		return err
	}
	if seen := tap.look(); seen.versionNegotiation == 0 {
		return fmt.Errorf("no Version Negotiation packet: %+v", seen)
	}
	_, err = d.line(near, far)
	return err
}

// retry makes the client prove its address: one Retry packet, whose token the client
// repeats (RFC 9000 §8.1.2).
func retry(d *duel) error {
	s, err := d.listen(options{retry: true})
	if err != nil {
		return err
	}
	c, err := d.dialer(options{})
	if err != nil {
		return err
	}
	tap, err := d.tap(s.addr())
	if err != nil {
		return err
	}
	near, far, err := d.meet(c, s, tap.addr())
	if err != nil {
		return err
	}
	if seen := tap.look(); seen.retry == 0 || seen.tokens == 0 {
		return fmt.Errorf("no Retry, or no token in answer to it: %+v", seen)
	}
	_, err = d.line(near, far)
	return err
}

// newToken connects twice to a server that demands proof: the second time the client
// has it from a NEW_TOKEN frame (RFC 9000 §8.1.3).
func newToken(d *duel) error {
	s, err := d.listen(options{retry: true})
	if err != nil {
		return err
	}
	c, err := d.dialer(options{})
	if err != nil {
		return err
	}
	tap, err := d.tap(s.addr())
	if err != nil {
		return err
	}
	var before seen
	for range 2 {
		before = tap.look()
		near, far, err := d.meet(c, s, tap.addr())
		if err != nil {
			return err
		}
		// The frame comes with the first packets after the handshake, and so not
		// after an answer that was asked for later.
		if _, err := d.line(near, far); err != nil {
			return err
		}
		near.close(0, "")
		far.ended(d.ctx)
	}
	// The first connection may have had several: a ClientHello can take two datagrams.
	if after := tap.look(); before.retry == 0 || after.retry != before.retry {
		return fmt.Errorf("after one connection %+v, after the second %+v", before, after)
	}
	return nil
}

// resumption connects twice, the second time with the ticket of the first.
func resumption(d *duel) error {
	s, err := d.listen(options{})
	if err != nil {
		return err
	}
	cache := newTickets()
	c, err := d.dialer(options{tls: d.resuming(cache)})
	if err != nil {
		return err
	}
	for i := range 2 {
		near, far, err := d.meet(c, s, s.addr())
		if err != nil {
			return err
		}
		err = bothKnow(near, far, fmt.Sprintf("connection %d resumed: %t", i+1, i > 0), func(c conn) bool {
			return c.tls().DidResume == (i > 0) && !c.usedEarly()
		})
		if err != nil {
			return err
		}
		if _, err := d.line(near, far); err != nil {
			return err
		}
		if err := cache.wait(d.ctx); err != nil {
			return fmt.Errorf("waiting for a ticket: %w", err)
		}
		near.close(0, "")
		far.ended(d.ctx)
	}
	return nil
}

// resuming returns a client's configuration that keeps tickets.
func (d *duel) resuming(cache tls.ClientSessionCache) *tls.Config {
	c := d.id.client()
	c.ClientSessionCache = cache
	return c
}

// earn connects for nothing but a ticket.
func (d *duel) earn(ctx context.Context, c client, s server, at *tap, cache *tickets) error {
	near, far, err := d.meet(c, s, at.addr())
	if err != nil {
		return err
	}
	if err := cache.wait(ctx); err != nil {
		return fmt.Errorf("waiting for a ticket: %w", err)
	}
	near.close(0, "")
	far.ended(ctx)
	return nil
}
