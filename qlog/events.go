package qlog

import (
	"net/netip"
	"time"
)

// The words for the two ends, as in the member initiator.
const (
	Local  = "local"
	Remote = "remote"
)

// Endpoint is one half of a network path (TupleEndpointInfo).
type Endpoint struct {
	Addr          netip.AddrPort // left out if it is not known
	ConnectionIDs [][]byte       // those that packets to this end carry
}

func (p *Endpoint) encode(e *Encoder, key string) {
	e.Open(key)
	if a := p.Addr.Addr(); a.IsValid() {
		ip, port := "ip_v6", "port_v6"
		if a.Is4() {
			ip, port = "ip_v4", "port_v4"
		}
		e.String(ip, a.String())
		e.Uint(port, uint64(p.Addr.Port()))
	}
	if len(p.ConnectionIDs) > 0 {
		e.OpenList("connection_ids")
		for _, id := range p.ConnectionIDs {
			e.Hex("", id)
		}
		e.CloseList()
	}
	e.Close()
}

// ConnectionStarted is the beginning of a connection, on either end.
type ConnectionStarted struct{ Local, Remote Endpoint }

// Name returns "quic:connection_started".
func (v *ConnectionStarted) Name() string { return "quic:connection_started" }

// Encode writes the event's data.
func (v *ConnectionStarted) Encode(e *Encoder) {
	v.Local.encode(e, "local")
	v.Remote.encode(e, "remote")
}

// ConnectionClosed is the end of a connection.
type ConnectionClosed struct {
	Initiator string // Local or Remote; "" if nobody closed it
	HasCode   bool   // there is an error code
	App       bool   // it is the application's
	Code      uint64
	Reason    string
	Trigger   string // idle_timeout, application, error, version_mismatch, stateless_reset, aborted or unspecified
}

// Name returns "quic:connection_closed".
func (v *ConnectionClosed) Name() string { return "quic:connection_closed" }

// Encode writes the event's data.
func (v *ConnectionClosed) Encode(e *Encoder) {
	e.OptString("initiator", v.Initiator)
	if v.HasCode {
		key := "connection_error"
		if v.App {
			key = "application_error"
		}
		encodeError(e, key, v.App, v.Code)
	}
	e.OptString("reason", v.Reason)
	e.OptString("trigger", v.Trigger)
}

// ConnectionIDUpdated is a change of the connection ID in use: of the peer's, which our
// packets carry, if the initiator is Remote, else of ours.
type ConnectionIDUpdated struct {
	Initiator string
	Old, New  []byte
}

// Name returns "quic:connection_id_updated".
func (v *ConnectionIDUpdated) Name() string { return "quic:connection_id_updated" }

// Encode writes the event's data.
func (v *ConnectionIDUpdated) Encode(e *Encoder) {
	e.String("initiator", v.Initiator)
	e.OptHex("old", v.Old)
	e.Hex("new", v.New)
}

// ConnectionStateUpdated is a step of the handshake or of the end.
type ConnectionStateUpdated struct{ Old, New string }

// Name returns "quic:connection_state_updated".
func (v *ConnectionStateUpdated) Name() string { return "quic:connection_state_updated" }

// Encode writes the event's data.
func (v *ConnectionStateUpdated) Encode(e *Encoder) {
	e.OptString("old", v.Old)
	e.String("new", v.New)
}

// TupleAssigned gives a network path the name that other events call it by. Without
// Known the path is given up.
type TupleAssigned struct {
	ID            string // "" is that of the handshake
	Known         bool
	Local, Remote Endpoint
}

// Name returns "quic:tuple_assigned".
func (v *TupleAssigned) Name() string { return "quic:tuple_assigned" }

// Encode writes the event's data.
func (v *TupleAssigned) Encode(e *Encoder) {
	e.String("tuple_id", v.ID)
	if v.Known {
		v.Remote.encode(e, "tuple_remote")
		v.Local.encode(e, "tuple_local")
	}
}

// MTUUpdated is a change of the size of datagrams, in bytes of UDP payload.
type MTUUpdated struct {
	Old, New uint64
	Done     bool // the search is over
}

