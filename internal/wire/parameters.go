package wire

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// The identifiers of the transport parameters (RFC 9000 §18.2, RFC 9221 §3, RFC 9368 §3,
// draft-ietf-quic-ack-frequency).
const (
	paramOriginalDCID            = 0x00
	paramMaxIdleTimeout          = 0x01
	paramResetToken              = 0x02
	paramMaxUDPPayload           = 0x03
	paramMaxData                 = 0x04
	paramMaxStreamDataBidiLocal  = 0x05
	paramMaxStreamDataBidiRemote = 0x06
	paramMaxStreamDataUni        = 0x07
	paramMaxStreamsBidi          = 0x08
	paramMaxStreamsUni           = 0x09
	paramAckDelayExponent        = 0x0a
	paramMaxAckDelay             = 0x0b
	paramDisableActiveMigration  = 0x0c
	paramPreferredAddress        = 0x0d
	paramActiveCIDLimit          = 0x0e
	paramInitialSCID             = 0x0f
	paramRetrySCID               = 0x10
	paramVersionInformation      = 0x11
	paramMaxDatagramFrame        = 0x20
	paramMinAckDelay             = 0xff04de1b
)

// The limits on their values (RFC 9000 §18.2).
const (
	minMaxUDPPayload   = 1200
	maxAckDelayExp     = 20        // no limit: of the format
	maxMaxAckDelayMs   = 1<<14 - 1 // no limit: of the format
	minActiveCIDLimit  = 2
	maxIdleTimeoutMs   = 1 << 42        // no limit: ours: 139 years, where a longer one is cut off so that it fits a time.Duration
	beyondAckDelayUs   = 1 << 14 * 1000 // ours: above any max_ack_delay, where a larger min_ack_delay is cut off
	maxUnknownTracked  = 32             // ours: among how many unknown parameters duplicates are found
	defaultUDPPayload  = 65527
	defaultAckDelayExp = 3
	defaultAckDelay    = 25 * time.Millisecond
)

// Parameters are the transport parameters of one endpoint. Parsed ones are
// within the RFC's ranges; that the connection IDs match those of the handshake,
// and are there at all (RFC 9000 §7.3), is for the connection to check.
type Parameters struct {
	OriginalDCID, InitialSCID, RetrySCID          ConnectionID
	HasOriginalDCID, HasInitialSCID, HasRetrySCID bool

	MaxIdleTimeout time.Duration // 0 for none; whole milliseconds on the wire, rounded up
	HasResetToken  bool
	ResetToken     ResetToken
	MaxUDPPayload  int64 // bytes, at least 1200; default 65527

	MaxData                 int64 // bytes
	MaxStreamDataBidiLocal  int64 // bytes, for streams that the sender of the parameters opens
	MaxStreamDataBidiRemote int64 // bytes, for streams that its receiver opens
	MaxStreamDataUni        int64 // bytes
	MaxStreamsBidi          int64 // a count, at most 1<<60
	MaxStreamsUni           int64 // a count, at most 1<<60

	MaxAckDelay            time.Duration // below 2^14 ms, rounded up to whole ones; default 25 ms
	AckDelayExponent       uint8         // at most 20; default 3
	DisableActiveMigration bool
	PreferredAddress       *PreferredAddress   // nil for none
	ActiveCIDLimit         int64               // at least 2; default 2
	Versions               *VersionInformation // nil for none
	MaxDatagramFrame       int64               // bytes, with type and length; default 0: no DATAGRAM frames
	HasMinAckDelay         bool                // ACK_FREQUENCY and IMMEDIATE_ACK frames are welcome
	MinAckDelay            time.Duration       // at most MaxAckDelay; whole microseconds on the wire, rounded up
}

// PreferredAddress is where a server would rather be spoken to (RFC 9000 §9.6).
// IPv4 is of that family; an address that is not offered is the zero AddrPort, and
// one that is may be any, so that the receiver decides where it is willing to
// send. ID has sequence number 1.
type PreferredAddress struct {
	IPv4, IPv6 netip.AddrPort
	ID         ConnectionID // 1 to 20 bytes
	Token      ResetToken
}

// DefaultParameters returns what holds for an endpoint that sends no parameters.
func DefaultParameters() Parameters {
	return Parameters{
		MaxUDPPayload:    defaultUDPPayload,
		AckDelayExponent: defaultAckDelayExp,
		MaxAckDelay:      defaultAckDelay,
		ActiveCIDLimit:   minActiveCIDLimit,
	}
}

