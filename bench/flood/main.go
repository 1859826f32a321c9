// Command flood shows what a server is worth while it is flooded: a second process sends
// it a hundred thousand useless datagrams a second, an honest session goes on with its
// transfer, and honest clients come anew. It prints a table and ends with status 1 if one
// of its promises is broken.
//
//	go run ./flood                          # every kind of flood, 3 s each
//	go run ./flood -kinds initials -for 10s
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are those of a run.
type options struct {
	kinds []string
	rate  int           // datagrams a second
	each  time.Duration // of each of a kind's two measurements
	limit int           // Mbit/s that the honest session sends
	keep  float64       // part of the goodput that must be left

	profile string // file for a CPU profile of the last kind, while it is flooded; "" for none
}

func main() {
	var o options
	list := flag.String("kinds", strings.Join(kinds, ","), "comma-separated `list` of floods")
	flag.IntVar(&o.rate, "rate", 100_000, "datagrams a second that the flood has")
	flag.DurationVar(&o.each, "for", 3*time.Second, "how long each kind is aimed at a socket that nobody reads, and then at the server")
	flag.IntVar(&o.limit, "mbit", 200, "what the honest session sends at most, in Mbit/s")
	flag.Float64Var(&o.keep, "keep", 0.8, "part of its goodput that must be left; 0 to judge nothing by time")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of server and clients under the last kind of flood to `file`")
	attack := flag.String("attack", "", "be the second process: send this `kind` to the address that is the only argument")
	flag.Parse()
	o.kinds = strings.Split(*list, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *attack, flag.Args(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, attack string, args []string, o options) error {
	for _, k := range o.kinds {
		if !slices.Contains(kinds, k) {
			return fmt.Errorf("-kinds: %q is not one of %s", k, strings.Join(kinds, ", "))
		}
	}
	if attack != "" {
		if len(args) != 1 {
			return errors.New("-attack wants one address, such as 127.0.0.1:4433")
		}
		return send(ctx, attack, args[0], o)
	}
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return judge(ctx, o)
}

// attacker starts the second process. It ends by itself after about the given time.
func attacker(ctx context.Context, kind, to string, o options) (wait func() (sent int, err error), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self, "-attack", kind, "-rate", fmt.Sprint(o.rate), "-for", o.each.String(), to)
	var out, complaint strings.Builder
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() (int, error) {
		if err := c.Wait(); err != nil {
			return 0, fmt.Errorf("the flood: %w: %s", err, complaint.String())
		}
		return strconv.Atoi(strings.TrimSpace(out.String()))
	}, nil
}
