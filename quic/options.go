package quic

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// None, in a numeric or duration option, says the explicit zero that a bare 0
// cannot say, because that means the default. Options that cannot be zero refuse it.
const None = -1

// The values of EndpointOptions.Type and ConnectOptions.Type.
const (
	UDP4     = "udp4"      // IPv4
	UDP6     = "udp6"      // IPv6; an endpoint of this type takes IPv4 too
	UDP6Only = "udp6-only" // IPv6 and nothing else
)

// LookupFunc resolves a host name to one address of a family, 4 or 6 (LKP-001, LKP-003). It is
// also asked, with address "", where no address was configured (LKP-002), and may then return
// the zero Addr for the default: every address for an endpoint, loopback for Connect. An
// IPv6 address can have a zone, which it is then reached by. An error or a panic
// fails the Bind, Connect or Listen that has asked.
type LookupFunc func(ctx context.Context, address string, family int) (netip.Addr, error)

// SocketOptions are the choices for a Socket. The zero SocketOptions are good ones.
type SocketOptions struct {
	// Endpoint is the first local binding (CQS-004).
	Endpoint EndpointOptions

	// PacketConn is Endpoint.PacketConn.
	PacketConn net.PacketConn

	// Client and Server are what Connect and Listen use for options that their own
	// leave at zero, each for itself; what is true there stays true (CQS-002, CQS-014).
	Client ConnectOptions
	Server ListenOptions

	// Lookup resolves the names given to the socket, unless an operation has its
	// own. Nil is the system's resolver (CQS-008).
	Lookup LookupFunc

	// MaxConnections is how many server sessions may be alive at once, over all hosts; further
	// ones are refused. 0 means no limit but memory (CQS-009): a server that strangers can
	// reach from many networks wants one. This limit and the next do
	// not count clients that have not shown that they own their address; there may be half
	// as many of those, and then a Retry makes new ones show it first.
	MaxConnections int
	// MaxConnectionsPerHost is how many of them may be with one host: an IPv4 address, one of a local network, or an
	// IPv6 network of 64 bits, all addresses of which one host can have. 0 means 100 (CQS-010): many clients of one
	// site, behind a NAT or in such a network, want more.
	MaxConnectionsPerHost int

	// ValidateAddress makes every new client prove its address with a Retry packet
	// first, for one more round trip (CQS-016, RFC 9000 §8.1.2).
	ValidateAddress bool
	// RetryTokenTimeout is how long the token of such a packet is good: 1 s to 60 s
	// in whole seconds, 0 means 10 s (CQS-013).
	RetryTokenTimeout time.Duration

	// DisableStatelessReset keeps the socket from answering packets of sessions it
	// does not know (CQS-003, RFC 9000 §10.3).
	// Socket.SetStatelessReset can change that later.
	DisableStatelessReset bool
	// MaxStatelessResetsPerHost is how many such answers one host gets, as in MaxConnectionsPerHost,
	// 1 or more; 0 means 10. Further ones count as ignored until it has been quiet for 30 s (CQS-011).
	MaxStatelessResetsPerHost int
	// StatelessResetSecret, of 16 bytes, is what reset tokens are derived from; a
	// restarted server or a fleet shares it. Nil means a random one (CQS-015).
	StatelessResetSecret []byte
	// TokenSecret, of 32 bytes, protects the tokens that prove addresses; to be
	// shared as StatelessResetSecret. Nil means a random one.
	TokenSecret []byte

	// TokenStore keeps the tokens that servers have given to the socket's clients
	// for later connections. Nil means one of the socket's own.
	TokenStore *TokenStore

	// QLog keeps a log of every server session, for Session.QLog; clients have
	// ConnectOptions.QLog (CQS-012).
	QLog bool
	// QLogFormat is how the logs of the socket's sessions are written: QLogSeq, the
	// default, or QLogJSON.
	QLogFormat QLogFormat
	// QLogWriter, if not nil, is asked once for every session with a log where to write
	// it; Session.QLog is nil then. Nil is nowhere. Nothing is lost as long as the writer is
	// less than 64 MiB behind; after the last Write, up to three probe timeouts after the
	// session's end, it is closed if it has a Close. An error or a panic of it ends the log
	// likewise, not the session. It is called without locks, on a goroutine of the session's.
	QLogWriter func(*Session) io.Writer

	// Hooks are told what happens to the socket.
	Hooks SocketHooks
	// Dispatch, if not nil, is given everything that would run hooks and handlers
	// of the socket and its sessions on goroutines of their own, and must run it
	// sooner or later, one at a time and in the order given if that is wanted. It
	// must not wait for it.
	Dispatch func(func())

	// Logf, if not nil, is told in one line each what the system denies the socket:
	// buffer memory, offloads.
	Logf func(format string, args ...any)
}