// Append appends the parameters in the form of the TLS extension (RFC 9000 §18),
// without those at their defaults.
func (p *Parameters) Append(b []byte) []byte {
	if p.HasOriginalDCID {
		b = appendParam(b, paramOriginalDCID, p.OriginalDCID.Bytes())
	}
	b = appendIntParam(b, paramMaxIdleTimeout, milliseconds(p.MaxIdleTimeout), 0)
	if p.HasResetToken {
		b = appendParam(b, paramResetToken, p.ResetToken[:])
	}
	b = appendIntParam(b, paramMaxUDPPayload, p.MaxUDPPayload, defaultUDPPayload)
	b = appendIntParam(b, paramMaxData, p.MaxData, 0)
	b = appendIntParam(b, paramMaxStreamDataBidiLocal, p.MaxStreamDataBidiLocal, 0)
	b = appendIntParam(b, paramMaxStreamDataBidiRemote, p.MaxStreamDataBidiRemote, 0)
	b = appendIntParam(b, paramMaxStreamDataUni, p.MaxStreamDataUni, 0)
	b = appendIntParam(b, paramMaxStreamsBidi, p.MaxStreamsBidi, 0)
	b = appendIntParam(b, paramMaxStreamsUni, p.MaxStreamsUni, 0)
	b = appendIntParam(b, paramAckDelayExponent, int64(p.AckDelayExponent), defaultAckDelayExp)
	b = appendIntParam(b, paramMaxAckDelay, milliseconds(p.MaxAckDelay), defaultAckDelay.Milliseconds())
	if p.DisableActiveMigration {
		b = appendParam(b, paramDisableActiveMigration, nil)
	}
	if p.PreferredAddress != nil {
		b = appendParam(b, paramPreferredAddress, p.PreferredAddress.append(nil))
	}
	b = appendIntParam(b, paramActiveCIDLimit, p.ActiveCIDLimit, minActiveCIDLimit)
	if p.HasInitialSCID {
		b = appendParam(b, paramInitialSCID, p.InitialSCID.Bytes())
	}
	if p.HasRetrySCID {
		b = appendParam(b, paramRetrySCID, p.RetrySCID.Bytes())
	}
	if p.Versions != nil {
		b = appendParam(b, paramVersionInformation, p.Versions.append(nil))
	}
	b = appendIntParam(b, paramMaxDatagramFrame, p.MaxDatagramFrame, 0)
	if p.HasMinAckDelay {
		const none = -1
		b = appendIntParam(b, paramMinAckDelay, int64((p.MinAckDelay+time.Microsecond-1)/time.Microsecond), none)
	}
	return b
}

// AppendGrease appends one of the parameters that are reserved for keeping
// receivers used to unknown ones (RFC 9000 §18.1), chosen by random.
func AppendGrease(b []byte, random uint64, data []byte) []byte {
	const count = (varint.Max-27)/31 + 1
	return appendParam(b, 27+31*(random%count), data)
}

// ParseParameters reads the parameters that a server, or a client, has sent. What
// is absent gets its default and what is unknown is passed over. The error is a
// TRANSPORT_PARAMETER_ERROR whose reason names the parameter and its value:
// duplicates, malformed values, values out of range, and what only a server may
// send from a client (RFC 9000 §7.4, §18.2).
func ParseParameters(b []byte, fromServer bool) (Parameters, *Error) {
	r := paramReader{p: DefaultParameters(), fromServer: fromServer}
	c := varint.NewCursor(b)
	for c.Len() > 0 && r.err == nil {
		id := c.Varint()
		value := c.VarintBytes()
		if c.Failed() {
			r.fail("transport parameters are cut short")
			break
		}
		r.param(id, value)
	}
	if r.err == nil && r.p.PreferredAddress != nil && r.p.HasInitialSCID && r.p.InitialSCID.Len() == 0 {
		r.fail("preferred_address from a server with an empty connection ID")
	}
	if r.err == nil && r.p.HasMinAckDelay && r.p.MinAckDelay > r.p.MaxAckDelay {
		r.fail("min_ack_delay %v is above max_ack_delay %v", r.p.MinAckDelay, r.p.MaxAckDelay)
	}
	if r.err != nil {
		return Parameters{}, r.err
	}
	return r.p, nil
}

