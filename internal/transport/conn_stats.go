package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
)

// counters is what a connection counts itself; recovery counts the rest.
type counters struct {
	created, begun, completed, confirmed, closed mono.Time

	packetsSent, packetsReceived, packetsIgnored, duplicates uint64
	datagramsSent, datagramsReceived                         uint64
	bytesSent, bytesReceived                                 uint64
	streamBytesSent, streamBytesReceived, bytesResent        uint64
	blockCount, lossRetransmits, ackTimeouts                 uint64
	bidiOpened, uniOpened, peerBidiOpened, peerUniOpened     uint64
	datagramFramesSent, datagramFramesReceived               uint64
	datagramFramesLost, datagramFramesDropped                uint64
	datagramBytesSent                                        uint64
	pathsDropped                                             uint64
	useless                                                  uint64
}

func (s *counters) init(now mono.Time) {
	s.created, s.begun = now, now
	s.completed, s.confirmed, s.closed = mono.Never, mono.Never, mono.Never
}

// streamCounters is what became of a stream's halves, beyond their states.
type streamCounters struct {
	finished bool   // FIN was asked for
	stopped  bool   // the peer sent STOP_SENDING, before any reset of ours
	crossed  bool   // it sent one when the half was reset by us, or had arrived
	code     uint64 // of STOP_SENDING if stopped, else of our own reset
}

// Stats is a snapshot of a connection's figures. Times are mono.Never for what
// has not happened; packets and bytes are counts since the start; bytes are UDP
// payload unless the name says stream.
type Stats struct {
	Created, Begun, HandshakeCompleted, HandshakeConfirmed, Closed mono.Time

	PacketsSent, PacketsReceived     uint64
	PacketsLost, BytesLost           uint64
	PacketsIgnored                   uint64 // undecryptable, malformed or not expected
	Duplicates                       uint64
	DatagramsSent, DatagramsReceived uint64
	BytesSent, BytesReceived         uint64

	StreamBytesSent     uint64 // including those sent again
	StreamBytesReceived uint64 // each byte once
	StreamBytesResent   uint64

	BytesInFlight, MaxBytesInFlight uint64
	Window                          uint64 // congestion window, bytes
	MTU                             int    // bytes of UDP payload
	CongestionEvents                uint64
	PTOs                            uint64
	Hurries                         uint64 // times that the handshake went again ahead of one, while it lasts
	SpuriousLosses                  uint64
	PersistentCongestion            uint64
	ECNFailures                     uint64
	KeyUpdates                      uint64
	BlockCount                      uint64 // times data waited for flow control credit
	LossRetransmits                 uint64 // frames that had to be sent again: lost, or doubtful when a probe was due
	AckTimeouts                     uint64 // ACKs that went because their delay was over (RFC 9000 §13.2.1)
	BidiStreamsOpened               uint64 // by this end
	UniStreamsOpened                uint64
	PeerBidiStreamsOpened           uint64
	PeerUniStreamsOpened            uint64
	DatagramFramesSent              uint64
	DatagramFramesReceived          uint64
	DatagramFramesLost              uint64 // with those that were never sent
	DatagramFramesDropped           uint64 // received, and dropped for newer ones
	PathsDropped                    uint64 // new ones, or older ones for them, because there were too many
	UselessFrames                   uint64 // tokens that legal frames without effect have cost

	RTT recovery.RTT
}

// Stats returns the connection's figures.
func (c *Conn) Stats() Stats {
	s, l, hurries := &c.stats, c.loss.Stats(), uint8(0)
	if c.hs != nil {
		hurries = c.hs.hurries
	}
	return Stats{
		Created: s.created, Begun: s.begun, HandshakeCompleted: s.completed, HandshakeConfirmed: s.confirmed, Closed: s.closed,
		PacketsSent: s.packetsSent, PacketsReceived: s.packetsReceived,
		PacketsLost: l.Lost, BytesLost: l.LostBytes,
		PacketsIgnored: s.packetsIgnored, Duplicates: s.duplicates,
		DatagramsSent: s.datagramsSent, DatagramsReceived: s.datagramsReceived,
		BytesSent: s.bytesSent, BytesReceived: s.bytesReceived,
		StreamBytesSent: s.streamBytesSent, StreamBytesReceived: s.streamBytesReceived, StreamBytesResent: s.bytesResent,
		BytesInFlight: uint64(c.loss.InFlight()), MaxBytesInFlight: uint64(l.MaxInFlight),
		Window: uint64(c.loss.Window()), MTU: c.mtu.size,
		CongestionEvents: l.CongestionEvents, PTOs: l.PTOs, Hurries: uint64(hurries), SpuriousLosses: l.Spurious,
		PersistentCongestion: l.PersistentCongestion, ECNFailures: l.ECNFailures,
		KeyUpdates: uint64(c.oneRTT.Updates()),
		BlockCount: s.blockCount, LossRetransmits: s.lossRetransmits, AckTimeouts: s.ackTimeouts,
		BidiStreamsOpened: s.bidiOpened, UniStreamsOpened: s.uniOpened,
		PeerBidiStreamsOpened: s.peerBidiOpened, PeerUniStreamsOpened: s.peerUniOpened,
		DatagramFramesSent: s.datagramFramesSent, DatagramFramesReceived: s.datagramFramesReceived,
		DatagramFramesLost: s.datagramFramesLost, DatagramFramesDropped: s.datagramFramesDropped,
		PathsDropped: s.pathsDropped, UselessFrames: s.useless,
		RTT: c.loss.RTT(),
	}
}

// CongestionControl returns the name of the congestion control algorithm in use.
func (c *Conn) CongestionControl() string { return c.loss.Controller().Name() }

// MaxDataLeft returns how many more stream bytes the peer lets us send.
func (c *Conn) MaxDataLeft() int64 { return c.flow.out.Left() }

// MaxStreams returns how many streams of each kind the peer lets us open in all.
func (c *Conn) MaxStreams() (bidi, uni int64) { return c.streams.max[0], c.streams.max[1] }

// StreamCredit returns how many more streams the peer lets us open.
func (c *Conn) StreamCredit(uni bool) int64 {
	k := kind(uni)
	return max(0, c.streams.max[k]-c.streams.opened[k])
}

// Streams returns how many streams are open, by either end.
func (c *Conn) Streams() int { return len(c.streams.table) }

// StreamStats is a snapshot of a stream's figures, in bytes.
type StreamStats struct {
	Created           mono.Time
	BytesSent         int64 // sent once or more
	BytesAcknowledged int64 // without a gap from the start
	MaxAcknowledged   int64 // highest offset that is acknowledged
	BytesReceived     int64 // each byte once
	MaxReceived       int64 // highest offset seen
	BytesRead         int64
	FinalSize         int64 // of the receiving half; -1 if not known
	MaxSend           int64 // the peer's limit
	MaxReceive        int64 // ours
}

// Stats returns the stream's figures.
func (s *Stream) Stats() StreamStats {
	st := StreamStats{Created: s.created, FinalSize: -1}
	if s.canSend {
		st.BytesSent, st.BytesAcknowledged, st.MaxSend = s.send.Offset(), s.send.AckedPrefix(), s.send.Max()
		st.MaxAcknowledged = s.send.AckedTop()
	}
	if s.canRecv {
		st.BytesReceived, st.MaxReceived = s.recv.Received(), s.recv.Highest()
		st.BytesRead, st.FinalSize, st.MaxReceive = s.recv.Consumed(), s.recv.FinalSize(), s.window.Limit()
	}
	return st
}
