package quic

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// SocketStats is a snapshot of a socket's figures. Counts run from the start and
// never fall; bytes are UDP payload.
type SocketStats struct {
	Duration       time.Duration // since the socket was made (SOC-042)
	BoundDuration  time.Duration // since it was bound (SOC-027)
	ListenDuration time.Duration // since it listens (SOC-047)

	BytesReceived   uint64 // but for those that the BlockList or diagnostic loss dropped (SOC-028)
	BytesSent       uint64 // that the network took; diagnostic loss comes before (SOC-029)
	PacketsReceived uint64 // datagrams that a session could use (SOC-050)
	PacketsSent     uint64 // datagrams that the network took (SOC-051)
	PacketsIgnored  uint64 // datagrams for nobody, of blocked senders, that no key fits, or garbage (SOC-049)

	ClientSessions      uint64 // ever made or moved here (SOC-030)
	ServerSessions      uint64 // ever taken (SOC-058)
	ServerBusyCount     uint64 // sessions refused because of a limit or SetServerBusy (SOC-057)
	StatelessResetCount uint64 // sent (SOC-063)
	RetryCount          uint64 // Retry packets sent
	VersionNegotiations uint64 // Version Negotiation packets sent
	InvalidTokens       uint64 // tokens of clients that proved nothing
	RepliesSuppressed   uint64 // answers without a session that were not sent because there were too many
	Overloaded          uint64 // first packets dropped because of too many handshakes
	LimitErrors         uint64 // sessions that ended because the peer went past a limit of ours
	HandshakeTimeouts   uint64 // sessions that ended with a *HandshakeTimeoutError: the handshake, or a callback in it, took too long
	EarlyDataRefused    uint64 // sessions resumed with a ticket that allows early data, but not now: it was used before, is older than the ReplayRegister knows of, or promises more than ListenOptions
	BlockedPorts        uint64 // datagrams to a server from a port that reflects what is sent there, such as 53 or 123, dropped unread

	NoticesDropped uint64 // sessions that the SessionError hook was not told of because too many notices waited

	SendErrors   uint64 // batches that the network did not take whole
	GSOFallbacks uint64 // batches sent one datagram at a time after they failed as one
}

// socketCounts is what a socket counts itself, and what is left of endpoints that
// are gone.
type socketCounts struct {
	received                       uint64 // bytes, without what screen drops
	ignored, busy                  uint64
	clientSessions, serverSessions uint64
	udp                            udp.Stats
}

// took counts datagrams that were given to sessions, of which some were of use.
func (s *Socket) took(used, of int) {
	if used > 0 {
		s.heard.Add(uint64(used))
	}
	if used < of {
		s.unheard.Add(uint64(of - used))
	}
}

func (c *socketCounts) add(u udp.Stats) {
	c.udp.SentBytes += u.SentBytes
	c.udp.Sent += u.Sent
	c.udp.SendErrors += u.SendErrors
	c.udp.GSOFallbacks += u.GSOFallbacks
	c.udp.Truncated += u.Truncated
}

// Stats returns the socket's figures.
func (s *Socket) Stats() SocketStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	for _, list := range [2][]*Endpoint{s.endpoints, s.leaving} {
		for _, e := range list {
			if e.conn != nil {
				c.add(e.stats())
			}
		}
	}
	m := s.mux.Stats()
	return SocketStats{
		Duration:            s.since(s.created),
		BoundDuration:       s.since(s.boundAt),
		ListenDuration:      s.since(s.listenAt),
		BytesReceived:       c.received,
		BytesSent:           c.udp.SentBytes,
		PacketsReceived:     s.heard.Load(),
		PacketsSent:         c.udp.Sent,
		PacketsIgnored:      m.Ignored + m.Overloaded + c.ignored + c.udp.Truncated + s.unheard.Load(),
		ClientSessions:      c.clientSessions,
		ServerSessions:      c.serverSessions,
		ServerBusyCount:     c.busy,
		StatelessResetCount: m.Resets,
		RetryCount:          m.Retries,
		VersionNegotiations: m.VersionNegotiations,
		InvalidTokens:       m.InvalidTokens,
		RepliesSuppressed:   m.RepliesSuppressed,
		Overloaded:          m.Overloaded,
		LimitErrors:         s.pastLimit.Load(),
		HandshakeTimeouts:   s.late.Load(),
		EarlyDataRefused:    s.refusedEarly.Load(),
		BlockedPorts:        m.BlockedPorts,
		NoticesDropped:      s.notices.drops(),
		SendErrors:          c.udp.SendErrors,
		GSOFallbacks:        c.udp.GSOFallbacks,
	}
}

