package sim_test

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// engine makes the TLS stacks of a run.
type engine func(server bool, rand func([]byte)) sim.Engine

// drawLater draws how connections end before their time, who is turned away, and how
// long the others live.
func (r *run) drawLater() {
	if r.later.IntN(100) < 15 {
		r.breakOff = time.Duration(1 + r.later.ExpFloat64()*float64(400*time.Millisecond))
		r.say("broken off at %v", r.breakOff)
	}
	if r.later.IntN(100) < 15 {
		r.drawStranger()
	}
	if r.later.IntN(100) < 80 {
		r.life = time.Duration(r.later.ExpFloat64() * float64(4*time.Hour))
		r.say("lives for %v", r.life)
	}
}

// breakUp ends a connection, or all, in the middle of whatever they do.
func (r *run) breakUp() {
	for i, p := range r.pairs {
		if i == 0 || r.later.IntN(2) == 0 {
			p.broken = true
			r.end(p)
			r.stats["connections broken off"]++
		}
	}
}

// live lets the connections be idle for long and talk a little now and then.
func (r *run) live() error {
	pairs := slices.DeleteFunc(slices.Clone(r.pairs), func(p *pair) bool { return p.broken })
	if len(pairs) == 0 {
		return nil
	}
	for _, p := range pairs {
		for _, s := range p.sessions() {
			every := time.Duration(r.later.Int64N(int64(2*time.Minute))) + 10*time.Second
			s.Do(func(c *transport.Conn, _ mono.Time) { c.SetKeepAlive(every) })
		}
	}
	for end := r.w.Now().Add(r.life); r.w.Now() < end; {
		rest := time.Duration(r.later.ExpFloat64() * float64(10*time.Minute))
		if err := r.w.Run(min(rest, end.Sub(r.w.Now())), nil); err != nil {
			return err
		}
		r.visit(pairs[r.later.IntN(len(pairs))])
		if err := r.w.Run(time.Hour, r.done); err != nil {
			return err
		}
	}
	return nil
}

// visit makes the ends of a connection say something.
func (r *run) visit(p *pair) {
	r.stats["visits"]++
	for range r.later.IntN(4) {
		s := &streamPlan{server: r.later.IntN(2) == 0, uni: r.later.IntN(2) == 0}
		s.legs[0] = r.drawLeg()
		if !s.uni {
			s.legs[1] = r.drawLeg()
		}
		for _, l := range s.legs {
			if l != nil {
				l.size = r.bytes(1, 100_000)
			}
		}
		if r.chance(20) {
			r.cutOff(s)
		}
		p.append(s, int(r.seed))
	}
	for _, a := range p.ends {
		a.s.Do(func(*transport.Conn, mono.Time) {
			a.open(false)
			a.open(true)
		})
	}
	for range r.later.IntN(3) {
		r.command(p, p.end(r.later.IntN(2) == 0))
	}
}

// command gives one end of a connection a command that changes nothing of what is said.
func (r *run) command(p *pair, s *sim.Session) {
	s.Do(func(c *transport.Conn, now mono.Time) {
		switch r.later.IntN(6) {
		case 0:
			p.called("ping")
			c.Ping()
		case 1:
			p.called("key update")
			c.UpdateKey(now)
		case 2:
			p.called("keep-alive")
			c.SetKeepAlive(10*time.Second + time.Duration(r.later.Int64N(int64(time.Minute))))
		case 3:
			for _, k := range p.ends[side(s.Server)].sorted() {
				c.SetPriority(k.st, uint8(r.later.IntN(transport.Urgencies)), r.later.IntN(2) == 0)
				p.called("priority")
			}
		case 4:
			r.move(p, now)
		case 5:
			p.ends[side(s.Server)].tooLate(now)
		}
	})
}

// move lets the client go from one of its addresses to the other.
func (r *run) move(p *pair, now mono.Time) {
	c := p.client.Conn
	if !r.moves || p.home != r.client || c.Path().Remote != serverAddr {
		return
	}
	to := clientAddr
	if c.Path().Local == clientAddr {
		to = movedAddr
	}
	p.called("migrate")
	_ = c.Migrate(now, dgram.Path{Local: to, Remote: serverAddr}, false) // it may be too early
}

// sorted returns the streams of an end, in order of their IDs.
func (a *talker) sorted() []*talk {
	list := make([]*talk, 0, len(a.live))
	for _, k := range a.live {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b *talk) int { return int(a.st.ID() - b.st.ID()) })
	return list
}

// append adds a stream to what is to be said.
func (t *traffic) append(s *streamPlan, key int) {
	for j, l := range s.legs {
		if l != nil {
			l.key = 2*len(t.streams) + j + key
			t.total += l.size
		}
	}
	t.streams = append(t.streams, s)
}

// stranger is a client that is turned away at first: the server is busy, or does not
// want to hear of its address.
type stranger struct {
	end     *sim.Endpoint
	blocked bool
	at      float64 // comes when so much has moved
	tries   []*sim.Session
	done    bool
}

func (r *run) drawStranger() {
	x := &stranger{blocked: r.later.IntN(2) == 0, at: r.later.Float64() * 0.9}
	r.say("a stranger at %.2f, blocked %v", x.at, x.blocked)
	x.end = r.w.Endpoint("stranger", strangerAddr, r.setup)
	delay := time.Duration(r.later.Int64N(int64(50 * time.Millisecond)))
	way := func() []sim.Node { return []sim.Node{sim.Delay(delay, delay/2+1), sim.Loss(5, 0)} }
	r.w.Net.Link(strangerAddr, serverAddr, way(), way())
	r.stranger = x
}

// call does what the stranger does next.
func (x *stranger) call(r *run) {
	switch {
	case x.done:
	case len(x.tries) == 0:
		if r.confirmed() && r.progress() >= x.at {
			r.pairs[0].called(map[bool]string{true: "block list", false: "busy"}[x.blocked])
			r.server.Busy = !x.blocked
			r.server.Blocked = map[netip.Addr]bool{strangerAddr.Addr(): x.blocked}
			x.dial()
		}
	case len(x.tries) == 1 && x.tries[0].Closed != nil:
		switch why := x.tries[0].Closed; {
		case x.blocked && why.Kind == transport.CloseHandshakeTimeout:
			r.stats["clients blocked"]++
		case !x.blocked && why.Kind == transport.ClosePeer && why.Code == uint64(wire.ConnectionRefused):
			r.stats["clients refused"]++
		default:
			r.w.Fail("stranger, blocked %v: %+v", x.blocked, *why)
		}
		r.server.Busy, r.server.Blocked = false, nil
		x.dial()
	case len(x.tries) == 2 && x.tries[1].Confirmed:
		x.done = true
		x.tries[1].Do(func(c *transport.Conn, now mono.Time) { c.Close(now, true, 0, "") })
	}
}

func (x *stranger) dial() {
	x.tries = append(x.tries, x.end.Connect(serverAddr, func(c *transport.Config) { c.HandshakeTimeout = 20 * time.Second }))
}

// endpoints returns all of them.
func (r *run) endpoints() []*sim.Endpoint {
	all := append([]*sim.Endpoint{r.server}, r.clients...)
	if r.stranger != nil {
		all = append(all, r.stranger.end)
	}
	return all
}

// known returns how many of the server's connections somebody has asked for.
func (r *run) known() int {
	n := 0
	for _, p := range r.pairs {
		if p.server != nil {
			n++
		}
	}
	for _, s := range r.server.Sessions {
		if r.stranger != nil && s.Peer != nil && s.Peer.End == r.stranger.end {
			n++
		}
	}
	return n
}