// Name returns "quic:mtu_updated".
func (v *MTUUpdated) Name() string { return "quic:mtu_updated" }

// Encode writes the event's data.
func (v *MTUUpdated) Encode(e *Encoder) {
	e.OptUint("old", v.Old)
	e.Uint("new", v.New)
	e.OptBool("done", v.Done)
}

// VersionInformation tells which versions the ends offer, and which one was chosen.
type VersionInformation struct {
	Server, Client []uint32
	Chosen         uint32 // 0 for none
}

// Name returns "quic:version_information".
func (v *VersionInformation) Name() string { return "quic:version_information" }

// Encode writes the event's data.
func (v *VersionInformation) Encode(e *Encoder) {
	encodeVersions(e, "server_versions", v.Server)
	encodeVersions(e, "client_versions", v.Client)
	if v.Chosen != 0 {
		encodeVersion(e, "chosen_version", v.Chosen)
	}
}

func encodeVersions(e *Encoder, key string, list []uint32) {
	if len(list) == 0 {
		return
	}
	e.OpenList(key)
	for _, n := range list {
		encodeVersion(e, "", n)
	}
	e.CloseList()
}

func encodeVersion(e *Encoder, key string, n uint32) {
	e.Hex(key, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// ALPNInformation tells which application protocols the ends offer, and the chosen one.
type ALPNInformation struct {
	Server, Client []string
	Chosen         string // "" for none
}

// Name returns "quic:alpn_information".
func (v *ALPNInformation) Name() string { return "quic:alpn_information" }

// Encode writes the event's data.
func (v *ALPNInformation) Encode(e *Encoder) {
	encodeALPNs(e, "server_alpns", v.Server)
	encodeALPNs(e, "client_alpns", v.Client)
	if v.Chosen != "" {
		encodeALPN(e, "chosen_alpn", v.Chosen)
	}
}

func encodeALPNs(e *Encoder, key string, list []string) {
	if len(list) == 0 {
		return
	}
	e.OpenList(key)
	for _, s := range list {
		encodeALPN(e, "", s)
	}
	e.CloseList()
}

func encodeALPN(e *Encoder, key, s string) {
	e.Open(key)
	e.Hex("byte_value", []byte(s))
	e.String("string_value", s)
	e.Close()
}

// PreferredAddress is the transport parameter of that name.
type PreferredAddress struct {
	IPv4, IPv6   netip.AddrPort // the zero AddrPort is left out
	ConnectionID []byte
	ResetToken   []byte
}

// Parameters are transport parameters and what else the ends agree on.
type Parameters struct {
	OriginalDCID, InitialSCID, RetrySCID []byte // nil is left out
	ResetToken                           []byte // nil is left out
	DisableActiveMigration               bool
	MaxIdleTimeout                       time.Duration
	MaxUDPPayload                        uint64
	AckDelayExponent                     uint64
	MaxAckDelay                          time.Duration
	ActiveConnectionIDLimit              uint64
	MaxData                              uint64
	MaxStreamDataBidiLocal               uint64
	MaxStreamDataBidiRemote              uint64
	MaxStreamDataUni                     uint64
	MaxStreamsBidi, MaxStreamsUni        uint64
	PreferredAddress                     *PreferredAddress
	MaxDatagramFrame                     uint64 // 0 is left out
	HasMinAckDelay                       bool
	MinAckDelay                          time.Duration // left out if not HasMinAckDelay
}

// limits writes what a 0-RTT client remembers.
func (p *Parameters) limits(e *Encoder) {
	e.Bool("disable_active_migration", p.DisableActiveMigration)
	e.Uint("max_idle_timeout", uint64(p.MaxIdleTimeout.Milliseconds()))
	e.Uint("max_udp_payload_size", p.MaxUDPPayload)
	e.Uint("active_connection_id_limit", p.ActiveConnectionIDLimit)
	e.Uint("initial_max_data", p.MaxData)
	e.Uint("initial_max_stream_data_bidi_local", p.MaxStreamDataBidiLocal)
	e.Uint("initial_max_stream_data_bidi_remote", p.MaxStreamDataBidiRemote)
	e.Uint("initial_max_stream_data_uni", p.MaxStreamDataUni)
	e.Uint("initial_max_streams_bidi", p.MaxStreamsBidi)
	e.Uint("initial_max_streams_uni", p.MaxStreamsUni)
	e.OptUint("max_datagram_frame_size", p.MaxDatagramFrame)
}

func (p *Parameters) encode(e *Encoder) {
	encodeID(e, "original_destination_connection_id", p.OriginalDCID)
	encodeID(e, "initial_source_connection_id", p.InitialSCID)
	encodeID(e, "retry_source_connection_id", p.RetrySCID)
	e.OptHex("stateless_reset_token", p.ResetToken)
	p.limits(e)
	e.Uint("ack_delay_exponent", p.AckDelayExponent)
	e.Uint("max_ack_delay", uint64(p.MaxAckDelay.Milliseconds()))
	if p.HasMinAckDelay {
		e.Uint("min_ack_delay", uint64(p.MinAckDelay.Microseconds()))
	}
	a := p.PreferredAddress
	if a == nil {
		return
	}
	e.Open("preferred_address")
	if a.IPv4.IsValid() {
		e.String("ip_v4", a.IPv4.Addr().String())
		e.Uint("port_v4", uint64(a.IPv4.Port()))
	}
	if a.IPv6.IsValid() {
		e.String("ip_v6", a.IPv6.Addr().String())
		e.Uint("port_v6", uint64(a.IPv6.Port()))
	}
	e.Hex("connection_id", a.ConnectionID)
	e.Hex("stateless_reset_token", a.ResetToken)
	e.Close()
}

// encodeID writes a connection ID, which may be empty but not nil.
func encodeID(e *Encoder, key string, id []byte) {
	if id != nil {
		e.Hex(key, id)
	}
}

// ParametersSet tells what one end has set: its transport parameters, or what came of
// the TLS handshake.
type ParametersSet struct {
	Initiator  string
	Parameters *Parameters // nil if it is about TLS
	TLS        *TLSResult  // nil if it is about transport parameters
}

// TLSResult is what came of the TLS handshake.
type TLSResult struct {
	Cipher    string // such as AES_128_GCM_SHA256
	EarlyData bool   // 0-RTT was tried, and as far as is known accepted
}

// Name returns "quic:parameters_set".
func (v *ParametersSet) Name() string { return "quic:parameters_set" }

// Encode writes the event's data.
func (v *ParametersSet) Encode(e *Encoder) {
	e.String("initiator", v.Initiator)
	if v.TLS != nil {
		e.Bool("early_data_enabled", v.TLS.EarlyData)
		e.String("tls_cipher", v.TLS.Cipher)
	}
	if v.Parameters != nil {
		v.Parameters.encode(e)
	}
}

// ParametersRestored tells which of the server's parameters a client goes by in 0-RTT.
type ParametersRestored struct{ Parameters Parameters }

// Name returns "quic:parameters_restored".
func (v *ParametersRestored) Name() string { return "quic:parameters_restored" }

// Encode writes the event's data.
func (v *ParametersRestored) Encode(e *Encoder) { v.Parameters.limits(e) }

// StreamStateUpdated is a change of one half of a stream. The states are those of
// RFC 9000 §3, in the words of the draft.
type StreamStateUpdated struct {
	StreamID int64
	Old, New string
	Sending  bool // the sending half
	Trigger  string
}

// Name returns "quic:stream_state_updated".
func (v *StreamStateUpdated) Name() string { return "quic:stream_state_updated" }

// Encode writes the event's data.
func (v *StreamStateUpdated) Encode(e *Encoder) {
	e.Uint("stream_id", uint64(v.StreamID))
	e.String("stream_type", streamType(v.StreamID&2 != 0))
	e.OptString("old", v.Old)
	e.String("new", v.New)
	side := "receiving"
	if v.Sending {
		side = "sending"
	}
	e.String("stream_side", side)
	e.OptString("trigger", v.Trigger)
}

func streamType(uni bool) string {
	if uni {
		return "unidirectional"
	}
	return "bidirectional"
}

// StreamDataMoved is data, its end or a reset that passes between the application and
// the transport.
type StreamDataMoved struct {
	StreamID int64
	Offset   int64
	Length   int64
	Out      bool   // from the application; else to it
	Info     string // fin_set, stream_reset or ""
}

// Name returns "quic:stream_data_moved".
func (v *StreamDataMoved) Name() string { return "quic:stream_data_moved" }

// Encode writes the event's data.
func (v *StreamDataMoved) Encode(e *Encoder) {
	e.Uint("stream_id", uint64(v.StreamID))
	e.Uint("offset", uint64(v.Offset))
	encodeWay(e, v.Out)
	e.OptString("additional_info", v.Info)
	e.RawLength(uint64(v.Length))
}

// DatagramDataMoved is the data of a DATAGRAM frame that passes between the application
// and the connection.
type DatagramDataMoved struct {
	Length int
	Out    bool // from the application; else to it
}

// Name returns "quic:datagram_data_moved".
func (v *DatagramDataMoved) Name() string { return "quic:datagram_data_moved" }

// Encode writes the event's data.
func (v *DatagramDataMoved) Encode(e *Encoder) {
	encodeWay(e, v.Out)
	e.RawLength(uint64(v.Length))
}

// encodeWay writes between whom data passes.
func encodeWay(e *Encoder, out bool) {
	from, to := "transport", "application"
	if out {
		from, to = to, from
	}
	e.String("from", from)
	e.String("to", to)
}

// DataBlockedUpdated tells that data cannot leave, or can again: of the whole
// connection, or of one stream.
type DataBlockedUpdated struct {
	Stream   bool // of the stream with this number
	StreamID int64
	Blocked  bool
	Reason   string
}

// Name returns "quic:connection_data_blocked_updated" or "quic:stream_data_blocked_updated".
func (v *DataBlockedUpdated) Name() string {
	if v.Stream {
		return "quic:stream_data_blocked_updated"
	}
	return "quic:connection_data_blocked_updated"
}

// Encode writes the event's data.
func (v *DataBlockedUpdated) Encode(e *Encoder) {
	before, after := "blocked", "unblocked"
	if v.Blocked {
		before, after = after, before
	}
	e.String("old", before)
	e.String("new", after)
	if v.Stream {
		e.Uint("stream_id", uint64(v.StreamID))
	}
	e.OptString("reason", v.Reason)
}

// MigrationStateUpdated is a step on the way to another network path.
type MigrationStateUpdated struct {
	New           string
	TupleID       string
	Local, Remote Endpoint
}

// Name returns "quic:migration_state_updated".
func (v *MigrationStateUpdated) Name() string { return "quic:migration_state_updated" }

// Encode writes the event's data.
func (v *MigrationStateUpdated) Encode(e *Encoder) {
	e.String("new", v.New)
	e.String("tuple_id", v.TupleID)
	v.Remote.encode(e, "tuple_remote")
	v.Local.encode(e, "tuple_local")
}

// TimerUpdated is a timer that was set, cancelled, or has expired.
type TimerUpdated struct {
	Type  string
	Event string        // set, expired or cancelled
	Delta time.Duration // until it expires, if it was set
}

// Name returns "quic:timer_updated".
func (v *TimerUpdated) Name() string { return "quic:timer_updated" }

// Encode writes the event's data.
func (v *TimerUpdated) Encode(e *Encoder) {
	e.String("timer_type", v.Type)
	e.String("event_type", v.Event)
	if v.Event == "set" {
		e.Duration("delta", v.Delta)
	}
}

// Key is a key that came into use or was thrown away.
type Key struct {
	Discarded bool
	Type      string // such as client_1rtt_secret
	HasPhase  bool   // of 1-RTT keys
	Phase     uint64 // how many updates led to it
	Trigger   string // tls, remote_update or local_update
}

// Name returns "quic:key_updated" or "quic:key_discarded".
func (v *Key) Name() string {
	if v.Discarded {
		return "quic:key_discarded"
	}
	return "quic:key_updated"
}

// Encode writes the event's data.
func (v *Key) Encode(e *Encoder) {
	e.String("key_type", v.Type)
	if v.HasPhase {
		e.Uint("key_phase", v.Phase)
	}
	e.OptString("trigger", v.Trigger)
}