// SessionStats is a snapshot of a session's figures, which can be taken after its
// end too. Counts run from the start and never fall; bytes are UDP payload unless
// the name says stream.
type SessionStats struct {
	Duration          time.Duration // from the start to now or the end (SES-051)
	HandshakeDuration time.Duration // to the end of the handshake, or to now (SES-060)

	BytesReceived   uint64 // SES-035
	BytesSent       uint64 // SES-036
	PacketsReceived uint64
	PacketsSent     uint64
	PacketsLost     uint64 // taken as lost
	PacketsIgnored  uint64 // received and of no use: not decryptable, malformed, doubled, or too many at once
	NoticesDropped  uint64 // notices for hooks that were not told because too many waited
	BytesLost       uint64

	StreamBytesReceived uint64 // each byte once
	StreamBytesSent     uint64 // with what was sent again
	StreamBytesResent   uint64

	BytesInFlight    uint64 // sent and neither acknowledged nor lost (SES-034)
	MaxInFlightBytes uint64 // the most so far (SES-066)
	CongestionWindow uint64 // bytes that may be in flight
	MTU              int    // bytes of the datagrams that the path carries
	MaxDataLeft      uint64 // stream bytes that the peer lets us send now (SES-065)

	LatestRTT   time.Duration // SES-063
	MinRTT      time.Duration // SES-070
	SmoothedRTT time.Duration // SES-091
	RTTVariance time.Duration

	BidiStreamCount          uint64 // opened by either end (SES-032)
	UniStreamCount           uint64 // likewise (SES-094)
	SelfInitiatedStreamCount uint64 // SES-089
	PeerInitiatedStreamCount uint64 // SES-080

	BlockCount              uint64 // times that flow control stopped a stream (SES-033)
	KeyUpdateCount          uint64 // by either end (SES-062)
	LossRetransmitCount     uint64 // frames sent again for packets taken as lost, by a gap or a timer (SES-064)
	AckDelayRetransmitCount uint64 // acknowledgements that went because MaxAckDelay was over (SES-024)
	CongestionEvents        uint64 // times that the window was cut
	ProbeTimeouts           uint64 // RFC 9002 §6.2
	DatagramFramesSent      uint64 // datagrams of SendDatagram that have left
	DatagramFramesReceived  uint64 // datagrams that have come, with those that were dropped
	DatagramFramesLost      uint64 // datagrams of SendDatagram with the status DatagramLost
	DatagramFramesDropped   uint64 // datagrams that came and made room for newer ones, because too many waited to be taken
	PathsDropped            uint64 // addresses of the peer that were given up because there were too many
	UselessFrames           uint64 // cost of the peer's frames that changed nothing; too many of them are past a limit
	QLogDropped             uint64 // events that are missing from the log because it was not read

	CongestionAlgorithm string // the congestion controller's name: "reno" or "cubic" (CON-019, LIS-020)

	IdleTimeout    bool // the session ended for silence (SES-061)
	StatelessReset bool // the peer had lost its state (SES-093)
	LimitExceeded  bool // the session ended because the peer went past a limit of ours
}