// EndpointOptions describe one local UDP binding.
type EndpointOptions struct {
	Address string // IP address or host name; "" is every address of the family (CQS-005)
	Port    int    // 0 to 65535; 0 lets the system choose (CQS-006)
	Type    string // UDP4, the default, UDP6 or UDP6Only (CQS-007)

	// Lookup resolves Address. Nil is the socket's (ADD-004).
	Lookup LookupFunc
	// Preferred makes sessions that are opened on the socket use this endpoint, if its
	// family fits, before those that were added earlier.
	Preferred bool

	ReuseAddr bool // SO_REUSEADDR

	// PacketConn, if not nil, is used in place of a port of our own, and Address, Port and
	// Lookup are not: a tunnel, an inherited descriptor. The endpoint closes it, which must
	// end a ReadFrom that waits, and so must not happen inside of one. Anything but a *net.UDPConn goes without segmentation
	// offload, and its WriteTo is called on a goroutine of its own: one that waits holds up
	// what the endpoint sends, and what then does not fit a queue of 1 MiB is lost.
	PacketConn net.PacketConn

	// ReceiveBuffer and SendBuffer are bytes of kernel memory to ask for. 0 means 7 MiB.
	ReceiveBuffer, SendBuffer int

	// Readers is how many UDP sockets the endpoint opens on its port, each with a goroutine
	// that reads, for servers with many clients on many cores: 1 to 256, 0 means 1. The kernel
	// spreads clients over them by a hash of the addresses, so one session is no faster. They are joined by
	// SO_REUSEPORT when the first has the port for itself: a port that somebody has is
	// EADDRINUSE as ever, whoever that is, but afterwards programs of the same user that ask
	// for SO_REUSEPORT could join. Each has buffers of its own, and all get the options of
	// Endpoint's methods. Systems other than Linux open one, and tell Logf. With a PacketConn
	// there is no more than one.
	Readers int
}

