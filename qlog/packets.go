package qlog

// The names of packet types.
const (
	Initial            = "initial"
	Handshake          = "handshake"
	ZeroRTT            = "0RTT"
	OneRTT             = "1RTT"
	Retry              = "retry"
	VersionNegotiation = "version_negotiation"
	StatelessReset     = "stateless_reset"
	Unknown            = "unknown"
)

// PacketHeader is what is known of a packet's header.
type PacketHeader struct {
	Type         string
	HasNumber    bool
	Number       int64
	NumberLength int  // bytes; 0 is left out
	SpinBit      bool // of 1RTT
	HasKeyPhase  bool
	KeyPhase     bool   // of 1RTT: the bit
	Version      uint32 // of a long header; 0 is left out
	DCID, SCID   []byte // nil is left out
	TokenLength  int    // bytes; 0 is left out
	TokenType    string // retry, resumption or ""
	Length       int    // of a long header: bytes of packet number and payload; 0 is left out
}

func (h *PacketHeader) encode(e *Encoder) {
	e.Open("header")
	e.String("packet_type", h.Type)
	if h.HasNumber {
		e.Uint("packet_number", uint64(h.Number))
	}
	e.OptUint("packet_number_length", uint64(h.NumberLength))
	if h.HasKeyPhase {
		e.Bool("spin_bit", h.SpinBit)
		e.Bool("key_phase_bit", h.KeyPhase)
	}
	if h.TokenLength > 0 {
		e.Open("token")
		e.OptString("type", h.TokenType)
		e.RawLength(uint64(h.TokenLength))
		e.Close()
	}
	e.OptUint("length", uint64(h.Length))
	if h.Version != 0 {
		encodeVersion(e, "version", h.Version)
	}
	if h.SCID != nil {
		e.Uint("scil", uint64(len(h.SCID)))
		e.Hex("scid", h.SCID)
	}
	if h.DCID != nil {
		e.Uint("dcil", uint64(len(h.DCID)))
		e.Hex("dcid", h.DCID)
	}
	e.Close()
}

// Packet is a packet that was sent, received, buffered until there are keys, or dropped.
type Packet struct {
	Kind       PacketKind
	Header     PacketHeader
	Frames     []Frame
	HasFrames  bool     // Frames are known
	Length     int      // bytes of the whole packet
	Payload    int      // of these its frames have; 0 is left out
	ResetToken []byte   // of a stateless reset
	Versions   []uint32 // of a Version Negotiation packet
	MTUProbe   bool
	Details    string // PacketDropped: why, in words
	Trigger    string
}

// PacketKind says what has become of a packet.
type PacketKind uint8

// The kinds of packet events.
const (
	PacketSent PacketKind = iota
	PacketReceived
	PacketDropped
	PacketBuffered
)

// Name returns "quic:packet_sent", or what fits the kind.
func (v *Packet) Name() string {
	return [...]string{"quic:packet_sent", "quic:packet_received", "quic:packet_dropped", "quic:packet_buffered"}[v.Kind]
}

// Encode writes the event's data.
func (v *Packet) Encode(e *Encoder) {
	v.Header.encode(e)
	if v.HasFrames {
		encodeFrames(e, v.Frames)
	}
	e.OptHex("stateless_reset_token", v.ResetToken)
	encodeVersions(e, "supported_versions", v.Versions)
	e.Open("raw")
	e.Uint("length", uint64(v.Length))
	e.OptUint("payload_length", uint64(v.Payload))
	e.Close()
	e.OptBool("is_mtu_probe_packet", v.MTUProbe)
	if v.Details != "" {
		e.Open("details")
		e.String("message", v.Details)
		e.Close()
	}
	e.OptString("trigger", v.Trigger)
}

func encodeFrames(e *Encoder, list []Frame) {
	e.OpenList("frames")
	for _, f := range list {
		e.Open("")
		f.EncodeFrame(e)
		e.Close()
	}
	e.CloseList()
}

// UDPDatagrams is one or more datagrams that went to the socket or came from it.
type UDPDatagrams struct {
	Received bool
	Lengths  []int // bytes of UDP payload
	ECN      uint8 // the codepoint, as in the IP header
}

// Name returns "quic:udp_datagrams_sent" or "quic:udp_datagrams_received".
func (v *UDPDatagrams) Name() string {
	if v.Received {
		return "quic:udp_datagrams_received"
	}
	return "quic:udp_datagrams_sent"
}

// Encode writes the event's data.
func (v *UDPDatagrams) Encode(e *Encoder) {
	e.Uint("count", uint64(len(v.Lengths)))
	e.OpenList("raw")
	for _, n := range v.Lengths {
		e.Open("")
		e.Uint("length", uint64(n))
		e.Close()
	}
	e.CloseList()
	e.OpenList("ecn")
	for range v.Lengths {
		e.String("", [...]string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}[v.ECN&3])
	}
	e.CloseList()
}
