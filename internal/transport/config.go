package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Config is what one connection, or all of a listener, are made with. It is not
// changed after use.
type Config struct {
	// Params are our transport parameters. Connection IDs and the reset token are
	// filled in by the connection; a PreferredAddress needs only its addresses.
	Params wire.Parameters

	Rand       func([]byte)                            // fills with random bytes
	Pool       stream.Pool                             // memory for stream data
	ResetToken func(wire.ConnectionID) wire.ResetToken // our stateless reset token for one of our IDs
	Tokens     *Tokens                                 // server: makes NEW_TOKEN tokens; nil for none

	// Versions are what this end speaks, most preferred first, of wire.Versions. Nil is all of
	// them: a client then prefers version 1, and a server what its client does.
	Versions []uint32

	CongestionControl   string        // "cubic", the default, or "reno"
	MaxDatagram         int           // largest datagram that path MTU discovery tries; 0 is 1452
	InitialDatagram     int           // size before discovery; 0 is 1200
	MTUDiscoveryAfter   int           // bytes of streams and datagrams to send before discovery begins: for less it does not pay
	DisableMTUDiscovery bool          // stay at InitialDatagram
	DisableECN          bool          // never mark
	DisablePacing       bool          // send what the window allows at once
	HandshakeTimeout    time.Duration // 0 is 10 s
	KeepAlive           time.Duration // a PING after this much silence; 0 is never
	InitialRTT          time.Duration // 0 is 333 ms
	MaxStreamWindow     int64         // auto-tuning stops here; 0 is 6 MiB
	MaxConnWindow       int64         // likewise; 0 is 15 MiB
	KeyUpdateAfter      int64         // packets in one key phase; 0 leaves it to package protect
	QLog                bool          // keep a log: see Conn.QLog

	// Client only.
	AcceptPreferred bool              // move to the server's preferred address
	FirstVersion    uint32            // of the first flight, of Versions; 0 is version 1 if that is among them, or else the first
	Token           []byte            // from an earlier EventNewToken, in a connection of FirstVersion
	DCID            wire.ConnectionID // of the first packets, 8 bytes or more; empty is random
	Delayed         bool              // send nothing, and let no time run, until Begin
	Resumed         *wire.Parameters  // the server's parameters, remembered with the ticket; nil means no 0-RTT
}

const (
	defaultMaxDatagram      = 1452
	defaultHandshakeTimeout = 10 * time.Second // no limit: for tests; quic says its own
	defaultMaxStreamWindow  = 6 << 20          // as far as a window grows with what the program reads
	defaultMaxConnWindow    = 15 << 20         // likewise, for all streams
)

func (c *Config) maxDatagram() int {
	if c.MaxDatagram == 0 {
		return max(defaultMaxDatagram, c.initialDatagram())
	}
	return max(c.MaxDatagram, c.initialDatagram())
}

func (c *Config) initialDatagram() int { return max(c.InitialDatagram, wire.MinInitialSize) }

func (c *Config) handshakeTimeout() time.Duration {
	if c.HandshakeTimeout == 0 {
		return defaultHandshakeTimeout
	}
	return c.HandshakeTimeout
}

func (c *Config) maxStreamWindow() int64 {
	if c.MaxStreamWindow == 0 {
		return defaultMaxStreamWindow
	}
	return c.MaxStreamWindow
}

func (c *Config) maxConnWindow() int64 {
	if c.MaxConnWindow == 0 {
		return defaultMaxConnWindow
	}
	return c.MaxConnWindow
}