// ConnectOptions are the choices for one client session. At least an ALPN is
// needed, here, in TLS.NextProtos, or in SocketOptions.Client.
type ConnectOptions struct {
	Address string // host name or IP address; "" is the loopback address (CON-001)
	Port    int    // 1 to 65535 (CON-038)
	Type    string // UDP4, the default, or UDP6: the family to reach the server by (CON-045)

	ALPN       string // application protocol; "" leaves it to TLS.NextProtos (CON-002)
	ServerName string // to send and to verify; "" is Address (CON-043)

	// TLS configures the handshake; it is cloned, and made to TLS 1.3. Its
	// ClientSessionCache, if it has one, gets the tickets for later sessions and
	// makes this one a resumption, with 0-RTT if the server allowed it.
	TLS *tls.Config
	// SecureContext, in place of TLS, is one made from PEM, PKCS #12 and names.
	SecureContext *securecontext.Context
	// AllowUnauthenticated lets the session go on although the server's certificate
	// does not verify; Authenticated and AuthenticationError then tell.
	AllowUnauthenticated bool
	// SkipHostnameVerification takes a server's certificate for any name; it is verified in all
	// other respects. With it, as with a CRL in SecureContext, early data takes a ticket
	// of a session that had one of them too.
	SkipHostnameVerification bool
	// QLog keeps a log of the session: see Session.QLog and SessionHooks.QLog. In
	// SocketOptions.Client it is for all clients of the socket but those with
	// DisableQLog (CON-041, CQS-020).
	QLog, DisableQLog bool
	// DisableEarlyData keeps a resumed session from sending before its handshake is done.
	DisableEarlyData bool
	// SessionTicket and RemoteTransportParams are what the SessionTicket hook of an
	// earlier session was given; the ticket resumes that session, with the
	// parameters also for 0-RTT (CON-044, CON-040).
	SessionTicket         []byte
	RemoteTransportParams []byte

	// OCSPHandler is given the proof that the server has sent that its certificate is
	// not revoked, nil if it sent none: once, before the session's Secure, with the
	// handshake waiting (CON-033, OCS-007). What a resumed session has is that of the first. An
	// error or a panic destroys the session with it. The context ends with the handshake.
	OCSPHandler func(ctx context.Context, s *ClientSession, data []byte) error

	// DelayHandshake makes the session wait, and send nothing, until StartHandshake.
	DelayHandshake bool
	// DCID is the destination connection ID of the first packets, of 8 to 20 bytes
	// that should be hard to guess; nil is a random one (X-005, RFC 9000 §7.2).
	DCID []byte
	// Versions are those that the session may be of, most preferred first: Version1, Version2, or
	// both. Nil means both, and that version 1 is preferred. The server chooses, and need not
	// go by the preference (RFC 9368, X-022).
	Versions []Version
	// FirstVersion is what the first flight is of: one of Versions. A server that speaks another
	// one answers at once in that, if it is among Versions too; one that cannot read the first flight
	// costs a round trip more. 0 means that of the ticket with which the session resumes, and without one
	// Version1, which most servers can read, if Versions has it.
	FirstVersion Version

	Lookup     LookupFunc  // nil is the socket's (CON-017)
	TokenStore *TokenStore // nil is the socket's

	// PreferredAddressPolicy "accept" moves the session to the address that the
	// server prefers, if it names one of the same family, and neither a multicast group nor,
	// from elsewhere, this host; "reject" is the default (CON-039).
	PreferredAddressPolicy string

	Hooks SessionHooks

	ActiveConnectionIDLimit int           // connection IDs of the peer we keep: 2 to 8, 0 means 2 (CON-018)
	CongestionAlgorithm     string        // "reno", the default, or "cubic" (CON-019)
	HighWaterMark           int           // bytes a stream takes that are not yet packed: to 65,536, more counts as that; 0 means 16,384, None 0 (CON-011)
	IdleTimeout             time.Duration // 1 ms or more, in whole ms; 0 means 10 s, None that we end no session for silence (CON-013)
	KeepAlive               time.Duration // a PING after this much silence, 100 ms or more, or half of the idle timeout in force if that is less; 0 means never
	HandshakeTimeout        time.Duration // 0 means 10 s
	CallbackTimeout         time.Duration // for one TLS callback; 0 means 60 s
	MaxAckDelay             time.Duration // 0 means 25 ms, None 0; below 2^14 ms; below 2 ms the peer cannot ask for another (CON-020)
	MaxData                 int64         // bytes the peer may send at first; 0 means 1 MiB, None 0 (CON-021)
	MaxUDPPayloadSize       int           // bytes of the largest datagram we take: 1200 or more, 0 and above 65527 mean 65527 (CON-022)
	MaxStreamDataBidiLocal  int64         // bytes on a stream of ours at first; 0 means 256 KiB, None 0 (CON-023)
	MaxStreamDataBidiRemote int64         // bytes on a stream of the peer's; 0 means 256 KiB, None 0 (CON-024)
	MaxStreamDataUni        int64         // bytes on a unidirectional stream; 0 means 256 KiB, None 0 (CON-025)
	MaxStreamsBidi          int64         // streams the peer may have open; 0 means 100, None 0 (CON-026)
	MaxStreamsUni           int64         // likewise; 0 means 3, None 0 (CON-027)
	MaxDatagramFrameSize    int           // bytes of the largest DATAGRAM frame we take, with type and length: to 65,535; 0 means that we take none (RFC 9221)
	MaxDatagramSize         int           // bytes of UDP payload that path MTU discovery tries to send at most, not those of an application datagram: 1200, which is no discovery, to 65,487; 0 means 1452 (RFC 9000 §14.3)
}

