// Package http3 is HTTP/3: RFC 9114 with QPACK (RFC 9204), priorities (RFC 9218), extended CONNECT
// (RFC 9220) and HTTP datagrams (RFC 9297), on sessions of package quic.
//
// There are two floors. [Server] and [Transport] are an http.Handler's server and an
// http.RoundTripper; who knows net/http needs nothing else. Below them are [Session] and [Stream], which
// speak in header blocks: what the Node document calls header events, submit methods and pushes. That is
// Node.js 15's description of a QUIC API; marks as STR-014 in the comments are rows of the repository's
// docs/api-coverage.tsv, which names the test that proves each.
//
// # Sessions
//
// [NewSession] makes HTTP/3 of a quic.Session whose ALPN is "h3", at both ends: in a
// quic.ListenOptions.Handler, after Accept, or after Dial or Connect, before the handshake too. From then on the
// session's streams, its Stream hook and its error codes are the package's; with Options.Datagrams
// the Datagram hook is as well. Secure and Close hooks that were there before are still called. The peer must
// be allowed at least three unidirectional streams (quic's MaxStreamsUni, 3 by default; RFC 9114 §6.2), or NewSession
// refuses; a client that takes pushes allows some more for these.
//
// A client opens requests with [Session.OpenStream], a server takes them from [Session.AcceptStream] or the
// Stream hook. [Session.Close] and [Session.Shutdown] end in peace: GOAWAY goes out, what is under way is finished.
//
// # Header blocks
//
// A message is an initial header block, a body and perhaps trailers; before the initial block of a response
// there can be informational ones. [Headers] keeps fields in order, pseudo-header fields first, names in
// lower case. The three Submit methods send blocks, and refuse with a [HeaderError] what HTTP/3 does not
// allow; [Stream.Headers], [Stream.Read] and [Stream.Trailers] receive. A message of the peer's that is malformed
// cancels its stream, and no byte of it counts as whole.
//
// # Waiting and hooks
//
// Methods wait, within deadlines, as those of net.Conn do. A program that must not wait gives its
// streams [StreamHooks]: header blocks, data, room and ends are told, one at a time and in order, and
// goes on with TryRead and TryWrite. On such a stream header blocks and ends do not wait for room either. Hooks
// may call all methods but those that wait.
//
// # Pushes
//
// A server promises a response with [Stream.PushStream] on the stream of a request, and writes it to
// the stream that returns. The client's hooks are told the promise there; the push itself comes as a stream of
// its own, from AcceptStream or the Stream hook, when both its promise and its stream are here.
// [Stream.Promised] is the request that it answers. A promise for a host for which the server does not speak is
// cancelled: one that is neither that of the request here nor in the server's certificate. [Session.CancelPush] takes a push back.
//
// # Priorities
//
// A server sends what it writes in the order of the requests' priority fields and PRIORITY_UPDATE frames
// (RFC 9218 §10); [Stream.SetPriority] overrules them, and [Stream.UpdatePriority] is a client's frame.
//
// # Limits
//
// What a peer can make grow is bounded: header blocks by [Options] in three ways, and a block over a limit fails
// its message alone; pushes under way; 1xx responses to a request (8); what waits because the peer does not read
// our control stream or decoder stream (64 KiB each); datagrams that wait to be received (128 of a stream, 1,024 and
// 512 KiB of all, where the stream that holds the most gives way). What is legal and
// of no use comes out of a budget of 1,000 that fills by 33 a second and by one with each request: frames and
// streams of unknown types, empty DATA, promises of what was promised, CANCEL_PUSH, MAX_PUSH_ID, GOAWAY, PRIORITY_UPDATE beyond
// four for each request, QPACK cancellations beyond one for each, new QPACK table capacities, datagrams for
// nobody, and, at two each, requests that are malformed or taken back. Who overdraws it is left with
// H3_EXCESSIVE_LOAD. [Session.Stats] has the counts.
package http3
