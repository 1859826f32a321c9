// Command compare runs the same workloads over several transports, interleaved
// in one run, and prints medians, ratios, CPU and allocations.
//
//	go run ./compare -workloads bulk,rr100 -impls cinnabar,quic-go -rounds 5 -json out.json
//
// Every measurement is a child process of its own, so that CPU time, heap and
// resident memory belong to one implementation and one workload. Both ends of
// every session live in that one process: figures are for both ends together.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// childFlag is the hidden first argument that turns the program into one measurement.
const childFlag = "-measure"

func main() {
	if len(os.Args) == 2 && os.Args[1] == childFlag {
		childMain()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are the command line of the parent.
type options struct {
	workloads, impls []string
	rounds           int
	base             string
	json, benchstat  string
	spec             spec // what every child gets, before its workload and implementation
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	workloads := f.String("workloads", "", "comma-separated `list` of workloads, groups (rr, h3, all) and patterns (bulk*), out of "+strings.Join(workloadNames(), ",")+" (default "+strings.Join(defaultWorkloads(), ",")+")")
	impls := f.String("impls", "", "comma-separated `list` of implementations (default all: "+strings.Join(implNames(), ",")+")")
	f.IntVar(&o.rounds, "rounds", 5, "measurements of each pair; the pairs take turns")
	f.StringVar(&o.base, "base", "quic-go", "implementation that ratios are given against")
	f.StringVar(&o.json, "json", "", "write medians to `file`, one JSON object a line")
	f.StringVar(&o.benchstat, "benchstat", "", "write every single measurement to `file` in the format that benchstat reads")
	mb := f.Int64("mb", 1000, "bytes in all that are transferred in bulk*, fair and h3bulk, in `MB` of 10^6; a 200th of that in bulk-loss")
	f.IntVar(&o.spec.Requests, "requests", 20_000, "requests in rr1 and h3-1; rr100 and h3-100 make four times as many")
	f.IntVar(&o.spec.Handshakes, "handshakes", 2000, "handshakes in hs")
	f.IntVar(&o.spec.Pairs, "pairs", 2000, "session pairs in mem")
	f.IntVar(&o.spec.Sessions, "sessions", 20_000, "sessions in many")
	f.IntVar(&o.spec.Active, "active", 1000, "sessions in many that have ten requests a second each; the others idle")
	f.DurationVar(&o.spec.Duration, "duration", 10*time.Second, "length of the measured part of many")
	f.Int64Var(&o.spec.RateMbps, "rate", 200, "bottleneck of the path in bulk-loss in `Mbit/s`; its queue holds what it sends in a round trip")
	f.DurationVar(&o.spec.RTT, "rtt", 40*time.Millisecond, "round trip time of the path in bulk-loss")
	f.Float64Var(&o.spec.LossPercent, "loss", 1, "`percent` of the datagrams that the path in bulk-loss loses at random, in each direction")
	f.Uint64Var(&o.spec.Seed, "seed", 1, "of what bulk-loss loses and when many makes requests in the first round; each other round has the next")
	f.DurationVar(&o.spec.Settle, "settle", 3*time.Second, "time that sessions idle in mem before memory is read")
	f.DurationVar(&o.spec.Timeout, "timeout", 5*time.Minute, "limit of one measurement, in many without the making of sessions; a child that exceeds it prints its goroutines and the run fails")
	f.StringVar(&o.spec.Curve, "curve", "X25519MLKEM768", "key exchange of every implementation: X25519MLKEM768 (crypto/tls's default), X25519 or P-256")
	f.StringVar(&o.spec.CPUProfile, "cpuprofile", "", "write a CPU profile of the measured part to `file` (one workload and one implementation; the last round's)")
	f.StringVar(&o.spec.MemProfile, "memprofile", "", "write a profile of every allocation to `file` (the same; it distorts all other figures)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.spec.Bytes = *mb * 1e6
	var err error
	if o.workloads, err = pick("workload", *workloads, workloadNames(), defaultWorkloads()); err != nil {
		return o, err
	}
	if o.impls, err = pick("implementation", *impls, implNames(), implNames()); err != nil {
		return o, err
	}
	if (o.spec.CPUProfile != "" || o.spec.MemProfile != "") && (len(o.workloads) != 1 || len(o.impls) != 1) {
		return o, fmt.Errorf("a profile needs exactly one -workloads and one -impls")
	}
	if o.rounds < 1 || *mb < 1 || o.spec.Requests < 1 || o.spec.Handshakes < 1 || o.spec.Pairs < 1 || o.spec.Sessions < 1 || o.spec.Active < 1 || o.spec.RateMbps < 1 {
		return o, fmt.Errorf("rounds, sizes and the rate must be at least 1")
	}
	if p := o.spec.LossPercent; !(p >= 0 && p < 100) {
		return o, fmt.Errorf("-loss %g: must be at least 0 and below 100", p)
	}
	if o.spec.RTT < 0 || o.spec.RTT > time.Minute {
		return o, fmt.Errorf("-rtt %v: must be from 0s to 1m", o.spec.RTT)
	}
	if _, err := curveByName(o.spec.Curve); err != nil {
		return o, err
	}
	return o, nil
}

// pick parses a comma-separated list of names, groups and patterns.
func pick(kind, list string, all, byDefault []string) ([]string, error) {
	if list == "" {
		return byDefault, nil
	}
	var names []string
	for pattern := range strings.SplitSeq(list, ",") {
		pattern = strings.TrimSpace(pattern)
		if group, ok := groups[pattern]; ok {
			pattern = group
		}
		known := false
		for _, name := range all {
			ok, err := path.Match(pattern, name)
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", kind, pattern, err)
			}
			known = known || ok
			if ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown %s %q (have %s)", kind, pattern, strings.Join(all, ", "))
		}
	}
	return names, nil
}

// groups are names for several workloads, as patterns.
var groups = map[string]string{
	"rr":  "rr*",
	"h3":  "h3-*",
	"all": "*",
}

// compare is the parent: it starts one child a measurement and reports.
func compare(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err == flag.ErrHelp {
		return nil
	}
	if err != nil {
		return err
	}
	if o.spec.Cert, o.spec.Key, err = newCertificate(); err != nil {
		return err
	}
	printEnvironment(out, o)

	r := newReport(o)
	for round := range o.rounds {
		for _, w := range o.workloads {
			// Each round starts with another implementation, so that none
			// always runs on a machine that another one has just heated.
			for i := range o.impls {
				name := o.impls[(i+round)%len(o.impls)]
				if !supports(name, w) {
					continue
				}
				progress(out, "round %d of %d: %s over %s ...", round+1, o.rounds, w, name)
				s := o.spec
				s.Workload, s.Impl, s.Seed = w, name, s.Seed+uint64(round)
				res, err := runChild(ctx, s)
				progress(out, "")
				if err != nil {
					return fmt.Errorf("%s over %s, round %d: %w", w, name, round+1, err)
				}
				if err := r.add(w, name, res); err != nil {
					return err
				}
			}
		}
	}
	return r.write(out)
}

func printEnvironment(out io.Writer, o options) {
	fmt.Fprintf(out, "%s %s/%s, %d CPUs%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), kernel())
	fmt.Fprintf(out, "peers: %s\n", strings.Join(versions(), ", "))
	fmt.Fprintf(out, "all: both ends in one process over loopback; ECDSA P-256 certificate, verified; TLS_AES_128_GCM_SHA256; %s; servers issue tickets, clients do not resume\n", o.spec.Curve)
	fmt.Fprintf(out, "all: socket buffers of %d KiB wanted; application buffers of %d KiB; every byte and every request is compared\n", socketBuffer>>10, ioChunk>>10)
	fmt.Fprintf(out, "sizes: bulk*, fair and h3bulk %d MB, rr1 and h3-1 %d requests, rr100 and h3-100 %d, hs %d handshakes, mem %d pairs, many %d sessions, %d of them active, for %v; %d rounds, seeds from %d\n",
		o.spec.Bytes/1e6, o.spec.Requests, factor100*o.spec.Requests, o.spec.Handshakes, o.spec.Pairs, o.spec.Sessions, o.spec.Active, o.spec.Duration, o.rounds, o.spec.Seed)
}

// progress overwrites one line of a terminal; it is silent when out is not one.
func progress(out io.Writer, format string, args ...any) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(f, "\r\x1b[K"+format, args...)
	}
}
