package h3

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// dynamicTable repeats a request with fields of its own until both ends have referred
// to their dynamic tables.
func dynamicTable(d *duel) error {
	if d.client.traits().staticTable || d.server.traits().staticTable {
		return errNoWay
	}
	o, c, err := d.start()
	if err != nil {
		return err
	}
	a := get("/headers")
	a.header = http.Header{"X-Session": {"0123456789abcdef0123456789abcdef"}, "User-Agent": {"a client of this suite, once more"}}
	if !o.dynamic {
		a = get("/small.txt")
	}
	p := plan{asks: []ask{a, a, a, a, a, a, a, a}, settled: true}
	if o.facts {
		p.asks = append(p.asks, get("/facts"))
	}
	r, err := c.run(d.ctx, o.addr, p)
	if errors.Is(err, errNoWay) { // the client chooses its fields
		p = plan{asks: gets("/n/001", "/n/002", "/n/003", "/n/004", "/n/005", "/n/006", "/n/007", "/n/008"), settled: true}
		r, err = c.run(d.ctx, o.addr, p)
	}
	if err != nil {
		return err
	}
	for i, a := range r.answers {
		if a.status != http.StatusOK {
			return fmt.Errorf("request %d: status %d", i, a.status)
		}
	}
	use, err := tableUse(o, r)
	if err == nil && (use.own == 0 || use.peer == 0) {
		err = fmt.Errorf("use of the dynamic tables: %+v, want some of both", use)
	}
	return err
}

// tableUse asks the end that can tell.
func tableUse(o *origin, r report) (dynamic, error) {
	switch {
	case r.compressing != nil:
		return *r.compressing, nil
	case o.facts:
		var f aioquicFacts
		text := r.answers[len(r.answers)-1].text
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return dynamic{}, fmt.Errorf("facts %.100q: %w", text, err)
		}
		return f.dynamic(), nil
	case o.compressing != nil:
		return o.compressing()
	}
	return dynamic{}, errNoWay
}

// zeroRTT gets a ticket on a first connection and sends the request of the second
// before anything has come from the server.
func zeroRTT(d *duel) error {
	for try := 1; ; try++ {
		o, c, err := d.start()
		if err != nil {
			return err
		}
		// A server need not take early data (RFC 8446 §8.2): GnuTLS does not, a few times in a
		// hundred, by what it thinks of the age that crypto/tls gives in whole seconds. Ours has no excuse.
		err = early(d, o, c)
		if err != errNotTaken || o.site != nil || try == 3 {
			return err
		}
	}
}

var errNotTaken = errors.New("the client says that the server has not taken early data")

func early(d *duel, o *origin, c client) error {
	to, p := o.addr, plan{early: true}
	if o.site == nil && !d.client.traits().inside {
		// Two programs: what the client sends first leaves before anything comes.
		if err := d.earn(c, to); err != nil {
			return err
		}
	} else {
		g, err := d.gate(o.addr)
		if err != nil {
			return err
		}
		to = g.addr()
		if err := d.earn(c, to); err != nil {
			return err
		}
		g.hold()
		if o.site == nil {
			p.sent = g.release
		} else {
			go func() {
				select {
				case <-o.site.asked:
				case <-d.ctx.Done():
				}
				g.release()
			}()
		}
	}
	path := "/early"
	if !o.saysEarly {
		path = "/small.txt"
	}
	p.asks = gets(path)
	r, err := c.run(d.ctx, to, p)
	if err != nil {
		return fmt.Errorf("the second connection: %w", err)
	}
	switch {
	case !r.resumed:
		return errors.New("the client says that the connection has not resumed another")
	case r.early != nil && !*r.early:
		return errNotTaken
	}
	if o.saysEarly {
		return r.answers[0].wantText("early")
	}
	if err := r.answers[0].want(http.StatusOK, d.root.small[path]); err != nil {
		return err
	}
	if o.early == nil {
		if r.early == nil {
			return errNoWay // to know
		}
		return nil
	}
	early, err := o.early()
	if err == nil && !early {
		err = errors.New("the server says that the request came after the handshake")
	}
	return err
}

