package h3

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// patience is how long anything may take that a case waits for.
const patience = time.Minute

// errNoWay says that an implementation has no way to do what a case asks for. The
// table says so, too.
var errNoWay = errors.New("not in its API")

// implementation is an HTTP/3 stack, or a program with one, as the cases see it. They
// are written once and know none of them.
type implementation interface {
	name() string
	traits() traits
	serve(d *duel) (*origin, error)
	client(d *duel) (client, error)
}

// traits is what cases have to know of an implementation.
type traits struct {
	slow        bool // large bodies should not be as large as they might
	staticTable bool // its QPACK has no dynamic table
	inside      bool // as a client it is in this process, and calls plan.sent
	strictHead  bool // as a client it wants a body as long as Content-Length of HEAD, too
}

// origin is a server that serves the docroot, on a loopback port of its own.
type origin struct {
	addr netip.AddrPort
	// dynamic says that it serves all of the site; else there are only the files.
	dynamic bool
	// empty is the path of something empty.
	empty string
	// trailers says that every response has some, or that it takes those of requests.
	trailers bool
	// tunnels says that it takes an extended CONNECT.
	tunnels bool
	// saysEarly says that the answer to /early tells whether it came early.
	saysEarly bool
	// site is what serves requests in this process, nil for other programs.
	site *site
	// received returns what the last POST to a file brought, where the server can tell
	// and is not dynamic.
	received func() (kit.Digest, error)
	// early says of the newest connection whether a request came before its handshake
	// was complete, where the server can tell in no other way.
	early func() (bool, error)
	// advertises says that it speaks HTTP/2, too, and tells of HTTP/3 there.
	advertises bool
	// ranks says that the server heeds priorities.
	ranks bool
	// facts says that the answer to /facts has aioquicFacts.
	facts bool
	// compressing tells the use of dynamic tables on the newest connection, where the server
	// can tell in no other way.
	compressing func() (dynamic, error)
	// pushes says that a request for /push brings two.
	pushes bool
	// shutdown ends the server when the requests under way are answered.
	shutdown func(context.Context) error
}

// client runs plans, each on a connection of its own. What it has learned from one (a
// ticket) it keeps for the next.
type client interface {
	run(ctx context.Context, to netip.AddrPort, p plan) (report, error)
}

// plan is what a client does on one connection.
type plan struct {
	asks     []ask
	together bool   // all requests at once, else one after the other
	early    bool   // the first request leaves as 0-RTT
	sent     func() // called when the first request has been sent, by clients in this process
	ticket   bool   // the connection stays until it has brought a ticket
	settled  bool   // it begins when both ends know each other's settings, and ends when all is acknowledged
	pushes   int    // the connection stays until so many pushes have come
}

// ask is a request.
type ask struct {
	method, path string
	protocol     string      // of an extended CONNECT
	header       http.Header // nothing that belongs to the connection
	body         kit.Content // size 0: none
	trailer      http.Header
	priority     string // sent in a PRIORITY_UPDATE frame with the request
}

func get(path string) ask { return ask{method: http.MethodGet, path: path} }

func gets(paths ...string) []ask {
	asks := make([]ask, len(paths))
	for i, p := range paths {
		asks[i] = get(p)
	}
	return asks
}

// answer is a response.
type answer struct {
	status        int
	header        http.Header
	informational []http.Header
	trailer       http.Header
	digest        kit.Digest
	text          string // the beginning of the body
	order         int    // its place among those that ended, from 1; 0 where the client does not tell
}

// push is a response that nobody has asked for.
type push struct {
	method, path string
	answer
}

// report is what came of a plan.
type report struct {
	answers     []answer // in the order of the asks
	pushes      []push   // in the order of their IDs
	connections int      // how many there were, 0 where the client cannot have more than one
	resumed     bool     // the connection had a ticket
	early       *bool    // whether the server has taken early data; nil where the client cannot tell
	compressing *dynamic // nil where the client cannot tell
}

// dynamic tells of the use of both dynamic tables, as an end sees it: of its own encoder's
// and of its peer's. It counts bytes of instructions; only zero matters.
type dynamic struct{ own, peer uint64 }