// paramReader is the state of ParseParameters.
type paramReader struct {
	p          Parameters
	fromServer bool
	err        *Error // the first one
	known      uint64 // parameters seen, as bits by ID
	unknown    [maxUnknownTracked]uint64
	nUnknown   int
}

func (r *paramReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Code: TransportParameterError, Reason: fmt.Sprintf(format, args...)}
	}
}

// param takes in one parameter.
func (r *paramReader) param(id uint64, value []byte) {
	p := &r.p
	if r.seen(id) {
		r.fail("transport parameter %#x twice", id)
		return
	}
	switch id {
	case paramOriginalDCID:
		p.OriginalDCID, p.HasOriginalDCID = r.serverID("original_destination_connection_id", value), true
	case paramMaxIdleTimeout:
		ms := r.int("max_idle_timeout", value, 0, varint.Max)
		p.MaxIdleTimeout = time.Duration(min(ms, maxIdleTimeoutMs)) * time.Millisecond
	case paramResetToken:
		r.resetToken(value)
	case paramMaxUDPPayload:
		p.MaxUDPPayload = r.int("max_udp_payload_size", value, minMaxUDPPayload, varint.Max)
	case paramMaxData:
		p.MaxData = r.int("initial_max_data", value, 0, varint.Max)
	case paramMaxStreamDataBidiLocal:
		p.MaxStreamDataBidiLocal = r.int("initial_max_stream_data_bidi_local", value, 0, varint.Max)
	case paramMaxStreamDataBidiRemote:
		p.MaxStreamDataBidiRemote = r.int("initial_max_stream_data_bidi_remote", value, 0, varint.Max)
	case paramMaxStreamDataUni:
		p.MaxStreamDataUni = r.int("initial_max_stream_data_uni", value, 0, varint.Max)
	case paramMaxStreamsBidi:
		p.MaxStreamsBidi = r.int("initial_max_streams_bidi", value, 0, maxStreams)
	case paramMaxStreamsUni:
		p.MaxStreamsUni = r.int("initial_max_streams_uni", value, 0, maxStreams)
	case paramAckDelayExponent:
		p.AckDelayExponent = uint8(r.int("ack_delay_exponent", value, 0, maxAckDelayExp))
	case paramMaxAckDelay:
		p.MaxAckDelay = time.Duration(r.int("max_ack_delay", value, 0, maxMaxAckDelayMs)) * time.Millisecond
	case paramDisableActiveMigration:
		p.DisableActiveMigration = true
		if len(value) != 0 {
			r.fail("disable_active_migration has %d bytes, not none", len(value))
		}
	case paramPreferredAddress:
		r.preferredAddress(value)
	case paramActiveCIDLimit:
		p.ActiveCIDLimit = r.int("active_connection_id_limit", value, minActiveCIDLimit, varint.Max)
	case paramInitialSCID:
		p.InitialSCID, p.HasInitialSCID = r.id("initial_source_connection_id", value), true
	case paramRetrySCID:
		p.RetrySCID, p.HasRetrySCID = r.serverID("retry_source_connection_id", value), true
	case paramVersionInformation:
		r.versionInformation(value)
	case paramMaxDatagramFrame:
		p.MaxDatagramFrame = r.int("max_datagram_frame_size", value, 0, varint.Max)
	case paramMinAckDelay:
		us := r.int("min_ack_delay", value, 0, varint.Max)
		p.MinAckDelay = time.Duration(min(us, beyondAckDelayUs)) * time.Microsecond
		p.HasMinAckDelay = true
	}
}

// seen reports whether the parameter has come before, and notes it. Of unknown
// parameters, which can be many and mean nothing to us, it remembers only some.
func (r *paramReader) seen(id uint64) bool {
	if id == paramMinAckDelay {
		return r.p.HasMinAckDelay
	}
	if id < 64 {
		was := r.known>>id&1 != 0
		r.known |= 1 << id
		return was
	}
	for _, u := range r.unknown[:r.nUnknown] {
		if u == id {
			return true
		}
	}
	if r.nUnknown < maxUnknownTracked {
		r.unknown[r.nUnknown] = id
		r.nUnknown++
	}
	return false
}