// ListenOptions are the choices for the server sessions of a socket. A
// certificate and an ALPN are needed, here or in SocketOptions.Server.
type ListenOptions struct {
	ALPN string // application protocol; "" leaves it to TLS.NextProtos (LIS-001)

	// TLS configures the handshakes; it is cloned, and made to TLS 1.3, as is what
	// its GetConfigForClient returns.
	TLS *tls.Config
	// SecureContext, in place of TLS, is one made from PEM, PKCS #12 and names.
	SecureContext *securecontext.Context
	// RequestCert makes the server ask clients for a certificate, which must verify by
	// the CA of SecureContext or TLS.ClientCAs: a client without ends with a TLS error (LIS-038).
	// The client learns of that only after its own handshake is complete, as TLS 1.3 has it:
	// its Dial succeeds, and its session ends soon. It is told the names of those CAs, and
	// shows no certificate at all if it has none of theirs.
	RequestCert bool
	// AllowUnauthenticated lets clients in with any certificate or none although RequestCert is
	// set; Authenticated and AuthenticationError then tell (LIS-039).
	AllowUnauthenticated bool
	// TicketKeys are what session tickets are protected with: the first for new
	// ones, all for old ones, as the SessionIDContext of each session's context parts them. They serve for
	// every context, also for one that a handler chose and that has keys of its own. Nil leaves
	// it to the context, or to TLS, or to random ones.
	TicketKeys [][32]byte
	// DisableEarlyData refuses 0-RTT (LIS-010).
	DisableEarlyData bool
	// ReplayRegister sees to it that a ticket serves one session's 0-RTT only. Nil
	// means one of the listener's own: only the tickets that it has issued itself are good
	// for 0-RTT, whoever has the same TicketKeys.
	ReplayRegister ReplayRegister
	// TicketData is what early data depends on in the protocol above, as HTTP/3's settings: up to
	// 1024 bytes that each ticket carries, which the client cannot read or change.
	TicketData []byte
	// AcceptEarly is asked whether early data may be taken with a ticket that has this TicketData,
	// as a TLS callback is. Nil means if it is the listener's.
	AcceptEarly func(ticketData []byte) bool

	// Versions are those that sessions may be of, most preferred first: Version1, Version2, or
	// both. A client that has offered a better one than it has begun with is answered in that. Nil
	// means both, and that the client's preference counts (RFC 9368, X-022).
	Versions []Version

	// PreferredAddress is where clients should continue after the handshake: at most one
	// address of each family (LIS-034, RFC 9000 §9.6). Packets sent there must reach this
	// socket. Nil means none.
	PreferredAddress []PreferredAddress
	// Lookup resolves the host names in PreferredAddress. Nil is the socket's (LIS-018).
	Lookup LookupFunc

	// ClientHelloHandler is asked at the start of the handshake of each session, which
	// waits for it while others go on, up to CallbackTimeout (LIS-006, CHE-002). The
	// session goes on with the context it returns, or with nil with that of the
	// listener. An error or a panic destroys the session with it, and fails
	// the client's handshake. The context it is given ends with the handshake.
	ClientHelloHandler func(ctx context.Context, s *ServerSession, h ClientHello) (*securecontext.Context, error)
	// OCSPHandler is asked after that, likewise, for the proof that the certificate is not
	// revoked, if the client wants to see it (LIS-029, OCS-001).
	OCSPHandler func(ctx context.Context, s *ServerSession, r OCSPRequest) (OCSPResponse, error)

	// Handler is given every new session, before its handshake is done, on a
	// goroutine of its own. The session's hooks wait until it returns; an error or a
	// panic destroys the session and is reported to SocketHooks.SessionError.
	// With a Handler there is no Accept (SOC-013 to SOC-017).
	Handler func(*ServerSession) error
	// Hooks are those of every new session; its Handler can set others.
	Hooks SessionHooks

	ActiveConnectionIDLimit int           // connection IDs of the peer we keep: 2 to 8, 0 means 2 (LIS-019)
	CongestionAlgorithm     string        // "reno", the default, or "cubic" (LIS-020)
	HighWaterMark           int           // bytes a stream takes that are not yet packed: to 65,536, more counts as that; 0 means 16,384, None 0 (LIS-012)
	IdleTimeout             time.Duration // 1 ms or more, in whole ms; 0 means 10 s, None that we end no session for silence (LIS-014)
	KeepAlive               time.Duration // a PING after this much silence, 100 ms or more, or half of the idle timeout in force if that is less; 0 means never
	HandshakeTimeout        time.Duration // 0 means 10 s
	CallbackTimeout         time.Duration // for one TLS callback; 0 means 60 s
	MaxAckDelay             time.Duration // 0 means 25 ms, None 0; below 2^14 ms; below 2 ms the peer cannot ask for another (LIS-021)
	MaxData                 int64         // bytes the peer may send at first; 0 means 1 MiB, None 0 (LIS-022)
	MaxUDPPayloadSize       int           // bytes of the largest datagram we take: 1200 or more, 0 and above 65527 mean 65527 (LIS-023)
	MaxStreamDataBidiLocal  int64         // bytes on a stream of ours at first; 0 means 256 KiB, None 0 (LIS-026)
	MaxStreamDataBidiRemote int64         // bytes on a stream of the peer's; 0 means 256 KiB, None 0 (LIS-027)
	MaxStreamDataUni        int64         // bytes on a unidirectional stream; 0 means 256 KiB, None 0 (LIS-028)
	MaxStreamsBidi          int64         // streams the peer may have open; 0 means 100, None 0 (LIS-024)
	MaxStreamsUni           int64         // likewise; 0 means 3, None 0 (LIS-025)
	MaxDatagramFrameSize    int           // bytes of the largest DATAGRAM frame we take, with type and length: to 65,535; 0 means that we take none (RFC 9221)
	MaxDatagramSize         int           // bytes of UDP payload that path MTU discovery tries to send at most, not those of an application datagram: 1200, which is no discovery, to 65,487; 0 means 1452 (RFC 9000 §14.3)
}

