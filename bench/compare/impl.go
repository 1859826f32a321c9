package main

import (
	"context"
	"crypto/tls"
	"io"
	"slices"
)

// An impl is what one implementation runs its workloads with. lacks lists those
// that it has no counterpart for.
type impl struct {
	transport transport
	http      web // nil where there is none
	lacks     []string
}

// impls are the implementations by name.
var impls = map[string]impl{
	"cinnabar": {transport: overStreams{stack: cinnabar{}}, http: cinnabarHTTP{}},
	"quic-go":  {transport: overStreams{stack: quicGo{}}, http: quicGoHTTP{}},
	"xnet":     {transport: overStreams{stack: xnet{}}, lacks: []string{"h3-1", "h3-100", "h3bulk"}},
	"tls":      {transport: overStreams{stack: tcp{}, persistent: true}, http: http2{}},
	"raw":      {transport: raw{}, lacks: []string{"rr100", "mem", "h3-1", "h3-100", "h3bulk"}},
}

// implNames lists the implementations in the order of reports.
func implNames() []string { return []string{"cinnabar", "quic-go", "xnet", "tls", "raw"} }

func supports(impl, workload string) bool { return !slices.Contains(impls[impl].lacks, workload) }

// A transport runs the workloads that are not HTTP's.
type transport interface {
	bulk(ctx context.Context, b *bench) error
	rr(ctx context.Context, b *bench, atOnce int) error
	hs(ctx context.Context, b *bench) error
	mem(ctx context.Context, b *bench) error
}

// factor100 is how many times more requests rr100 and h3-100 make than rr1 and h3-1.
const factor100 = 4

// What workloads of one kind report.
var (
	bulkMetrics    = []string{"goodput_mbps", "cpu_s_per_gb", "allocs_per_mb"}
	requestMetrics = []string{"requests_per_s", "cpu_us_per_request", "allocs_per_request"}
)

// workloads are the workloads by name. metrics are in the order of reports.
var workloads = map[string]struct {
	title   string
	run     func(ctx context.Context, x impl, b *bench) error
	metrics []string
}{
	"bulk": {
		title:   "one stream, server to client",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.bulk(ctx, b) },
		metrics: bulkMetrics,
	},
	"rr1": {
		title:   "64-byte request, 1 KiB answer, a fresh stream each, one at a time",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.rr(ctx, b, 1) },
		metrics: requestMetrics,
	},
	"rr100": {
		title: "64-byte request, 1 KiB answer, a fresh stream each, 100 at a time",
		run: func(ctx context.Context, x impl, b *bench) error {
			b.Requests *= factor100
			return x.transport.rr(ctx, b, 100)
		},
		metrics: requestMetrics,
	},
	"hs": {
		title:   "full handshakes, 8 at a time, one request and answer each",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.hs(ctx, b) },
		metrics: []string{"handshakes_per_s", "cpu_us_per_handshake", "allocs_per_handshake"},
	},
	"mem": {
		title:   "idle session pairs, what each holds at both ends together",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.mem(ctx, b) },
		metrics: []string{"heap_kib_per_pair", "stack_kib_per_pair", "rss_kib_per_pair", "goroutines_per_pair"},
	},
	"h3-1": {
		title:   "HTTP GET, 1 KiB response, one at a time; HTTP/2 over tls",
		run:     func(ctx context.Context, x impl, b *bench) error { return overHTTP{x.http}.requests(ctx, b, 1) },
		metrics: requestMetrics,
	},
	"h3-100": {
		title: "HTTP GET, 1 KiB response, 100 at a time on one connection; HTTP/2 over tls",
		run: func(ctx context.Context, x impl, b *bench) error {
			b.Requests *= factor100
			return overHTTP{x.http}.requests(ctx, b, 100)
		},
		metrics: requestMetrics,
	},
	"h3bulk": {
		title:   "HTTP GET, one large response; HTTP/2 over tls",
		run:     func(ctx context.Context, x impl, b *bench) error { return overHTTP{x.http}.bulk(ctx, b) },
		metrics: bulkMetrics,
	},
}

func workloadNames() []string {
	return []string{"bulk", "rr1", "rr100", "hs", "mem", "h3-1", "h3-100", "h3bulk"}
}

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

// A stack has sessions and streams; overStreams makes a transport of one, so
// that all stacks run the very same applications.
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
