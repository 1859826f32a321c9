package quic

import (
	"crypto/tls"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The defaults of the API document.
const (
	defaultActiveConnectionIDs = 2
	defaultCongestion          = "reno"
	defaultHighWaterMark       = transport.HighWater
	defaultHandshakeTimeout    = 10 * time.Second
	defaultIdleTimeout         = 10 * time.Second
	defaultMaxAckDelay         = 25 * time.Millisecond
	defaultMaxData             = 1 << 20
	defaultMaxUDPPayload       = 65_527
	defaultMaxDatagramSize     = 1452 // what an Ethernet frame has room for behind IPv6's header
	defaultMaxStreamData       = 256 << 10
	defaultMaxStreamsBidi      = 100
	defaultMaxStreamsUni       = 3
	defaultPerHost             = 100
	defaultResetsPerHost       = 10
	defaultRetryTokenTimeout   = 10 * time.Second
	defaultCallbackTimeout     = 60 * time.Second
)

// The idle timeouts that can be said: on the wire they are whole milliseconds, and what is
// longer than a lifetime is cut off.
const (
	minIdleTimeout = time.Millisecond
	maxIdleTimeout = 1 << 42 * time.Millisecond // no limit: of an option
)

// minKeepAlive is the least silence that a PING may be sent after: a number without its
// unit would otherwise be a flood.
const minKeepAlive = 100 * time.Millisecond

// minDCID is how many bytes the first destination connection ID of a client has at least
// (RFC 9000 §7.2).
const minDCID = 8

// maxReaders bounds sockets and goroutines by something that no machine's cores reach.
const maxReaders = 256 // no limit: of an option

// maxInt is the largest number that an option can be: what a QUIC varint holds.
const maxInt = 1<<62 - 1 // no limit: of the format

// maxUnlimited is how many server sessions a socket has where nobody sets MaxConnections: as many as the API
// document can count.
const maxUnlimited = 1<<53 - 1

// maxCount is the largest limit on sessions and replies: that one where an int holds it.
const maxCount = min(math.MaxInt, maxUnlimited) // no limit: of an option

// wantALPN says where the name of the application protocol can be, without which there is no session
// (RFC 9001 §8.1).
const wantALPN = "a protocol's name here or in TLS.NextProtos"

// checker collects the first thing that is wrong with a struct of options.
type checker struct {
	in  string // the struct's name
	err *OptionError
}

func (c *checker) fail(option string, value any, code, want string) {
	if c.err == nil {
		c.err = &OptionError{Option: c.in + "." + option, Value: value, Want: want, code: code}
	}
}

// failWith is fail with an error that tells more.
func (c *checker) failWith(option string, value any, code, want string, err error) {
	if c.err == nil {
		c.fail(option, value, code, want)
		c.err.Err = err
	}
}

// result returns the error, nil if there was none.
func (c *checker) result() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// count resolves a number: 0 is def, None is 0 where low allows it.
func count[T int | int64](c *checker, option string, v, def, low, high T) T {
	switch {
	case v == 0:
		return def
	case v == None && low == 0:
		return 0
	case v < max(low, 1) || v > high:
		want := fmt.Sprintf("%d to %d", max(low, 1), high)
		if high+1 < 0 { // the largest that there is
			want = fmt.Sprintf("%d or more", max(low, 1))
		}
		if low == 0 {
			want += ", or None for 0"
		}
		c.fail(option, v, CodeOutOfRange, want)
	}
	return v
}

// duration resolves a time: 0 is def, None is 0 where zero allows it.
func (c *checker) duration(option string, v, def time.Duration, zero bool, high time.Duration) time.Duration {
	switch {
	case v == 0:
		return def
	case v == None && zero:
		return 0
	case v < 0 || v > high:
		want := "more than 0"
		switch {
		case high != math.MaxInt64:
			want = fmt.Sprintf("up to %v", high)
		case def > 0:
			want += fmt.Sprintf(", or 0 for %v", def)
		}
		if zero {
			want += ", or None for 0"
		}
		c.fail(option, v, CodeOutOfRange, want)
	}
	return v
}

// idle resolves an idle timeout. The wire has whole milliseconds, so what is not one is
// rounded up, and what is less than one is taken for a number without its unit.
func (c *checker) idle(option string, v time.Duration) time.Duration {
	switch {
	case v == 0:
		return defaultIdleTimeout
	case v == None:
		return 0
	case v < minIdleTimeout:
		c.fail(option, v, CodeOutOfRange, fmt.Sprintf("%v or more, or None", minIdleTimeout))
		return v
	}
	return (min(v, maxIdleTimeout) + time.Millisecond - 1).Truncate(time.Millisecond)
}

// alpn checks the names of application protocols that count: alpn or else list.
func (c *checker) alpn(alpn string, t *tls.Config) {
	const longest = 255 // RFC 7301 §3.1
	if n := len(alpn); n > longest {
		c.fail("ALPN", fmt.Sprintf("%d bytes long", n), CodeInvalidArgValue, "1 to 255 bytes")
	}
	if alpn != "" || t == nil {
		return
	}
	for i, name := range t.NextProtos {
		if n := len(name); n == 0 || n > longest {
			c.fail(fmt.Sprintf("TLS.NextProtos[%d]", i), fmt.Sprintf("%d bytes long", n), CodeInvalidArgValue, "1 to 255 bytes")
		}
	}
}

// name resolves one of a few words: "" is the first.
func (c *checker) name(option, v string, words ...string) string {
	if v == "" {
		return words[0]
	}
	for _, w := range words {
		if v == w {
			return v
		}
	}
	c.fail(option, v, CodeInvalidArgValue, fmt.Sprintf("one of %q", words))
	return v
}

func (c *checker) port(option string, v, low int) {
	if v < low || v > 65_535 {
		c.fail(option, v, CodeSocketBadPort, fmt.Sprintf("%d to 65535", low))
	}
}

// resolved returns the options with their defaults, or what is wrong with them.
func (o sessionOptions) resolved(c *checker) sessionOptions {
	o.activeConnectionIDLimit = count(c, "ActiveConnectionIDLimit", o.activeConnectionIDLimit, defaultActiveConnectionIDs, 2, 8)
	o.congestionAlgorithm = c.name("CongestionAlgorithm", o.congestionAlgorithm, defaultCongestion, "cubic")
	o.highWaterMark = count(c, "HighWaterMark", o.highWaterMark, defaultHighWaterMark, 0, math.MaxInt)
	o.idleTimeout = c.idle("IdleTimeout", o.idleTimeout)
	if o.keepAlive == None {
		o.keepAlive = 0
	}
	if o.keepAlive != 0 && o.keepAlive < minKeepAlive {
		c.fail("KeepAlive", o.keepAlive, CodeOutOfRange, fmt.Sprintf("0, or %v or more", minKeepAlive))
	}
	o.handshakeTimeout = c.duration("HandshakeTimeout", o.handshakeTimeout, defaultHandshakeTimeout, false, math.MaxInt64)
	o.callbackTimeout = c.duration("CallbackTimeout", o.callbackTimeout, defaultCallbackTimeout, false, math.MaxInt64)
	o.maxAckDelay = c.duration("MaxAckDelay", o.maxAckDelay, defaultMaxAckDelay, true, (1<<14-1)*time.Millisecond)
	o.maxData = count(c, "MaxData", o.maxData, defaultMaxData, 0, maxInt)
	o.maxUDPPayloadSize = min(count(c, "MaxUDPPayloadSize", o.maxUDPPayloadSize, defaultMaxUDPPayload, 1200, math.MaxInt), defaultMaxUDPPayload)
	o.maxStreamDataBidiLocal = count(c, "MaxStreamDataBidiLocal", o.maxStreamDataBidiLocal, defaultMaxStreamData, 0, maxInt)
	o.maxStreamDataBidiRemote = count(c, "MaxStreamDataBidiRemote", o.maxStreamDataBidiRemote, defaultMaxStreamData, 0, maxInt)
	o.maxStreamDataUni = count(c, "MaxStreamDataUni", o.maxStreamDataUni, defaultMaxStreamData, 0, maxInt)
	o.maxStreamsBidi = count(c, "MaxStreamsBidi", o.maxStreamsBidi, defaultMaxStreamsBidi, 0, 1<<60)
	o.maxStreamsUni = count(c, "MaxStreamsUni", o.maxStreamsUni, defaultMaxStreamsUni, 0, 1<<60)
	o.maxDatagramFrameSize = count(c, "MaxDatagramFrameSize", o.maxDatagramFrameSize, 0, 0, maxDatagramFrameSize)
	o.maxDatagramSize = count(c, "MaxDatagramSize", o.maxDatagramSize, defaultMaxDatagramSize, wire.MinInitialSize, dgram.MaxBatchBytes)
	return o
}

// maxDatagramFrameSize is larger than any packet (RFC 9221 §3).
const maxDatagramFrameSize = 65_535 // no limit: of the format

// config returns what the machine is told of resolved options.
func (o *sessionOptions) config() transport.Config {
	p := wire.DefaultParameters()
	p.MaxIdleTimeout = o.idleTimeout
	p.MaxUDPPayload = int64(o.maxUDPPayloadSize)
	p.MaxData = o.maxData
	p.MaxStreamDataBidiLocal = o.maxStreamDataBidiLocal
	p.MaxStreamDataBidiRemote = o.maxStreamDataBidiRemote
	p.MaxStreamDataUni = o.maxStreamDataUni
	p.MaxStreamsBidi = o.maxStreamsBidi
	p.MaxStreamsUni = o.maxStreamsUni
	p.MaxDatagramFrame = int64(o.maxDatagramFrameSize)
	p.MaxAckDelay = o.maxAckDelay
	if o.maxAckDelay >= recovery.MinAckDelay { // whoever wants a shorter delay has asked for every ACK at once
		p.HasMinAckDelay, p.MinAckDelay = true, recovery.MinAckDelay
	}
	p.ActiveCIDLimit = int64(o.activeConnectionIDLimit)
	return transport.Config{
		Params:            p,
		Rand:              random,
		Pool:              chunks,
		CongestionControl: o.congestionAlgorithm,
		HandshakeTimeout:  o.handshakeTimeout,
		KeepAlive:         o.keepAlive,
		MaxDatagram:       o.maxDatagramSize,
		MTUDiscoveryAfter: discoverAfter,
	}
}

// discoverAfter is how many stream bytes a session sends before it finds out about
// larger datagrams: what they save has to pay for the probe first.
const discoverAfter = 16 << 10

// resolve puts the defaults in place, or tells what is wrong.
func (o *SocketOptions) resolve() error {
	c := &checker{in: "SocketOptions"}
	if o.QLogFormat > QLogJSON {
		c.fail("QLogFormat", o.QLogFormat, CodeOutOfRange, "QLogSeq or QLogJSON")
	}
	if n := o.MaxConnections; n == 0 {
		o.MaxConnections = maxCount
	} else if n < 0 || n > maxCount {
		c.fail("MaxConnections", n, CodeOutOfRange, fmt.Sprintf("1 to %d, or 0 for no limit", maxCount))
	}
	o.MaxConnectionsPerHost = count(c, "MaxConnectionsPerHost", o.MaxConnectionsPerHost, defaultPerHost, 1, maxCount)
	o.MaxStatelessResetsPerHost = count(c, "MaxStatelessResetsPerHost", o.MaxStatelessResetsPerHost, defaultResetsPerHost, 1, maxCount)
	if d := o.RetryTokenTimeout; d != 0 && (d < time.Second || d > time.Minute || d%time.Second != 0) {
		c.fail("RetryTokenTimeout", d, CodeOutOfRange, "1s to 60s in whole seconds")
	} else if d == 0 {
		o.RetryTokenTimeout = defaultRetryTokenTimeout
	}
	if n := len(o.StatelessResetSecret); o.StatelessResetSecret != nil && n != 16 {
		c.fail("StatelessResetSecret", fmt.Sprintf("%d bytes", n), CodeInvalidArgValue, "16 bytes")
	}
	if n := len(o.TokenSecret); o.TokenSecret != nil && n != 32 {
		c.fail("TokenSecret", fmt.Sprintf("%d bytes", n), CodeInvalidArgValue, "32 bytes")
	}
	if o.TokenStore == nil {
		o.TokenStore = NewTokenStore(0)
	}
	if o.PacketConn != nil && o.Endpoint.PacketConn != nil {
		c.fail("PacketConn", "set", CodeInvalidArgValue, "nothing beside Endpoint.PacketConn, which is the same")
	} else if o.PacketConn != nil {
		o.Endpoint.PacketConn = o.PacketConn
	}
	if err := o.Endpoint.resolve("SocketOptions.Endpoint"); err != nil {
		return err
	}
	o.Client.session().resolved(in(c, "SocketOptions.Client"))
	o.Client.firstVersion(c)
	c.alpn(o.Client.ALPN, o.Client.TLS)
	checkTLS(c, o.Client.TLS, o.Client.SecureContext)
	o.Server.session().resolved(in(c, "SocketOptions.Server"))
	c.versions("Versions", o.Server.Versions)
	c.alpn(o.Server.ALPN, o.Server.TLS)
	checkTLS(c, o.Server.TLS, o.Server.SecureContext)
	checkPreferred(c, o.Server.PreferredAddress)
	return c.result()
}

func in(c *checker, name string) *checker {
	c.in = name
	return c
}

func (o *EndpointOptions) resolve(name string) error {
	c := &checker{in: name}
	o.Type = c.name("Type", o.Type, UDP4, UDP6, UDP6Only)
	c.port("Port", o.Port, 0)
	o.ReceiveBuffer = count(c, "ReceiveBuffer", o.ReceiveBuffer, 0, 1, math.MaxInt32)
	o.SendBuffer = count(c, "SendBuffer", o.SendBuffer, 0, 1, math.MaxInt32)
	o.Readers = count(c, "Readers", o.Readers, 1, 1, maxReaders)
	if o.Readers > 1 && o.PacketConn != nil {
		c.fail("Readers", o.Readers, CodeInvalidArgValue, "1 with a PacketConn, which is one socket")
	}
	return c.result()
}

// resolve checks what only clients have, and returns the rest with its defaults.
func (o *ConnectOptions) resolve(base *ConnectOptions) (sessionOptions, error) {
	c := &checker{in: "ConnectOptions"}
	so := o.session().over(base.session()).resolved(c)
	*o = o.over(*base)
	o.Type = c.name("Type", o.Type, UDP4, UDP6)
	o.PreferredAddressPolicy = c.name("PreferredAddressPolicy", o.PreferredAddressPolicy, "reject", "accept")
	c.port("Port", o.Port, 1)
	if _, err := netip.ParseAddr(o.ServerName); err == nil {
		c.fail("ServerName", o.ServerName, CodeInvalidArgValue, "a host name, not an IP address")
	}
	if o.ALPN == "" && (o.TLS == nil || len(o.TLS.NextProtos) == 0) {
		c.fail("ALPN", nil, CodeMissingOption, wantALPN)
	}
	c.alpn(o.ALPN, o.TLS)
	checkTLS(c, o.TLS, o.SecureContext)
	if n := len(o.DCID); o.DCID != nil && (n < minDCID || n > wire.MaxConnectionIDLen) {
		c.fail("DCID", fmt.Sprintf("%d bytes", n), CodeInvalidArgValue, "8 to 20 bytes")
	}
	o.firstVersion(c)
	o.checkResumption(c)
	return so, c.result()
}

// resolve checks what only servers have, and returns the rest with its defaults.
func (o *ListenOptions) resolve(base *ListenOptions) (sessionOptions, error) {
	c := &checker{in: "ListenOptions"}
	so := o.session().over(base.session()).resolved(c)
	*o = o.over(*base)
	if o.ALPN == "" && (o.TLS == nil || len(o.TLS.NextProtos) == 0) {
		c.fail("ALPN", nil, CodeMissingOption, wantALPN)
	}
	c.alpn(o.ALPN, o.TLS)
	checkTLS(c, o.TLS, o.SecureContext)
	c.versions("Versions", o.Versions)
	o.checkCertificate(c)
	checkPreferred(c, o.PreferredAddress)
	o.checkClientCAs(c)
	if n := len(o.TicketData); n > maxTicketData {
		c.fail("TicketData", fmt.Sprintf("%d bytes", n), CodeInvalidArgValue, fmt.Sprintf("up to %d bytes", maxTicketData))
	}
	return so, c.result()
}