// StreamOptions are the choices for one stream that is opened here.
type StreamOptions struct {
	HalfOpen      bool // unidirectional: we write and the peer reads (SES-072)
	HighWaterMark int  // bytes it takes that are not yet packed: to 65,536, more counts as that; 0 means the session's, None 0 (SES-073)
	Hooks         StreamHooks
}

// sessionOptions are the options that clients and servers share.
type sessionOptions struct {
	activeConnectionIDLimit int
	congestionAlgorithm     string
	highWaterMark           int
	idleTimeout             time.Duration
	keepAlive               time.Duration
	handshakeTimeout        time.Duration
	callbackTimeout         time.Duration
	maxAckDelay             time.Duration
	maxData                 int64
	maxUDPPayloadSize       int
	maxStreamDataBidiLocal  int64
	maxStreamDataBidiRemote int64
	maxStreamDataUni        int64
	maxStreamsBidi          int64
	maxStreamsUni           int64
	maxDatagramFrameSize    int
	maxDatagramSize         int
}

func (o *ConnectOptions) session() sessionOptions {
	return sessionOptions{
		o.ActiveConnectionIDLimit, o.CongestionAlgorithm, o.HighWaterMark, o.IdleTimeout, o.KeepAlive,
		o.HandshakeTimeout, o.CallbackTimeout, o.MaxAckDelay, o.MaxData, o.MaxUDPPayloadSize,
		o.MaxStreamDataBidiLocal, o.MaxStreamDataBidiRemote, o.MaxStreamDataUni, o.MaxStreamsBidi, o.MaxStreamsUni,
		o.MaxDatagramFrameSize, o.MaxDatagramSize,
	}
}

func (o *ListenOptions) session() sessionOptions {
	return sessionOptions{
		o.ActiveConnectionIDLimit, o.CongestionAlgorithm, o.HighWaterMark, o.IdleTimeout, o.KeepAlive,
		o.HandshakeTimeout, o.CallbackTimeout, o.MaxAckDelay, o.MaxData, o.MaxUDPPayloadSize,
		o.MaxStreamDataBidiLocal, o.MaxStreamDataBidiRemote, o.MaxStreamDataUni, o.MaxStreamsBidi, o.MaxStreamsUni,
		o.MaxDatagramFrameSize, o.MaxDatagramSize,
	}
}