// int reads a value that is one integer, no less and no more, from low to high.
func (r *paramReader) int(name string, value []byte, low, high int64) int64 {
	v, n := varint.Parse(value)
	switch {
	case n == 0 || n != len(value):
		r.fail("%s is not an integer: %d bytes", name, len(value))
		return low
	case int64(v) < low:
		r.fail("%s %d is below %d", name, v, low)
		return low
	case int64(v) > high:
		r.fail("%s %d is above %d", name, v, high)
		return high
	}
	return int64(v)
}

func (r *paramReader) id(name string, value []byte) ConnectionID {
	if len(value) > MaxConnectionIDLen {
		r.fail("%s has %d bytes, above %d", name, len(value), MaxConnectionIDLen)
		return ConnectionID{}
	}
	return MakeConnectionID(value)
}

// serverOnly fails for a parameter that only servers send if this is a client.
func (r *paramReader) serverOnly(name string) {
	if !r.fromServer {
		r.fail("%s from a client", name)
	}
}

func (r *paramReader) serverID(name string, value []byte) ConnectionID {
	r.serverOnly(name)
	return r.id(name, value)
}

func (r *paramReader) resetToken(value []byte) {
	r.serverOnly("stateless_reset_token")
	if len(value) != len(r.p.ResetToken) {
		r.fail("stateless_reset_token has %d bytes, not %d", len(value), len(r.p.ResetToken))
		return
	}
	r.p.ResetToken, r.p.HasResetToken = ResetToken(value), true
}

func (r *paramReader) preferredAddress(value []byte) {
	r.serverOnly("preferred_address")
	c := varint.NewCursor(value)
	var v4 [4]byte
	var v6 [16]byte
	var a PreferredAddress
	copy(v4[:], c.Bytes(len(v4)))
	port4 := uint16(c.Byte())<<8 | uint16(c.Byte())
	copy(v6[:], c.Bytes(len(v6)))
	port6 := uint16(c.Byte())<<8 | uint16(c.Byte())
	id := c.ByteBytes()
	copy(a.Token[:], c.Bytes(len(a.Token)))
	if c.Failed() || c.Len() != 0 {
		r.fail("preferred_address is malformed: %d bytes", len(value))
		return
	}
	if len(id) == 0 || len(id) > MaxConnectionIDLen {
		r.fail("preferred_address has a connection ID of %d bytes", len(id))
		return
	}
	a.IPv4 = offered(netip.AddrFrom4(v4), port4)
	a.IPv6 = offered(netip.AddrFrom16(v6), port6)
	a.ID = MakeConnectionID(id)
	r.p.PreferredAddress = &a
}

// offered returns the zero AddrPort for an address that nothing can be sent to:
// zeros are how a server leaves one out.
func offered(addr netip.Addr, port uint16) netip.AddrPort {
	if addr.IsUnspecified() || port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, port)
}

func (a *PreferredAddress) append(b []byte) []byte {
	var v4 [4]byte
	var v6 [16]byte
	if a.IPv4.IsValid() {
		if !a.IPv4.Addr().Unmap().Is4() {
			panic("BUG: preferred IPv4 address of another family")
		}
		v4 = a.IPv4.Addr().As4()
	}
	if a.IPv6.IsValid() {
		v6 = a.IPv6.Addr().As16()
	}
	b = append(b, v4[:]...)
	b = append(b, byte(a.IPv4.Port()>>8), byte(a.IPv4.Port()))
	b = append(b, v6[:]...)
	b = append(b, byte(a.IPv6.Port()>>8), byte(a.IPv6.Port()))
	b = append(b, a.ID.n)
	b = append(b, a.ID.Bytes()...)
	return append(b, a.Token[:]...)
}

// milliseconds rounds up, so that a positive duration never becomes zero, which
// means something else.
func milliseconds(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d%time.Millisecond != 0 {
		ms++
	}
	return min(ms, maxIdleTimeoutMs)
}

func appendParam(b []byte, id uint64, value []byte) []byte {
	b = varint.Append(b, id)
	b = varint.Append(b, uint64(len(value)))
	return append(b, value...)
}

func appendIntParam(b []byte, id uint64, v, absent int64) []byte {
	if v == absent {
		return b
	}
	b = varint.Append(b, id)
	b = varint.Append(b, uint64(varint.Len(uint64(v))))
	return varint.Append(b, uint64(v))
}