// earn connects for nothing but a ticket.
func (d *duel) earn(c client, to netip.AddrPort) error {
	r, err := c.run(d.ctx, to, plan{asks: gets("/small.txt"), ticket: true})
	if err != nil {
		return fmt.Errorf("the first connection: %w", err)
	}
	if r.resumed || r.early != nil && *r.early {
		return errors.New("the first connection has resumed another")
	}
	return nil
}

// pushing has two files pushed. After a first request the server knows that the client
// takes pushes.
func pushing(d *duel) error {
	o, c, err := d.site()
	if err != nil {
		return err
	}
	if !o.pushes {
		return errNoWay
	}
	r, err := c.run(d.ctx, o.addr, plan{asks: gets("/small.txt", "/push"), pushes: 2})
	if err != nil {
		return err
	}
	if err := r.answers[1].wantText("pushed two"); err != nil {
		return err
	}
	if len(r.pushes) != 2 {
		return fmt.Errorf("%d pushes have come, want two", len(r.pushes))
	}
	for i, path := range []string{"/small.txt", "/n/001"} {
		p := r.pushes[i]
		if p.method != http.MethodGet || p.path != path {
			return fmt.Errorf("push %d is promised as %s %s, want GET %s", i, p.method, p.path, path)
		}
		if err := p.want(http.StatusOK, d.root.small[path]); err != nil {
			return fmt.Errorf("push %d: %w", i, err)
		}
	}
	return nil
}

// priorities wants what is urgent before what is not, although it was asked for later: by
// the field of the request, and by a PRIORITY_UPDATE frame that comes with it. Of a
// client it wants the frame.
func priorities(d *duel) error {
	o, c, err := d.site()
	if err != nil {
		return err
	}
	if o.facts {
		return d.updatePriority(o, c)
	}
	if !o.ranks {
		return errNoWay
	}
	const path = "/rank.bin"
	late, soon := get(path), get(path)
	for _, way := range []string{"field", "frame"} {
		if way == "field" {
			late.header, soon.header = http.Header{"Priority": {"u=7"}}, http.Header{"Priority": {"u=0"}}
		} else {
			late.header, soon.header = nil, nil
			late.priority, soon.priority = "u=7", "u=0"
		}
		r, err := c.run(d.ctx, o.addr, plan{asks: []ask{late, soon}, together: true})
		if err != nil {
			return err
		}
		for _, a := range r.answers {
			if err := a.want(http.StatusOK, d.root.large[path].Digest()); err != nil {
				return err
			}
		}
		switch first := r.answers[1].order; first {
		case 0:
			return errNoWay // to know
		case 1:
		default:
			return fmt.Errorf("by a %s: the urgent response came to its end as number %d", way, first)
		}
	}
	return nil
}

// updatePriority has a server tell what it was told.
func (d *duel) updatePriority(o *origin, c client) error {
	a := get("/small.txt")
	a.priority = "u=1, i"
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{a, get("/facts")}})
	if err != nil {
		return err
	}
	var f aioquicFacts
	if err := json.Unmarshal([]byte(r.answers[1].text), &f); err != nil {
		return err
	}
	if len(f.PriorityUpdates) != 1 || f.PriorityUpdates[0] != [3]any{float64(0xf0700), 0.0, "u=1, i"} {
		return fmt.Errorf("the server was told %v, want one frame of type 0xf0700 for stream 0 with %q", f.PriorityUpdates, a.priority)
	}
	return nil
}

// extendedConnect opens a tunnel for another protocol, and has bytes come back
// through it.
func extendedConnect(d *duel) error {
	o, c, err := d.site()
	if err != nil {
		return err
	}
	if !o.tunnels {
		return errNoWay
	}
	body := kit.Content{Seed: 23, Size: 100_000}
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{
		get("/small.txt"), // after this the server's settings have come
		{method: http.MethodConnect, path: "/tunnel", protocol: "echo", body: body},
	}})
	if err != nil {
		return err
	}
	return r.answers[1].want(http.StatusOK, body.Digest())
}
