package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Setup is what an endpoint is made with. The zero Setup will do. Pools, random
// sources and reset tokens are filled in.
type Setup struct {
	Config    transport.Config    // of every connection; without parameters, DefaultParameters of this package
	Mux       transport.MuxConfig // of the endpoint
	Engine    func(server bool, rand func([]byte)) Engine
	ThinkTime time.Duration // how long TLS takes over what it is given
}

// DefaultParameters returns transport parameters that serve most tests: an
// idle timeout of 30 s, 100 streams of each kind, windows of 256 KiB and 1 MiB.
func DefaultParameters() wire.Parameters {
	p := wire.DefaultParameters()
	p.MaxIdleTimeout = 30 * time.Second
	p.MaxData = 1 << 20
	p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 256<<10, 256<<10, 256<<10
	p.MaxStreamsBidi, p.MaxStreamsUni = 100, 100
	p.ActiveCIDLimit = 4
	p.HasMinAckDelay, p.MinAckDelay = true, recovery.MinAckDelay
	return p
}

// Endpoint is a Mux with its connections, at one address.
type Endpoint struct {
	Name      string
	Addr      netip.AddrPort
	Mux       *transport.Mux
	Pool      stream.List
	OnSession func(*Session) // a client's first packet made a connection
	Sessions  []*Session     // all there ever were

	// Mutate, if set, changes what connections send that begin from now on. What they
	// promise and take can no longer be heard then, and is not checked.
	Mutate Mutation

	Busy    bool                // refuses whoever is new
	Blocked map[netip.Addr]bool // does not hear what comes from these

	world *World
	setup Setup
	rand  *rand.Rand
	batch *dgram.Batch
	watch map[netip.AddrPort]*account // nil for endpoints that take no connections
}

// KeepAlive returns how often connections were told to send a PING in silence, 0 for never.
func (e *Endpoint) KeepAlive() time.Duration { return e.setup.Config.KeepAlive }

func newEndpoint(w *World, name string, addr netip.AddrPort, setup Setup, chances *rand.Rand) *Endpoint {
	e := &Endpoint{Name: name, Addr: addr, world: w, rand: chances}
	e.batch = dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
	setup.Mux.Rand = e.fill
	e.fill(setup.Mux.ResetSecret[:])
	e.fill(setup.Mux.TokenSecret[:])
	e.Mux = transport.NewMux(w.now, setup.Mux)
	e.Mux.SetVersions(setup.Config.Versions)
	if setup.Config.Params == (wire.Parameters{}) {
		setup.Config.Params = DefaultParameters()
	}
	if setup.Engine == nil {
		setup.Engine = Script{}.New
	}
	setup.Config.Rand, setup.Config.Pool, setup.Config.ResetToken = e.fill, &e.Pool, e.Mux.ResetToken
	setup.Config.Tokens = e.Mux.Tokens()
	e.setup = setup
	return e
}

// fill fills b with random bytes.
func (e *Endpoint) fill(b []byte) {
	for i := range b {
		if i%8 == 0 {
			for r, j := e.rand.Uint64(), i; j < min(i+8, len(b)); j++ {
				b[j] = byte(r)
				r >>= 8
			}
		}
	}
}

// Connect starts a connection to an address. Edit, if any, changes its
// configuration first.
func (e *Endpoint) Connect(to netip.AddrPort, edit ...func(*transport.Config)) *Session {
	cfg := e.setup.Config
	for _, f := range edit {
		f(&cfg)
	}
	c := e.Mux.Connect(e.world.now, dgram.Path{Local: e.Addr, Remote: to}, &cfg)
	s := e.add(c, false)
	s.start()
	s.flush()
	return s
}

func (e *Endpoint) add(c *transport.Conn, server bool) *Session {
	s := newSession(e, c, e.setup.Engine(server, e.fill))
	if e.Mutate != nil {
		s.scribe = newScribe(e.Mutate)
	}
	e.Sessions = append(e.Sessions, s)
	e.world.active = append(e.world.active, s)
	return s
}

// Moved makes the endpoint take what comes for another address too, of its own
// as from now on: for Conn.Migrate. It needs a link as well.
func (e *Endpoint) Moved(to netip.AddrPort) { e.world.at[to] = e }

// receive finds out what to do with a datagram and does it.
func (e *Endpoint) receive(d *dgram.Datagram) {
	w := e.world
	if e.Blocked[d.Path.Remote.Addr()] {
		return
	}
	e.watchIn(d)
	e.batch.Reset()
	c, verdict := e.Mux.Route(w.now, d, e.batch)
	switch verdict {
	case transport.Reply:
		e.send(e.batch)
	case transport.Deliver:
		for _, s := range w.active {
			if s.Conn == c {
				s.receive(d)
				return
			}
		}
		w.Fail("%s: a datagram was routed to a connection that is gone", e.Name)
	case transport.Initial:
		e.watchToken(d)
		if e.Busy {
			if e.Mux.Refuse(w.now, d, wire.ConnectionRefused, e.batch) {
				e.send(e.batch)
			}
			return
		}
		cfg := e.setup.Config
		s := e.add(e.Mux.Accept(w.now, d, &cfg), true)
		if e.OnSession != nil {
			e.OnSession(s)
		}
		s.start()
		s.settle()
		s.receive(d)
	}
}

func (e *Endpoint) send(b *dgram.Batch) {
	e.watchOut(b)
	e.world.send(b)
}

// finish looks for what connections have left behind.
func (e *Endpoint) finish() error {
	for i, s := range e.Sessions {
		if !s.Gone {
			return fmt.Errorf("%s: connection %d is not gone", e.Name, i)
		}
	}
	if n := e.Pool.Outstanding(); n != 0 {
		return fmt.Errorf("%s: %d chunks are not back in the pool", e.Name, n)
	}
	if e.Mux.Conns() != 0 || e.Mux.Handshakes() != 0 {
		return fmt.Errorf("%s: the Mux counts %d connections and %d handshakes", e.Name, e.Mux.Conns(), e.Mux.Handshakes())
	}
	for _, table := range [...]string{"conns", "resets", "owned"} {
		v := reflect.ValueOf(e.Mux).Elem().FieldByName(table)
		if v.Kind() == reflect.Struct {
			v = v.FieldByName("conns")
		}
		if n := v.Len(); n != 0 {
			return fmt.Errorf("%s: %d entries left in the Mux's table %s", e.Name, n, table)
		}
	}
	return nil
}
