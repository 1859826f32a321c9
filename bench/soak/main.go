// Command soak keeps a server busy with thousands of sessions that come and go, for as
// long as it is told to: clients in processes of their own open sessions, make requests,
// reset, stop and abandon streams, close sessions or destroy them without a word, and every
// now and then one of those processes is killed with all it has. The server must not mind:
// its memory, goroutines and descriptors stay what they were. A report comes every so
// often; the command ends with status 1 if the server has kept anything, or grows.
//
//	go run ./soak -for 2m
//	go run ./soak -for 1h -sessions 10000 -churn 25 -idle 30s
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
	sessions  int
	processes int
	churn     int // sessions a second that end and are made anew
	idle      time.Duration
	length    time.Duration
	report    time.Duration
	ramp      time.Duration // of a process of clients: how long until all have come
	seed      uint64
}

// interval is how long a process takes to have all its sessions, and about how often one is killed.
func (o *options) interval() time.Duration {
	return time.Duration(o.sessions/o.processes) * time.Second / time.Duration(o.churn)
}

// patience is how long sessions may be there, and in memory, that nobody is behind any more. An idle timeout is at least three
// probe timeouts, as is the time that a connection closes in, and on a busy machine these grow to many seconds.
const patience = 5 * time.Minute

func main() {
	var o options
	flag.IntVar(&o.sessions, "sessions", 10_000, "sessions at a time")
	flag.IntVar(&o.processes, "processes", 10, "processes that they come from")
	flag.IntVar(&o.churn, "churn", 100, "sessions a second that end, in all, to be made anew")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "after how much silence a session ends; a third of it is how often one is kept alive")
	flag.DurationVar(&o.length, "for", 2*time.Minute, "how long")
	flag.DurationVar(&o.report, "report", 10*time.Second, "how often to say how it goes")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of what clients do, and when they die")
	flag.DurationVar(&o.ramp, "ramp", time.Second, "with -client, how long until all have come")
	to := flag.String("client", "", "be a process of clients of the server at this `address`, whose certificate comes from standard input")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.processes < 1 || o.sessions < o.processes || o.churn < 1 || o.churn > o.sessions || o.report <= 0 || o.idle < time.Second:
		err = errors.New("-processes, -churn and -report are positive, -idle is a second or more, and -sessions are not fewer than -processes or -churn")
	case *to != "":
		err = visit(ctx, *to, o)
	case o.length/o.report < quarters:
		err = fmt.Errorf("-for %v has less than %d reports, one every %v, and cannot be judged: a longer -for, or a shorter -report", o.length, quarters, o.report)
	default:
		err = soak(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}
