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
	streams   overStreams // the transport again, for the workloads that need streams
	http      web         // nil where there is none
	lacks     []string
}

// impls are the implementations by name.
var impls = map[string]impl{
	"cinnabar": withStreams(overStreams{stack: cinnabar{}}, cinnabarHTTP{}),
	"quic-go":  withStreams(overStreams{stack: quicGo{}}, quicGoHTTP{}),
	"xnet":     withStreams(overStreams{stack: xnet{}}, nil, "bulk-jumbo", "bulk-loss", "h3-1", "h3-100", "h3bulk"),
	"tls":      withStreams(overStreams{stack: tcp{}, persistent: true}, http2{}, "bulk-loss"),
	"raw": {transport: raw{}, lacks: []string{"bulk-up", "bulk-8", "bulk-jumbo", "bulk-loss",
		"rr100", "fair", "mem", "many", "h3-1", "h3-100", "h3bulk"}},
}

func withStreams(o overStreams, http web, lacks ...string) impl {
	return impl{transport: o, streams: o, http: http, lacks: lacks}
}

// implNames lists the implementations in the order of reports.
func implNames() []string { return []string{"cinnabar", "quic-go", "xnet", "tls", "raw"} }

func supports(impl, workload string) bool { return !slices.Contains(impls[impl].lacks, workload) }

// A transport runs the workloads that need neither streams nor HTTP.
type transport interface {
	bulk(ctx context.Context, b *bench) error
	bulkSessions(ctx context.Context, b *bench) error
	rr(ctx context.Context, b *bench, atOnce int) error
	hs(ctx context.Context, b *bench) error
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