// Stats returns the session's figures.
func (s *Session) Stats() SessionStats {
	s.mu.Lock()
	defer s.unlock(flushNone)
	c := s.conn.Stats()
	end := s.endedAt
	if s.err == nil {
		end = now()
	}
	out := SessionStats{
		Duration:            end.Sub(c.Created),
		HandshakeDuration:   max(0, min(c.HandshakeCompleted, end).Sub(c.Begun)),
		BytesReceived:       c.BytesReceived,
		BytesSent:           c.BytesSent,
		PacketsReceived:     c.PacketsReceived,
		PacketsSent:         c.PacketsSent,
		PacketsLost:         c.PacketsLost,
		PacketsIgnored:      c.PacketsIgnored + c.Duplicates + s.inbox.drops(),
		NoticesDropped:      s.notices.drops() + s.datagram.unheard,
		BytesLost:           c.BytesLost,
		StreamBytesReceived: c.StreamBytesReceived,
		StreamBytesSent:     c.StreamBytesSent,
		StreamBytesResent:   c.StreamBytesResent,
		MaxInFlightBytes:    c.MaxBytesInFlight,
		CongestionWindow:    c.Window,
		MTU:                 c.MTU,
		LatestRTT:           c.RTT.Latest,
		MinRTT:              c.RTT.Min,
		SmoothedRTT:         c.RTT.Smoothed,
		RTTVariance:         c.RTT.Var,

		BidiStreamCount:          c.BidiStreamsOpened + c.PeerBidiStreamsOpened,
		UniStreamCount:           c.UniStreamsOpened + c.PeerUniStreamsOpened,
		SelfInitiatedStreamCount: c.BidiStreamsOpened + c.UniStreamsOpened,
		PeerInitiatedStreamCount: c.PeerBidiStreamsOpened + c.PeerUniStreamsOpened,

		BlockCount:              c.BlockCount,
		KeyUpdateCount:          c.KeyUpdates,
		LossRetransmitCount:     c.LossRetransmits,
		AckDelayRetransmitCount: c.AckTimeouts,
		CongestionEvents:        c.CongestionEvents,
		ProbeTimeouts:           c.PTOs,
		DatagramFramesSent:      c.DatagramFramesSent,
		DatagramFramesReceived:  c.DatagramFramesReceived,
		DatagramFramesLost:      c.DatagramFramesLost,
		DatagramFramesDropped:   c.DatagramFramesDropped,
		PathsDropped:            c.PathsDropped,
		UselessFrames:           c.UselessFrames,
		QLogDropped:             s.log.dropped(),
		CongestionAlgorithm:     s.conn.CongestionControl(),
	}
	if s.err == nil {
		out.BytesInFlight = c.BytesInFlight
		out.MaxDataLeft = uint64(s.conn.MaxDataLeft())
	}
	if c.RTT.Latest == 0 && c.RTT.Min == 0 {
		out.SmoothedRTT, out.RTTVariance = 0, 0 // no sample yet: what is there is RFC 9002's guess
	}
	_, out.IdleTimeout = s.err.(*IdleTimeoutError)
	out.LimitExceeded = s.pastLimit
	_, out.StatelessReset = s.err.(*StatelessResetError)
	return out
}

// StreamStats is a snapshot of a stream's figures, which can be taken after its
// end too. Bytes are those of the stream.
type StreamStats struct {
	Duration              time.Duration // from the start to now or the end (STR-032)
	BytesReceived         uint64        // each byte once; what fills holes after Stop does not count (STR-024)
	BytesRead             uint64        // by the program, or dropped
	BytesSent             uint64        // each byte once (STR-025)
	FinalSize             uint64        // bytes in all that the peer sent, 0 until known (STR-033)
	MaxAcknowledgedOffset int64         // up to which the peer has acknowledged, holes or not (STR-035)
	MaxReceivedOffset     int64         // up to which the peer has sent, holes or not (STR-037)
	MaxExtendedOffset     int64         // up to which the peer may send (STR-036)
}

// Stats returns the stream's figures.
func (st *Stream) Stats() StreamStats {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	t := st.t.Stats()
	end := st.endedAt
	if !st.over {
		end = now()
	}
	return StreamStats{
		Duration:              end.Sub(t.Created),
		BytesReceived:         uint64(t.BytesReceived),
		BytesRead:             uint64(t.BytesRead),
		BytesSent:             uint64(t.BytesSent),
		FinalSize:             uint64(max(t.FinalSize, 0)),
		MaxAcknowledgedOffset: t.MaxAcknowledged,
		MaxReceivedOffset:     t.MaxReceived,
		MaxExtendedOffset:     t.MaxReceive,
	}
}