// over returns the options with base's where they are zero.
func (o sessionOptions) over(base sessionOptions) sessionOptions {
	return sessionOptions{
		cmp.Or(o.activeConnectionIDLimit, base.activeConnectionIDLimit),
		cmp.Or(o.congestionAlgorithm, base.congestionAlgorithm),
		cmp.Or(o.highWaterMark, base.highWaterMark),
		cmp.Or(o.idleTimeout, base.idleTimeout),
		cmp.Or(o.keepAlive, base.keepAlive),
		cmp.Or(o.handshakeTimeout, base.handshakeTimeout),
		cmp.Or(o.callbackTimeout, base.callbackTimeout),
		cmp.Or(o.maxAckDelay, base.maxAckDelay),
		cmp.Or(o.maxData, base.maxData),
		cmp.Or(o.maxUDPPayloadSize, base.maxUDPPayloadSize),
		cmp.Or(o.maxStreamDataBidiLocal, base.maxStreamDataBidiLocal),
		cmp.Or(o.maxStreamDataBidiRemote, base.maxStreamDataBidiRemote),
		cmp.Or(o.maxStreamDataUni, base.maxStreamDataUni),
		cmp.Or(o.maxStreamsBidi, base.maxStreamsBidi),
		cmp.Or(o.maxStreamsUni, base.maxStreamsUni),
		cmp.Or(o.maxDatagramFrameSize, base.maxDatagramFrameSize),
		cmp.Or(o.maxDatagramSize, base.maxDatagramSize),
	}
}

// over returns the options with base's where they are zero.
func (o ConnectOptions) over(base ConnectOptions) ConnectOptions {
	o.Address = cmp.Or(o.Address, base.Address)
	o.Port = cmp.Or(o.Port, base.Port)
	o.Type = cmp.Or(o.Type, base.Type)
	o.ALPN = cmp.Or(o.ALPN, base.ALPN)
	o.ServerName = cmp.Or(o.ServerName, base.ServerName)
	if o.TLS == nil && o.SecureContext == nil {
		o.TLS, o.SecureContext = base.TLS, base.SecureContext
	}
	o.AllowUnauthenticated = o.AllowUnauthenticated || base.AllowUnauthenticated
	o.SkipHostnameVerification = o.SkipHostnameVerification || base.SkipHostnameVerification
	o.DisableEarlyData = o.DisableEarlyData || base.DisableEarlyData
	if o.SessionTicket == nil && o.RemoteTransportParams == nil {
		o.SessionTicket, o.RemoteTransportParams = base.SessionTicket, base.RemoteTransportParams
	}
	if o.OCSPHandler == nil {
		o.OCSPHandler = base.OCSPHandler
	}
	o.DelayHandshake = o.DelayHandshake || base.DelayHandshake
	o.QLog, o.DisableQLog = o.QLog || base.QLog, o.DisableQLog || base.DisableQLog
	if o.DCID == nil {
		o.DCID = base.DCID
	}
	if o.Versions == nil {
		o.Versions = base.Versions
	}
	o.FirstVersion = cmp.Or(o.FirstVersion, base.FirstVersion)
	if o.Lookup == nil {
		o.Lookup = base.Lookup
	}
	o.TokenStore = cmp.Or(o.TokenStore, base.TokenStore)
	o.PreferredAddressPolicy = cmp.Or(o.PreferredAddressPolicy, base.PreferredAddressPolicy)
	o.Hooks = o.Hooks.over(base.Hooks)
	return o
}

// over returns the options with base's where they are zero.
func (o ListenOptions) over(base ListenOptions) ListenOptions {
	o.ALPN = cmp.Or(o.ALPN, base.ALPN)
	if o.TLS == nil && o.SecureContext == nil {
		o.TLS, o.SecureContext = base.TLS, base.SecureContext
	}
	o.RequestCert = o.RequestCert || base.RequestCert
	o.AllowUnauthenticated = o.AllowUnauthenticated || base.AllowUnauthenticated
	if o.TicketKeys == nil {
		o.TicketKeys = base.TicketKeys
	}
	o.DisableEarlyData = o.DisableEarlyData || base.DisableEarlyData
	if o.ReplayRegister == nil {
		o.ReplayRegister = base.ReplayRegister
	}
	if o.TicketData == nil {
		o.TicketData = base.TicketData
	}
	if o.AcceptEarly == nil {
		o.AcceptEarly = base.AcceptEarly
	}
	if o.Versions == nil {
		o.Versions = base.Versions
	}
	if o.PreferredAddress == nil {
		o.PreferredAddress = base.PreferredAddress
	}
	if o.Lookup == nil {
		o.Lookup = base.Lookup
	}
	if o.ClientHelloHandler == nil {
		o.ClientHelloHandler = base.ClientHelloHandler
	}
	if o.OCSPHandler == nil {
		o.OCSPHandler = base.OCSPHandler
	}
	if o.Handler == nil {
		o.Handler = base.Handler
	}
	o.Hooks = o.Hooks.over(base.Hooks)
	return o
}
