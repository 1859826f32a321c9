// Package quic is QUIC, versions 1 and 2 (RFC 9000, 9001, 9002 and 9369): sockets,
// sessions, streams and datagrams.
//
// # Sockets, sessions, streams
//
// A Socket owns UDP ports. It can listen and connect at the same time, and carries
// any number of sessions. A Session is one encrypted connection; its two ends are a
// ClientSession and a ServerSession. A Stream is a run of bytes in a session, and costs
// next to nothing: one for each request is normal. Listen and Dial are the short way for
// the common case:
//
//	socket, err := quic.Listen(ctx, ":4433", quic.ListenOptions{ALPN: "x", TLS: config})
//	session, err := socket.Accept(ctx)
//	stream, err := session.AcceptStream(ctx)
//
//	session, err := quic.Dial(ctx, "example.com:4433", quic.ConnectOptions{ALPN: "x"})
//	stream, err := session.OpenStream(ctx, quic.StreamOptions{})
//
// # Datagrams
//
// With MaxDatagramFrameSize in the options of both ends a session carries unreliable
// datagrams, too (RFC 9221): SendDatagram, ReceiveDatagram, MaxDatagramSize.
//
// # Waiting, facts, notices
//
// What takes time is a method with a context: Accept, Connect, Handshake, OpenStream,
// AcceptStream, Shutdown. A result that is there wins over a context that is over. Streams
// have deadlines instead, as every net.Conn. State is a method that returns
// at once, or part of a snapshot of figures: SocketStats, SessionStats, StreamStats. What
// happens unasked is told to hooks: SocketHooks, SessionHooks, StreamHooks, given in
// the options or, in a ListenOptions.Handler, by SetHooks. Hooks run one at a time for each
// session, in order, and never under a lock: they may call everything. But what waits in a
// hook holds up the session's other hooks: long work belongs in a goroutine.
//
// # Ends
//
// A stream ends like a TCP connection: CloseWrite and CloseRead end one side, Close
// both, and what was written still arrives. Reset, Stop and Destroy cut off. A session's
// Close lets its streams end and takes no others, and Shutdown waits for that;
// CloseWithError ends it now and tells the peer a code, Destroy says why to this program.
// When the peer closes a session without an error, streams that have come whole can still
// be accepted and read to io.EOF; all others are cut off with the session. A
// Socket's Close takes no new sessions and has each one there close: idle ones end at
// once, others with their last stream. Shutdown waits for that, and ends what is left when
// its context does; Destroy ends everything at once.
//
// # Errors
//
// What ended a session or a stream is a type: ApplicationError and StreamError with a code of
// the application's, TransportError with one of RFC 9000 or a TLS alert,
// IdleTimeoutError, HandshakeTimeoutError, StatelessResetError, VersionNegotiationError.
// Sessions that are over match net.ErrClosed, deadlines os.ErrDeadlineExceeded, and
// contexts their own errors. A call that comes too late is a StateError, and
// an option out of its range an OptionError, before anything is done. Every error of the
// package has a method Code that returns its name in the API document, such as
// "ERR_INVALID_STATE". That document is Node.js 15's description of a QUIC API, which this
// package has grown from: the repository's docs/from-node.md tells how the two compare.
//
// # Options
//
// A zero option means the documented default. Where an explicit zero means something
// else than that, None says it. SocketOptions.Client and Server are what Connect and
// Listen use for options that they are not given. Marks as CON-013 or SES-071 in the comments
// are rows of the repository's docs/api-coverage.tsv, which names the test that proves each.
//
// # Endpoints
//
// A Socket begins with one Endpoint, which is one UDP port; AddEndpoint adds others before
// the first Listen or Connect binds them all, as one for IPv4 and one for IPv6. Sessions leave
// by the endpoint that they live on. ClientSession.SetSocket moves a session to another
// socket, and a server's PreferredAddress asks clients to move to another endpoint. A
// Socket's BlockList says with whom it has nothing to do.
//
// # Security
//
// The handshake is TLS 1.3 by crypto/tls, configured by a tls.Config, or by a context of
// package securecontext, which knows PEM, PKCS #12, revocation lists and more. Certificates
// are verified unless AllowUnauthenticated is set; the reason against one is a
// VerifyError. ClientHelloHandler and OCSPHandler take part in the handshake. A
// tls.Config.ClientSessionCache at a client, or what its SessionTicket hook was given, resumes sessions.
// Early data (0-RTT) is sent when a resumed session allows it, and taken by servers at most once for each ticket; Stream.Early tells it apart, because
// who wrote it is not as certain as the rest. What a peer can make an end hold is
// bounded everywhere.
//
// # Looking inside
//
// The KeyLog hook is told the secrets with which Wireshark decrypts a capture. With the option
// QLog a session keeps a log of every packet, frame and change of state in the form of package
// qlog: Session.QLog reads it while it grows, QLogWriter writes it elsewhere.
// SetDiagnosticPacketLoss is a bad network at home.
//
// # Work
//
// No goroutine belongs to a session: the goroutine that brings work does it. Write packs,
// encrypts and sends on the caller's goroutine, small writes after a moment in which others can
// join them. A Stream's End writes and ends in one packet; its SendFile and ReadFrom read
// straight into the memory that the data is sent from.
package quic
