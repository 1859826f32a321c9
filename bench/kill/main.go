// Command kill shows what becomes of sessions whose peer is killed (SIGKILL) at a random
// moment: in the middle of the handshake, of a transfer, of the close, or in silence. First
// the clients are processes that die and this one is the server, then the other way round; in
// every second case a server that was killed is followed by one with the same secrets on the same port. Each
// session must end by its idle timeout, by the timeout of its handshake or by the stateless reset
// of the new server, and leave nothing: no session, goroutine, descriptor or memory. It prints
// what it has counted, and ends with status 1 if something is left.
//
//	go run ./kill           # 1,000 sessions that are killed in each role
//	go run ./kill -n 100
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are those of a run.
type options struct {
	number   int // of sessions to be killed in each role
	each     int // sessions of a process
	parallel int // processes at a time
	seed     uint64
}

// What sessions are made with.
const (
	alpn             = "kill"
	serverName       = "server.example"
	idleTimeout      = 2 * time.Second
	handshakeTimeout = 3 * time.Second
	keepAlive        = 500 * time.Millisecond
)

func main() {
	var o options
	flag.IntVar(&o.number, "n", 1000, "sessions to be killed in each role, at least")
	flag.IntVar(&o.each, "each", 5, "sessions with each process")
	flag.IntVar(&o.parallel, "parallel", 4, "processes at a time")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of when they die, and what they do until then")
	role := flag.String("role", "", "be a process that is killed, `client or server`, with what it needs on standard input")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.number < 1 || o.each < 1 || o.parallel < 1:
		err = errors.New("-n, -each and -parallel are positive")
	case *role == "client":
		err = victimClient(ctx, o)
	case *role == "server":
		err = victimServer(ctx)
	case *role != "":
		err = fmt.Errorf("-role: %q is neither client nor server", *role)
	default:
		err = survive(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
		os.Exit(1)
	}
}
