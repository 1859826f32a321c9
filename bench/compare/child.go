package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// spec is what a child reads from its standard input: one measurement.
type spec struct {
	Impl, Workload         string
	Bytes                  int64
	Requests               int
	Handshakes             int
	Pairs                  int
	Sessions, Active       int           // of many
	Duration               time.Duration // of many
	RateMbps               int64         // of the path in bulk-loss, as the next two
	RTT                    time.Duration
	LossPercent            float64
	Seed                   uint64 // of what is random
	Settle, Timeout        time.Duration
	Cert, Key              []byte // DER
	Curve                  string
	CPUProfile, MemProfile string
}

// result is what a child writes to its standard output.
type result struct {
	Metrics map[string]float64
	Notes   []string // limits that were raised and other conditions, for people
	Suite   string   // negotiated; empty where there is no TLS
	Curve   string
}

// runChild measures s in a new process.
func runChild(ctx context.Context, s spec) (result, error) {
	var res result
	self, err := os.Executable()
	if err != nil {
		return res, err
	}
	in, err := json.Marshal(s)
	if err != nil {
		return res, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, self, childFlag)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // prints its goroutines
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return res, fmt.Errorf("stopped: %w", ctx.Err())
		}
		return res, err
	}
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		return res, fmt.Errorf("the child's answer %q: %w", out.Bytes(), err)
	}
	return res, nil
}

// limit is how long the child may take.
func (s spec) limit() time.Duration {
	if s.Workload == "many" {
		return s.Timeout + setupLimit(s.Sessions)
	}
	return s.Timeout
}

// childMain is the whole life of a child.
func childMain() {
	res, err := func() (res result, err error) {
		in, err := io.ReadAll(os.Stdin)
		if err != nil {
			return res, err
		}
		var s spec
		if err := json.Unmarshal(in, &s); err != nil {
			return res, err
		}
		return measure(context.Background(), s)
	}()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(res)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// measure runs one workload over one implementation in this process.
func measure(ctx context.Context, s spec) (result, error) {
	b, err := newBench(s)
	if err != nil {
		return result{}, err
	}
	x, ok := impls[s.Impl]
	if !ok {
		return result{}, fmt.Errorf("unknown implementation %q", s.Impl)
	}
	w, ok := workloads[s.Workload]
	if !ok {
		return result{}, fmt.Errorf("unknown workload %q", s.Workload)
	}
	err = w.run(ctx, x, b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err = errors.Join(err, b.serverErr); err != nil {
		return result{}, err
	}
	return b.result, nil
}

// bench is what a workload and an implementation have in common for one
// measurement: the sizes, the TLS configurations, the meter and the result.
type bench struct {
	spec
	serverTLS, clientTLS *tls.Config // to be cloned before a change
	tickets              *ticketCounter
	meter                meter

	mu        sync.Mutex
	result    result
	serverErr error
}

func newBench(s spec) (*bench, error) {
	b := &bench{spec: s, result: result{Metrics: make(map[string]float64)}}
	b.meter.cpuProfile, b.meter.memProfile = s.CPUProfile, s.MemProfile
	b.meter.prepare()
	var err error
	b.serverTLS, b.clientTLS, b.tickets, err = tlsConfigs(s)
	return b, err
}

// set stores a metric.
func (b *bench) set(metric string, v float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result.Metrics[metric] = v
}

// note tells people about a condition of the measurement; repetitions are dropped.
func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := fmt.Sprintf(format, args...); !slices.Contains(b.result.Notes, s) {
		b.result.Notes = append(b.result.Notes, s)
	}
}

// failServer keeps the first thing that went wrong at the serving end. It
// fails the run even when no client noticed.
func (b *bench) failServer(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.serverErr == nil {
		b.serverErr = fmt.Errorf("server: %w", err)
	}
}

// sawTLS keeps what was negotiated, so that the parent can see that it is equal everywhere.
func (b *bench) sawTLS(s tls.ConnectionState) error {
	suite, curve := tls.CipherSuiteName(s.CipherSuite), s.CurveID.String()
	if s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return fmt.Errorf("%s was negotiated, not TLS_AES_128_GCM_SHA256: figures could not be compared", suite)
	}
	if s.DidResume {
		return errors.New("a handshake resumed a session: figures could not be compared")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result.Suite, b.result.Curve = suite, curve
	return nil
}
