package main

import (
	"context"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// testcase says how an end plays a case; nil is one that it does not know. The names are the
// runner's: several of its cases differ in the network alone, and have the same name here.
type testcase struct {
	client func(e *endpoint, ctx context.Context) error
	server func(e *endpoint, o *serverOptions)
}

// play returns what plays the case, nil if it cannot be.
func (c testcase) play(e *endpoint) func(context.Context) error {
	switch {
	case c.client != nil:
		return func(ctx context.Context) error { return c.client(e, ctx) }
	case c.server != nil:
		return func(ctx context.Context) error {
			var o serverOptions
			c.server(e, &o)
			o.http3 = o.http3 || e.always3
			return e.serve(ctx, &o)
		}
	}
	return nil
}

// serverOptions is what a case changes at a server.
type serverOptions struct {
	retry bool   // every client proves its address first
	moves bool   // there is a preferred address
	http3 bool   // in place of HTTP/0.9
	suite string // the only cipher suite, if not ""

	versions []quic.Version // nil is the default
}

const chacha20 = "TLS_CHACHA20_POLY1305_SHA256"

var serverCases = map[string]testcase{
	"handshake":           {server: plain},
	"transfer":            {server: plain},
	"resumption":          {server: plain},
	"zerortt":             {server: plain},
	"multiconnect":        {server: plain},
	"keyupdate":           {server: plain},
	"ecn":                 {server: plain},
	"v2":                  {server: func(_ *endpoint, o *serverOptions) { o.versions = []quic.Version{quic.Version2, quic.Version1} }},
	"retry":               {server: func(_ *endpoint, o *serverOptions) { o.retry = true }},
	"http3":               {server: func(_ *endpoint, o *serverOptions) { o.http3 = true }},
	"connectionmigration": {server: func(_ *endpoint, o *serverOptions) { o.moves = true }},
	"chacha20":            {server: func(_ *endpoint, o *serverOptions) { o.suite = chacha20 }},
}

func plain(*endpoint, *serverOptions) {}

var clientCases = map[string]testcase{
	"handshake":           {client: (*endpoint).transfer},
	"transfer":            {client: (*endpoint).transfer},
	"retry":               {client: (*endpoint).transfer},
	"ecn":                 {client: (*endpoint).transfer},
	"connectionmigration": {client: (*endpoint).transfer},
	"v2":                  {client: (*endpoint).version2},
	"multiconnect":        {client: (*endpoint).multiconnect},
	"resumption":          {client: (*endpoint).resumption},
	"zerortt":             {client: (*endpoint).zeroRTT},
	"keyupdate":           {client: (*endpoint).keyUpdate},
	"http3":               {client: (*endpoint).http3},
}

// transfer fetches all files at once, over one session.
func (e *endpoint) transfer(ctx context.Context) error {
	if e.always3 {
		return e.http3(ctx)
	}
	return e.once(ctx, quic.ConnectOptions{}, e.requests, nil)
}

// version2 begins in version 1 and would rather go on in version 2.
func (e *endpoint) version2(ctx context.Context) error {
	if e.always3 {
		return errUnsupported
	}
	return e.once(ctx, quic.ConnectOptions{Versions: []quic.Version{quic.Version2, quic.Version1}, FirstVersion: quic.Version1}, e.requests, nil)
}

// multiconnect fetches each file over a session of its own.
func (e *endpoint) multiconnect(ctx context.Context) error {
	for _, r := range e.requests {
		if e.always3 {
			if err := e.once3(ctx, []string{r}); err != nil {
				return err
			}
			continue
		}
		if err := e.once(ctx, quic.ConnectOptions{}, []string{r}, nil); err != nil {
			return err
		}
	}
	return nil
}

// resumption fetches the first file, and the others over a session that resumes that one.
func (e *endpoint) resumption(ctx context.Context) error {
	if e.always3 {
		return e.again3(ctx, quic.ConnectOptions{DisableEarlyData: true})
	}
	return e.again(ctx, quic.ConnectOptions{DisableEarlyData: true})
}

// zeroRTT is resumption with requests that are early data.
func (e *endpoint) zeroRTT(ctx context.Context) error {
	if e.always3 {
		return e.again3(ctx, quic.ConnectOptions{})
	}
	return e.again(ctx, quic.ConnectOptions{})
}

// http3 fetches all files at once, over one session and HTTP/3.
func (e *endpoint) http3(ctx context.Context) error { return e.once3(ctx, e.requests) }

// keyUpdate fetches all files, and updates the keys meanwhile.
func (e *endpoint) keyUpdate(ctx context.Context) error {
	if e.always3 {
		return errUnsupported // a Transport's sessions are its own
	}
	return e.once(ctx, quic.ConnectOptions{}, e.requests, update)
}
