package main

import "context"

// A workload is what all implementations do and what is read meanwhile.
type workload struct {
	title   string
	run     func(ctx context.Context, x impl, b *bench) error
	metrics []string // in the order of reports
	slow    bool     // runs only when it is asked for
}

// factor100 is how many times more requests rr100 and h3-100 make than rr1 and h3-1.
const factor100 = 4

// What workloads of one kind report.
var (
	bulkMetrics    = []string{"goodput_mbps", "cpu_s_per_gb", "allocs_per_mb"}
	requestMetrics = []string{"requests_per_s", "cpu_us_per_request", "allocs_per_request"}
)

// workloads are the workloads by name.
var workloads = map[string]workload{
	"bulk": {
		title:   "one stream, server to client",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.bulk(ctx, b) },
		metrics: bulkMetrics,
	},
	"bulk-up": {
		title:   "one stream, client to server",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.bulkUp(ctx, b) },
		metrics: bulkMetrics,
		slow:    true,
	},
	"bulk-8": {
		title:   "eight streams of one session at once, server to client; eight connections over tls",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.bulkStreams(ctx, b) },
		metrics: bulkMetrics,
		slow:    true,
	},
	"bulk-n": {
		title:   "eight sessions at once, one stream each, server to client",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.bulkSessions(ctx, b) },
		metrics: bulkMetrics,
		slow:    true,
	},
	"bulk-jumbo": {
		title:   "one stream, server to client, datagrams as large as path MTU discovery makes them",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.bulk(ctx, b) },
		metrics: bulkMetrics,
		slow:    true,
	},
	"bulk-loss": {
		title:   "one stream, server to client, over a slow and lossy path",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.bulkLoss(ctx, b) },
		metrics: []string{"goodput_mbps", "sent_per_byte", "queue_drops"},
		slow:    true,
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
	"fair": {
		title:   "requests as in rr1 beside a bulk stream of the same session; beside another connection over tls",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.fair(ctx, b) },
		metrics: []string{"p50_us", "p99_us", "max_us", "goodput_mbps"},
	},
	"hs": {
		title:   "full handshakes, 8 at a time, one request and answer each",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.transport.hs(ctx, b) },
		metrics: []string{"handshakes_per_s", "cpu_us_per_handshake", "allocs_per_handshake"},
	},
	"mem": {
		title:   "idle session pairs, what each holds at both ends together",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.mem(ctx, b) },
		metrics: []string{"heap_kib_per_pair", "stack_kib_per_pair", "rss_kib_per_pair", "goroutines_per_pair"},
	},
	"many": {
		title:   "many sessions, a few of them with requests as in rr1 at fixed times",
		run:     func(ctx context.Context, x impl, b *bench) error { return x.streams.many(ctx, b) },
		metrics: []string{"p50_us", "p99_us", "cpu_us_per_request", "heap_kib_per_pair", "stack_kib_per_pair"},
		slow:    true,
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

// workloadNames lists the workloads in the order of reports.
func workloadNames() []string {
	return []string{"bulk", "bulk-up", "bulk-8", "bulk-n", "bulk-jumbo", "bulk-loss", "rr1", "rr100", "fair",
		"hs", "mem", "many", "h3-1", "h3-100", "h3bulk"}
}

// defaultWorkloads lists those that run unless others are asked for.
func defaultWorkloads() []string {
	var names []string
	for _, name := range workloadNames() {
		if !workloads[name].slow {
			names = append(names, name)
		}
	}
	return names
}

// units of the metrics, as the JSON has them.
var units = map[string]string{
	"goodput_mbps":         "Mbit/s",
	"cpu_s_per_gb":         "s/GB",
	"allocs_per_mb":        "1/MB",
	"sent_per_byte":        "1",
	"queue_drops":          "1",
	"requests_per_s":       "1/s",
	"cpu_us_per_request":   "us",
	"allocs_per_request":   "1",
	"p50_us":               "us",
	"p99_us":               "us",
	"max_us":               "us",
	"handshakes_per_s":     "1/s",
	"cpu_us_per_handshake": "us",
	"allocs_per_handshake": "1",
	"heap_kib_per_pair":    "KiB",
	"stack_kib_per_pair":   "KiB",
	"rss_kib_per_pair":     "KiB",
	"goroutines_per_pair":  "1",
}
