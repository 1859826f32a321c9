package http3

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Transport is an http.RoundTripper over HTTP/3. Fields that http.Transport has too mean the
// same. The zero Transport is ready to use, and all of its methods may be called concurrently.
//
// It keeps one session for each server, that is host, port and certificate name. Requests
// share it; when the server allows no further stream, they wait for one, until their context
// ends. A request that the server has not processed, by what it says (RFC 9114 §4.1.1,
// §5.2), is sent again on another session if its body can be had again: there is none,
// nothing of it was read, or Request.GetBody makes another. So is one whose session has died before
// anything of the response came, if it has no effect when it comes twice: GET, HEAD,
// OPTIONS, TRACE, and those with an Idempotency-Key field. There are four attempts at most.
//
// Before its final response a request may have 8 informational ones, which httptrace's Got1xxResponse is
// told; with one more it fails with ExcessiveLoad.
//
// With TLSClientConfig.ClientSessionCache later sessions resume, and a GET, HEAD,
// OPTIONS or TRACE without a body then leaves as early data (0-RTT), if the server takes that; all
// others wait for the handshake (RFC 8470).
//
// Without Fallback every request goes by HTTP/3 to the port of its URL, and fails if nobody
// there speaks it. With Fallback, HTTP/3 is used for origins that have announced it by an Alt-Svc
// field (RFC 7838) in an earlier response, or for all with PriorKnowledge. Where it cannot be had the
// request goes to Fallback, and so do those that follow for 5 minutes, a time that doubles
// with each failure, to 2 days.
type Transport struct {
	TLSClientConfig *tls.Config // its ClientSessionCache, if any, makes later sessions resume

	// QUIC holds all other options of the transport: hooks, qlog, timeouts. Address, Port, Type and
	// ALPN are set by the Transport; an IdleTimeout of zero means 30 s, a KeepAlive of zero that
	// sessions are kept alive as long as they have requests, and a HandshakeTimeout of
	// zero 3 s if there is a Fallback, 10 s else; a MaxDatagramFrameSize of zero means 65,535 with
	// Options.Datagrams, and a MaxStreamsUni of zero 16. One below 3, quic.None too, is refused: no server
	// could speak HTTP/3 in full. Its Lookup, if any, is asked for one address of each family, in place of
	// the system's resolver.
	QUIC quic.ConnectOptions
	// Options are those of HTTP/3. No pushes are taken if MaxPushes is zero.
	Options Options
	// Socket is what sessions connect from; it stays the caller's. Nil means one of the
	// Transport's own for each address family, made when first needed and closed by Close.
	Socket *quic.Socket

	// Fallback, if not nil, is where requests go whose server's HTTP/3 is not known or cannot be
	// had, and those with the http scheme: an *http.Transport with ForceAttemptHTTP2, say.
	Fallback http.RoundTripper
	// PriorKnowledge makes a Transport with a Fallback try HTTP/3 for origins too that have
	// not announced it.
	PriorKnowledge bool

	// DisableCompression keeps "Accept-Encoding: gzip" away from requests that have no
	// Accept-Encoding. A body that comes compressed to our own wish is decompressed.
	DisableCompression bool
	// ResponseHeaderTimeout is how long the headers of a response may take once the request
	// was sent with its body. Zero means no limit.
	ResponseHeaderTimeout time.Duration
	// ExpectContinueTimeout is how long the body of a request with "Expect: 100-continue"
	// waits for the server's first word. Zero means that it does not wait.
	ExpectContinueTimeout time.Duration
	// IdleConnTimeout is how long a session without a request is kept. Zero means until
	// the idle timeout of QUIC ends it. Of more than 100 such sessions the one that has had no request for the
	// longest is closed. A session that is to end has 5 s more for what is on its way.
	IdleConnTimeout time.Duration
	// MaxResponseHeaderBytes bounds the fields of one header block of a response: names,
	// values and 32 bytes for each. Zero means 1 MiB; more than 16 MiB counts as that.
	MaxResponseHeaderBytes int64

	now func() time.Time // for tests; nil is time.Now

	mu      sync.Mutex // nothing of a session, and nothing of the program, is called under it
	closed  bool
	conns   map[poolKey]*clientConn  // those that take requests
	all     map[*clientConn]struct{} // and the others that are not over
	dials   map[poolKey]*dialing
	resting idleList
	worked  map[poolKey]netip.Addr // where the last session was; bounded
	sockets [2]*quic.Socket        // our own, IPv4 and IPv6

	alts altCache
}

// RoundTrip sends a request and returns its response as soon as the headers are there. The
// Request's body is closed in any case: when it has been sent, when the response's is closed at the latest, also that of
// a response without one, or soon after an error. A server may answer before it has it all: with a status above 299 no
// more of it is sent then, with another the rest is (RFC 9114 §4.1). When the Request's context ends, the request is
// cancelled with H3_REQUEST_CANCELLED, and RoundTrip, or reads of the body, fail with
// the context's cause.
//
// A CONNECT request without a body leaves the sending side of its stream open for
// StreamOfResponse; http.NoBody ends it. The header field ":protocol" makes an extended CONNECT (RFC
// 9220), as with net/http's HTTP/2.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.Fallback != nil && r.URL != nil && r.URL.Scheme == "http" {
		return t.Fallback.RoundTrip(r)
	}
	err := checkRequest(r)
	if err == nil {
		err = grantsEnough("http3.Transport.QUIC.MaxStreamsUni", cmp.Or(t.QUIC.MaxStreamsUni, defaultStreamsUni))
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	if t.Fallback != nil {
		return t.route(r)
	}
	origin := originOf(r)
	resp, f := t.send(r, target{key: t.key(origin, origin)})
	if f != nil {
		f.closeBody()
		return nil, f.err
	}
	return resp, nil
}

// CloseIdleConnections closes sessions that carry no request, and those of Fallback. If none is
// left, the sockets of the Transport's own go too, until they are needed again. What is on its way has 5 s to arrive.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	var idle []*clientConn
	needed := len(t.dials) > 0
	for c := range t.all {
		switch {
		case c.dropped: // its end has begun, and goes on without us
		case c.ready && c.active == 0:
			t.dropLocked(c)
			idle = append(idle, c)
		default:
			needed = true
		}
	}
	var sockets [2]*quic.Socket
	if !needed {
		sockets, t.sockets = t.sockets, sockets
	}
	t.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	closeSockets(sockets)
	if f, ok := t.Fallback.(interface{ CloseIdleConnections() }); ok {
		f.CloseIdleConnections()
	}
}

// Close ends all sessions at once, requests and all, also those that are about to end in peace, and the sockets that
// are the Transport's own. Later requests fail with an error that is net.ErrClosed.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	var list []*clientConn
	for c := range t.all {
		t.dropLocked(c)
		list = append(list, c)
	}
	for key, d := range t.dials {
		delete(t.dials, key)
		d.cancel()
	}
	sockets := t.sockets
	t.sockets = [2]*quic.Socket{}
	t.mu.Unlock()
	for _, c := range list {
		_ = c.s.CloseWithError(NoError, "") // it may be over
	}
	closeSockets(sockets)
	return nil
}

// closeSockets lets sockets go when their sessions have said good-bye.
func closeSockets(sockets [2]*quic.Socket) {
	for _, s := range sockets {
		if s != nil {
			_ = s.Close() // it may be over
		}
	}
}

func (t *Transport) time() time.Time {
	if t.now != nil {
		return t.now()
	}
	return time.Now()
}

var _ http.RoundTripper = (*Transport)(nil)
