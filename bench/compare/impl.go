package main

import (
	"context"
	"crypto/tls"
	"io"
	"slices"
)

// An impl runs each workload over one implementation.
type impl interface {
	bulk(ctx context.Context, b *bench) error
	rr(ctx context.Context, b *bench, atOnce int) error
	hs(ctx context.Context, b *bench) error
	mem(ctx context.Context, b *bench) error
}

// impls are the implementations by name; lacks lists workloads that one has no
// counterpart for.
var impls = map[string]struct {
	make  func() impl
	lacks []string
}{
	"cinnabar": {make: func() impl { return overStreams{stack: cinnabar{}} }},
	"quic-go":  {make: func() impl { return overStreams{stack: quicGo{}} }},
	"xnet":     {make: func() impl { return overStreams{stack: xnet{}} }},
	"tls":      {make: func() impl { return overStreams{stack: tcp{}, persistent: true} }},
	"raw":      {make: func() impl { return raw{} }, lacks: []string{"rr100", "mem"}},
}

// implNames lists the implementations in the order of reports.
func implNames() []string { return []string{"cinnabar", "quic-go", "xnet", "tls", "raw"} }

func supports(impl, workload string) bool { return !slices.Contains(impls[impl].lacks, workload) }

// rr100Factor is how many times more requests rr100 makes than rr1.
const rr100Factor = 4

// workloads are the workloads by name. metrics are in the order of reports.
var workloads = map[string]struct {
	title   string
	run     func(ctx context.Context, x impl, b *bench) error
	metrics []string
}{
	"bulk": {
		title:   "one stream, server to client",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.bulk(ctx, b) },
		metrics: []string{"goodput_mbps", "cpu_s_per_gb", "allocs_per_mb"},
	},
	"rr1": {
		title:   "64-byte request, 1 KiB answer, a fresh stream each, one at a time",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.rr(ctx, b, 1) },
		metrics: []string{"requests_per_s", "cpu_us_per_request", "allocs_per_request"},
	},
	"rr100": {
		title: "64-byte request, 1 KiB answer, a fresh stream each, 100 at a time",
		run: func(ctx context.Context, x impl, b *bench) error {
			b.Requests *= rr100Factor
			return x.rr(ctx, b, 100)
		},
		metrics: []string{"requests_per_s", "cpu_us_per_request", "allocs_per_request"},
	},
	"hs": {
		title:   "full handshakes, 8 at a time, one request and answer each",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.hs(ctx, b) },
		metrics: []string{"handshakes_per_s", "cpu_us_per_handshake", "allocs_per_handshake"},
	},
	"mem": {
		title:   "idle session pairs, what each holds at both ends together",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.mem(ctx, b) },
		metrics: []string{"heap_kib_per_pair", "stack_kib_per_pair", "rss_kib_per_pair", "goroutines_per_pair"},
	},
}

func workloadNames() []string { return []string{"bulk", "rr1", "rr100", "hs", "mem"} }

// units of the metrics, as the JSON has them.
var units = map[string]string{
	"goodput_mbps":         "Mbit/s",
	"cpu_s_per_gb":         "s/GB",
	"allocs_per_mb":        "1/MB",
	"requests_per_s":       "1/s",
	"cpu_us_per_request":   "us",
	"allocs_per_request":   "1",
	"handshakes_per_s":     "1/s",
	"cpu_us_per_handshake": "us",
	"allocs_per_handshake": "1",
	"heap_kib_per_pair":    "KiB",
	"stack_kib_per_pair":   "KiB",
	"rss_kib_per_pair":     "KiB",
	"goroutines_per_pair":  "1",
}

// A stack is a transport with sessions and streams; overStreams turns one into
// an impl, so that all stacks run the very same applications.
type stack interface {
	listen(b *bench) (listener, error)
	dialer(b *bench) (dialer, error)
}

// A listener is the serving endpoint.
type listener interface {
	addr() string
	accept(ctx context.Context) (session, error)
	close()
}

// A dialer is the one client endpoint that all sessions of a measurement start from.
type dialer interface {
	// dial returns when the handshake is complete.
	dial(ctx context.Context, addr string) (session, error)
	close()
}

// A session is one end of a connection.
type session interface {
	open(ctx context.Context) (stream, error)
	accept(ctx context.Context) (stream, error)
	tls() tls.ConnectionState
	close() // at once, with code 0; harmless when the session is over
}

// A stream is one end of a bidirectional stream.
type stream interface {
	io.Reader
	io.Writer
	// finish writes p and ends the write side, the way the implementation does this best.
	finish(p []byte) error
	// done says that everything up to the end of the stream was read.
	done()
}
