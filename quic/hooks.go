package quic

import (
	"io"
	"net/netip"
)

// SocketHooks are told what happens to a socket. All are optional. They run one
// at a time, in the order of what happened, on a goroutine that exists only while there
// is something to tell, or where SocketOptions.Dispatch puts them. An error or a
// panic of one that returns an error destroys the socket.
type SocketHooks struct {
	Ready     func() error          // all endpoints are bound (SOC-012)
	Listening func() error          // Listen has succeeded (SOC-011)
	Busy      func(busy bool) error // SetServerBusy changed something (SOC-004)

	// EndpointClose is told of each endpoint that is gone, and why if not by the
	// socket's will (SOC-006).
	EndpointClose func(e *Endpoint, err error) error
	// SessionError is told of a session whose Handler failed; it is destroyed (SOC-018). A
	// Handler that fails after the socket's Close is told of no more, nor are those that fail while 1,024
	// notices wait; they count in SocketStats.NoticesDropped.
	SessionError func(err error, s *Session)

	Error func(err error) // the socket was destroyed with an error: at most once, before Close (SOC-010)
	Close func()          // the socket is gone: once, and last (SOC-005)
}

// SessionHooks are told what happens to a session; see SocketHooks for how. While a
// ListenOptions.Handler runs, the hooks of its session wait. An error or a panic
// destroys the session with it; of Stream, only the stream.
type SessionHooks struct {
	Secure func() error // the handshake is complete; the session's methods tell the rest (SES-018)

	// KeyLog is given every secret of the handshake, and of early data, one call each: a
	// line in the form of NSS's key log with its newline, as Wireshark reads it
	// (SES-011). Whoever has them can read the session.
	KeyLog func(line []byte) error

	// QLog is given the log that ConnectOptions.QLog asked for, once and before anything is
	// heard from the server: what Session.QLog returns from now on. Clients only (CLI-007).
	QLog func(log io.Reader) error

	// Stream is given every stream that the peer opens. With it there is no
	// AcceptStream (SES-023).
	Stream func(st *Stream) error
	// Datagram is given every datagram that comes, and may keep it; early tells that it came in
	// 0-RTT, where somebody may have recorded and repeated it. With it there is no
	// ReceiveDatagram, and the queue is the same: when the hook is slow, the oldest are dropped.
	Datagram func(p []byte, early bool) error
	// DatagramStatus tells what has become of each datagram that SendDatagram took, once. It
	// is set before the first is sent; when too many fates wait to be told, further ones are
	// not, and count in SessionStats.NoticesDropped.
	DatagramStatus func(id uint64, status DatagramStatus) error
	// PathValidation tells how the validation of a path has ended; on success the
	// session has moved there if it was to (SES-014).
	PathValidation func(ok bool, local, remote netip.AddrPort) error
	// SessionTicket is given what a later Connect needs to resume the session: a
	// ticket and the server's transport parameters. A ticket that has come is told also of a
	// session that is over, before Close. Clients only (CLI-003).
	SessionTicket func(ticket, remoteTransportParams []byte) error
	// UsePreferredAddress tells that the session now goes to the address that the
	// server prefers. Clients only (CLI-009).
	UsePreferredAddress func(address netip.AddrPort) error

	Error func(err error) // the session failed: at most once, before Close (SES-009)
	Close func()          // the session is over: once, and last (SES-008)
}

// StreamHooks are told what happens to a stream, for programs that never block:
// they go with TryRead and TryWrite. See SocketHooks for how they run. Notices
// that have not been delivered coalesce. An error or a panic destroys the stream.
type StreamHooks struct {
	Readable func() error // there is data, the end or an error to read
	Drained  func() error // a TryWrite that was cut short can go on

	// Acknowledged tells that the peer has acknowledged all bytes below offset; it is told
	// as that grows, and last when the end is acknowledged too.
	Acknowledged func(offset int64) error
	// Aborted tells that the peer has cut off a side, with a reset or the wish that we stop,
	// whether or not anybody reads or writes. err is a *StreamError.
	Aborted func(err error) error
	// Blocked tells that there is data which the peer's flow control does not let go now: the
	// limit of the stream or of the session. It may be told again (STR-006).
	Blocked func() error

	Error func(err error) // the stream failed: at most once, before Close (STR-010)
	Close func()          // both sides are over: once, and last (STR-007)
}

// over returns the hooks, with base's where there are none.
func (h SessionHooks) over(base SessionHooks) SessionHooks {
	if h.Secure == nil {
		h.Secure = base.Secure
	}
	if h.KeyLog == nil {
		h.KeyLog = base.KeyLog
	}
	if h.QLog == nil {
		h.QLog = base.QLog
	}
	if h.Stream == nil {
		h.Stream = base.Stream
	}
	if h.Datagram == nil {
		h.Datagram = base.Datagram
	}
	if h.DatagramStatus == nil {
		h.DatagramStatus = base.DatagramStatus
	}
	if h.PathValidation == nil {
		h.PathValidation = base.PathValidation
	}
	if h.SessionTicket == nil {
		h.SessionTicket = base.SessionTicket
	}
	if h.UsePreferredAddress == nil {
		h.UsePreferredAddress = base.UsePreferredAddress
	}
	if h.Error == nil {
		h.Error = base.Error
	}
	if h.Close == nil {
		h.Close = base.Close
	}
	return h
}

func (h *SessionHooks) none() bool {
	return h.Secure == nil && h.KeyLog == nil && h.QLog == nil && h.Stream == nil && h.PathValidation == nil && h.SessionTicket == nil &&
		h.Datagram == nil && h.DatagramStatus == nil && h.UsePreferredAddress == nil && h.Error == nil && h.Close == nil
}

func (h *StreamHooks) none() bool {
	return h.Readable == nil && h.Drained == nil && h.Acknowledged == nil && h.Blocked == nil &&
		h.Aborted == nil && h.Error == nil && h.Close == nil
}
