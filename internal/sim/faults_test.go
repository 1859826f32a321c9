package sim_test

import (
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// drawLink links an address of the client's to one of the server's, with faults.
func (r *run) drawLink(from, to netip.AddrPort) {
	d := r.duration(100*time.Microsecond, 150*time.Millisecond)
	hops := max(1, r.later.IntN(6)-2)
	r.say("delay %v in %d hops", d, hops)
	var up, down []sim.Node
	for range hops {
		up, down = append(up, r.drawWay(d/time.Duration(hops))...), append(down, r.drawWay(d/time.Duration(hops))...)
	}
	nat := r.chance(30)
	if nat {
		at, also := r.rand.Float64(), r.chance(50)
		n := 1 + r.rand.IntN(3)
		r.say("%d rebindings from %.2f, address too %v", n, at, also)
		var due []func(mono.Time) bool
		for i := range n {
			due = append(due, r.once(at+float64(i)*(1-at)/float64(n)))
		}
		node := sim.RebindIf(func(now mono.Time) bool {
			is := false
			for _, f := range due {
				is = f(now) || is
			}
			return is
		}, also)
		up = append([]sim.Node{node}, up...)
		down = append(down, node)
	}
	r.w.Net.Link(from, to, up, down)
	r.rebinds = r.rebinds || nat
}

// once is a condition that holds one time, when so much has moved.
func (r *run) once(part float64) func(mono.Time) bool {
	over := false
	return func(mono.Time) bool {
		if over || r.progress() < part || !r.confirmed() {
			return false
		}
		over = true
		return true
	}
}

// drawWay draws one direction: each fault is there or not.
func (r *run) drawWay(d time.Duration) []sim.Node {
	var nodes []sim.Node
	add := func(node sim.Node, format string, args ...any) {
		nodes = append(nodes, node)
		r.say(format, args...)
	}
	if r.chance(50) {
		bits, queue := r.bytes(2_000_000, 200_000_000), int(r.bytes(8, 300))
		add(sim.Rate(bits, queue), "%d bit/s, queue %d", bits, queue)
	}
	var jitter time.Duration
	if r.chance(50) {
		jitter = r.duration(d/100+1, d)
	}
	add(sim.Delay(d, jitter), "jitter %v", jitter)
	if r.chance(45) {
		percent := r.between(0.1, 20)
		add(sim.Loss(percent, 0), "loss %.1f%%", percent)
	}
	if r.chance(30) {
		percent, extra := r.between(0.1, 10), r.duration(10*time.Microsecond, 3*d)
		add(sim.Reorder(percent, extra), "reorder %.1f%% %v", percent, extra)
	}
	if r.chance(30) {
		percent := r.between(0.1, 10)
		add(sim.Duplicate(percent), "duplicate %.1f%%", percent)
	}
	if r.chance(30) {
		percent := r.between(0.1, 10)
		add(sim.Corrupt(percent, 0), "corrupt %.1f%%", percent)
	}
	if r.chance(10) {
		percent := r.between(0.1, 10)
		add(sim.CorruptDrop(percent, 0), "corrupt and drop %.1f%%", percent)
	}
	return append(nodes, r.drawChanges()...)
}

// drawChanges draws what a way does with sizes and marks, and when it fails.
func (r *run) drawChanges() []sim.Node {
	var nodes []sim.Node
	add := func(node sim.Node, format string, args ...any) {
		nodes = append(nodes, node)
		r.say(format, args...)
	}
	if r.chance(40) {
		size := int(r.bytes(1200, 20_000))
		add(sim.MTU(size), "MTU %d", size)
	}
	if r.chance(20) {
		size, at := int(r.bytes(1200, 9000)), r.rand.Float64()
		add(sim.When(r.after(at, forever), sim.MTU(size)), "MTU %d from %.2f", size, at)
	}
	if r.chance(20) {
		size, at, d := int(r.bytes(1200, 9000)), r.rand.Float64(), r.duration(10*time.Millisecond, 10*time.Second)
		add(sim.When(r.after(at, d), sim.MTU(size)), "MTU %d from %.2f for %v", size, at, d)
	}
	if r.chance(20) {
		percent := r.between(0.1, 20)
		add(sim.Mark(percent), "mark %.1f%%", percent)
	}
	if r.chance(10) {
		add(sim.Bleach(), "bleach")
	}
	if r.chance(10) {
		at, d := r.rand.Float64(), r.duration(time.Millisecond, time.Minute)
		add(sim.When(r.after(at, d), sim.Bleach()), "bleach from %.2f for %v", at, d)
	}
	if r.chance(20) {
		at, d := r.rand.Float64(), r.duration(10*time.Millisecond, 5*time.Second)
		add(sim.When(r.after(at, d), sim.Blackhole(0, forever)), "black hole from %.2f for %v", at, d)
	}
	return nodes
}

// drawActions draws what the applications do besides sending.
func (r *run) drawActions() {
	add := func(name string, do func(p *pair)) {
		at := r.rand.Float64()
		r.say("%s at %.2f", name, at)
		r.todo = append(r.todo, action{at, do})
	}
	for range r.rand.IntN(4) * r.rand.IntN(2) {
		server := r.chance(50)
		add("key update", func(p *pair) {
			p.called("key update")
			p.end(server).Do(func(c *transport.Conn, now mono.Time) { c.UpdateKey(now) })
		})
	}
	if r.chance(10) {
		r.drawLink(movedAddr, serverAddr)
		r.moves = true
		rebinding := r.chance(30)
		add("migration", func(p *pair) {
			r.client.Moved(movedAddr)
			p.client.Do(func(c *transport.Conn, now mono.Time) {
				p.called("migrate")
				_ = c.Migrate(now, dgram.Path{Local: movedAddr, Remote: serverAddr}, rebinding) // the server's address may be another by now
			})
		})
	}
	if r.chance(10) {
		server := r.chance(50)
		add("ping", func(p *pair) {
			p.called("ping")
			p.end(server).Do(func(c *transport.Conn, _ mono.Time) { c.Ping() })
		})
	}
	for range r.later.IntN(4) { // what an application may do in the middle of a transfer, too
		at, server := r.later.Float64(), r.later.IntN(2) == 0
		r.say("a command at %.2f", at)
		r.todo = append(r.todo, action{at, func(p *pair) { r.command(p, p.end(server)) }})
	}
}

func (p *pair) end(server bool) *sim.Session {
	if server {
		return p.server
	}
	return p.client
}
