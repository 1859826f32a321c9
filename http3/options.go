package http3

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Options are the choices for HTTP/3 on a session: what this end tells its peer in SETTINGS,
// and what it takes. Zero means the default, and quic.None an explicit 0 (CON-028).
type Options struct {
	QPACKMaxTableCapacity int // bytes of dynamic table for what the peer sends; 0 means 4096, to 1 MiB (CON-029)
	QPACKBlockedStreams   int // streams that may wait for that table; 0 means 100, to 1000 (CON-030)

	// MaxHeaderListSize is how many bytes the fields of one block may have, each counted
	// with 32 more (RFC 9114 §4.2.2); 0 means 65,535, to 16 MiB (CON-031). What the blocks of all requests
	// cost that are not over, in memory and beyond 8 KiB for each, has a bound, too: at a server 16 KiB for each stream that
	// the client may have open (MaxStreamsBidi of the quic.Session's options), at least 1 MiB and twice this.
	// One block alone always has room. See Stats.HeadersKept.
	MaxHeaderListSize int
	// MaxHeaderPairs is how many fields a block may have; 0 means 128, to 10,000.
	MaxHeaderPairs int
	// MaxHeaderLength is how many bytes a block may have as it is sent; 0 means 16,384, to
	// 16 MiB. What goes over one of these three limits fails its stream and nothing else.
	MaxHeaderLength int

	// MaxPushes is how many pushes a client takes in all; 0 means 65,535, None none, to 1<<32
	// (CON-032). Servers do not read it.
	MaxPushes int64

	Datagrams       bool // HTTP datagrams (RFC 9297); for NewSession, the quic.Session must have a MaxDatagramFrameSize
	ExtendedConnect bool // a server takes CONNECT with a :protocol (RFC 9220)

	Hooks SessionHooks
}

// Defaults that bound what a peer can make this end hold.
const (
	defaultTableCapacity  = 4096
	defaultBlockedStreams = 100
	defaultHeaderList     = 65535
	defaultHeaderPairs    = 128
	defaultHeaderLength   = 16384
)

// settled returns the options with their defaults, or what is wrong with them.
func (o Options) settled() (Options, error) {
	var err error
	settle(&err, "QPACKMaxTableCapacity", &o.QPACKMaxTableCapacity, defaultTableCapacity, 1<<20)
	settle(&err, "QPACKBlockedStreams", &o.QPACKBlockedStreams, defaultBlockedStreams, 1000)
	settle(&err, "MaxHeaderListSize", &o.MaxHeaderListSize, defaultHeaderList, 16<<20)
	settle(&err, "MaxHeaderPairs", &o.MaxHeaderPairs, defaultHeaderPairs, 10000)
	settle(&err, "MaxHeaderLength", &o.MaxHeaderLength, defaultHeaderLength, 16<<20)
	settle(&err, "MaxPushes", &o.MaxPushes, 65535, 1<<32)
	return o, err
}

// settle gives an option its default, or notes what is wrong with it unless something was before.
func settle[N int | int64](err *error, name string, v *N, def, high N) {
	switch {
	case *v < quic.None || *v > high:
		if *err == nil {
			*err = &quic.OptionError{Option: "http3.Options." + name, Value: *v, Want: fmt.Sprintf("1 to %d, 0 for %d, or None for 0", high, def)}
		}
	case *v == 0:
		*v = def
	case *v == quic.None:
		*v = 0
	}
}

// minStreamsUni is how many unidirectional streams each end lets its peer open at least: the control
// stream, and the two of QPACK (RFC 9114 §6.2).
const minStreamsUni = 3

// grantsEnough returns an error if fewer unidirectional streams are allowed than HTTP/3 needs.
func grantsEnough(option string, n int64) error {
	if n >= minStreamsUni {
		return nil
	}
	return &quic.OptionError{Option: option, Value: n, Want: fmt.Sprintf("%d or more, which HTTP/3 needs, or 0 for the default", minStreamsUni)}
}

// settings returns what the peer is told.
func (o *Options) settings(server bool) Settings {
	return Settings{
		QPACKMaxTableCapacity: uint64(o.QPACKMaxTableCapacity),
		QPACKBlockedStreams:   uint64(o.QPACKBlockedStreams),
		MaxFieldSectionSize:   uint64(o.MaxHeaderListSize),
		ExtendedConnect:       server && o.ExtendedConnect,
		Datagrams:             o.Datagrams,
	}
}

// SessionHooks are told what happens to a session, one at a time and in order, with those
// of its quic.Session; see quic.SessionHooks for how they run.
type SessionHooks struct {
	Settings func(s Settings) error // the peer's SETTINGS have come: once
	// GoAway is told the peer's wish to end the session: the server takes no request stream
	// from id on, or the client no push from id on (RFC 9114 §5.2).
	GoAway func(id int64) error
	// Stream is given each request stream that a client opens, and each push stream of a
	// server's. With it there is no AcceptStream.
	Stream func(st *Stream) error
}
