package http3

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// What a malicious peer does to HTTP/3, QPACK and capsules, under the numbers of the list of enemies.
// The bound of each is how much memory the session may take for it, with all that the
// attacker's own end has in the same process.

const (
	smallBound = 512 << 10
	floodBound = 1 << 20 // 5,000 useless things, and what of them waits in the windows of both ends
)

func TestH01HeaderBomb(t *testing.T) {
	besiege(t, smallBound,
		"server: header list over the limit", "server: more fields than the limit", "server: a block longer than the limit",
		"server: trailers over the limit", "server: a bomb of references",
		"client: header list over the limit", "client: trailers over the limit", "client: informational over the limit",
		"client: a promise over the limit of a list")
}

func TestH02FrameLengthLies(t *testing.T) {
	besiege(t, smallBound,
		"server: HEADERS that lie", "server: DATA that lies", "server: an unknown frame that lies", "server: SETTINGS that lie",
		"server: PRIORITY_UPDATE that lies", "server: MAX_PUSH_ID that lies", "server: an unknown frame that lies on control",
		"client: HEADERS that lie", "client: PUSH_PROMISE that lies")
	t.Run("capsule", hugeCapsule)
}

func TestH03QPACKIntegers(t *testing.T) {
	besiege(t, smallBound,
		"server: Required Insert Count that cannot be", "server: Base below 0", "server: index of more than 62 bits",
		"server: string longer than its block", "server: entry of an empty table", "server: entry beyond what the block needs",
		"server: static entry 99", "server: Huffman that ends badly", "server: a block that is cut off", "server: an empty block",
		"client: static entry 99", "client: bad block in trailers", "client: a promise of a bad block")
}

func TestH04TableCapacity(t *testing.T) {
	besiege(t, smallBound,
		"server: table capacity of 10^10", "server: insertion without capacity", "server: insertion larger than the table", "server: table capacity flood",
		"client: table capacity of 10^10", "client: insertion without capacity")
}

func TestH05BlockedStreams(t *testing.T) {
	besiege(t, smallBound, "server: one blocked stream too many", "server: blocked, reset, and again", "client: one blocked stream too many")
}

func TestH06TableChurn(t *testing.T) {
	besiege(t, smallBound,
		"server: table churn", "server: increment beyond what was inserted", "server: acknowledgement of nothing",
		"server: cancellation flood", "client: cancellation flood")
	t.Run("decoder stream unread", decoderIsNotRead)
}

func TestH07RapidReset(t *testing.T) {
	beset(t, floodBound)
	t.Run("session", sessionRapidReset)
	t.Run("handlers", serverRapidReset)
}

func TestH08ContentLength(t *testing.T) {
	besiege(t, smallBound,
		"server: Content-Length too long", "server: Content-Length too long, with trailers", "server: Content-Length and nothing",
		"server: Content-Length and an empty DATA", "server: Content-Length and the end by itself", "server: Content-Length too short",
		"server: Content-Length twice", "server: Content-Length list",
		"client: Content-Length too long", "client: Content-Length too short", "client: Content-Length and an empty DATA")
}

func TestH09MalformedMessages(t *testing.T) {
	besiege(t, smallBound,
		"server: upper case", "server: upper case in trailers", "server: value with CR", "server: value with LF", "server: value with NUL",
		"server: name with a space", "server: connection", "server: keep-alive", "server: proxy-connection", "server: upgrade",
		"server: transfer-encoding", "server: te of gzip", "server: empty :path", "server: Host is another", "server: Host twice",
		"server: user information", "server: pseudo-header field in trailers", "server: :status in a request",
		"client: upper case", "client: transfer-encoding", "client: value with LF", "client: :method in a response")
}

func TestH10CriticalStreams(t *testing.T) {
	besiege(t, smallBound,
		"server: control begins with an unknown frame", "server: SETTINGS twice", "server: a setting twice", "server: setting 0x5 of HTTP/2",
		"server: frame 0x2 of HTTP/2 on control", "server: control closed", "server: control reset", "server: control stopped",
		"server: encoder closed", "server: encoder reset", "server: decoder closed", "server: a second control stream",
		"server: a second encoder stream", "server: a second decoder stream",
		"client: control begins with GOAWAY", "client: SETTINGS twice", "client: a setting twice", "client: setting 0x2 of HTTP/2",
		"client: control closed", "client: control stopped", "client: a second control stream")
}

func TestH11Push(t *testing.T) {
	besiege(t, smallBound,
		"server: a push stream from a client", "server: MAX_PUSH_ID falls", "server: PUSH_PROMISE to a server",
		"server: CANCEL_PUSH for what was not promised",
		"client: a promise beyond the limit", "client: a promise for another host", "client: a promise of the port of another service",
		"client: two streams of one push", "client: a push stream beyond the limit")
	besiege(t, floodBound, "server: MAX_PUSH_ID storm", "client: promises flood", "client: CANCEL_PUSH storm")
}

func TestH12UnidirectionalStreams(t *testing.T) {
	besiege(t, smallBound,
		"server: a stream of an unknown type", "server: a stream whose type never comes", "server: a stream that ends before its type",
		"server: more streams of unknown types than are allowed at once", "client: a stream of an unknown type")
	besiege(t, floodBound, "server: streams of unknown types at line rate")
}

func TestH13PriorityUpdateFlood(t *testing.T) {
	besiege(t, smallBound,
		"server: PRIORITY_UPDATE of junk", "server: PRIORITY_UPDATE of a unidirectional stream", "server: PRIORITY_UPDATE beyond the limit",
		"server: PRIORITY_UPDATE of no push", "server: PRIORITY_UPDATE of a long value", "client: PRIORITY_UPDATE from a server")
	besiege(t, floodBound, "server: PRIORITY_UPDATE flood")
	t.Run("requests that have not come", earlyUpdates)
}

func TestH14GoAway(t *testing.T) {
	besiege(t, smallBound,
		"server: GOAWAY rises", "server: GOAWAY falls", "server: GOAWAY on a request", "client: GOAWAY rises",
		"client: GOAWAY with a stream of the server's", "client: GOAWAY with a unidirectional stream", "client: GOAWAY on a response")
	besiege(t, floodBound, "server: GOAWAY storm", "client: GOAWAY storm")
}

func TestH15ResponseAbuse(t *testing.T) {
	besiege(t, smallBound,
		"client: storm of informational responses", "client: a second final response", "client: an informational one behind the final",
		"client: HEADERS behind the trailers", "client: DATA behind the trailers", "client: no :status", "client: :status of 999",
		"client: :status of abc", "client: :status of 101", "client: nothing at all", "client: informational and nothing")
}

// What there is of H-16 without WebTransport.
func TestH16Capsules(t *testing.T) {
	beset(t, smallBound)
	t.Run("a capsule of 2^62-1 bytes", hugeCapsule)
}

func TestH17SlowBodies(t *testing.T) {
	beset(t, floodBound)
	t.Run("read deadline", readDeadline)
	t.Run("write deadline", writeDeadline)
	t.Run("a request that drips", serverReadTimeout)
	t.Run("a response nobody takes", serverWriteTimeout)
}

// A handler sees which name TLS has been asked for beside that of the request, and can refuse (RFC 9110 §7.4).
func TestH18NameAndAuthority(t *testing.T) {
	beset(t, floodBound)
	url, tr := newServer(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.Host); err != nil || !strings.EqualFold(host, r.TLS.ServerName) {
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
		_, _ = io.WriteString(w, r.TLS.ServerName)
	})})
	tr.TLSClientConfig.ServerName = "LocalHost"
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ":")
	for host, want := range map[string]int{"localhost:" + port: 200, "other.example:" + port: 421, "localhost.:" + port: 421, "example.com:" + port: 421} {
		r, err := http.NewRequest("GET", url, nil)
		must(t, err)
		r.Host = host
		resp, err := tr.RoundTrip(r)
		must(t, err)
		name, err := io.ReadAll(resp.Body)
		if resp.StatusCode != want || !strings.EqualFold(string(name), "localhost") || err != nil {
			t.Errorf("%s: %d, TLS was asked for %q, %v", host, resp.StatusCode, name, err)
		}
	}
}

func TestH20NoOpFloods(t *testing.T) {
	besiege(t, floodBound,
		"server: unknown frames flood", "server: unknown frames flood on control", "server: empty DATA flood",
		"client: unknown frames flood", "client: unknown frames flood on control", "client: empty DATA flood")
	t.Run("datagrams", datagramFlood)
	t.Run("malformed requests", malformedCosts)
	t.Run("requests after GOAWAY", requestsAfterGoAwayCost)
}

// Crumbs of cookies count against the limits like all fields, and are joined in time that grows with them
// (RFC 9114 §4.2.1).
func TestH21CookieCrumbs(t *testing.T) {
	besiege(t, smallBound, "server: cookies without end")
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Cookie")) })
		s.Options.MaxHeaderPairs, s.Options.MaxHeaderListSize = 10_000, 1<<20
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		h := requestBlock("GET", "/")
		for range 9_000 {
			h = append(h, Field{Name: "cookie", Value: "a=b"})
		}
		if _, body := c.ask(h); body != strings.TrimSuffix(strings.Repeat("a=b; ", 9_000), "; ") {
			t.Errorf("a cookie of %d bytes comes", len(body))
		}
	})
}

// A body that the handler does not read is stopped, and takes no more than a stream's window.
func TestH22UnreadBody(t *testing.T) {
	beset(t, floodBound)
	url, tr := newServer(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	before := siege.Heap()
	body := &countedZeros{left: 1 << 30, look: besiegedServer.look, closed: make(chan struct{})}
	r, err := http.NewRequest("POST", url, body)
	must(t, err)
	r.ContentLength = 1 << 30
	resp, err := tr.RoundTrip(r)
	must(t, err)
	if _, err := io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 || err != nil {
		t.Errorf("%v, %v", resp.Status, err)
	}
	must(t, resp.Body.Close())
	<-body.closed
	if n := siege.Heap(); n > before+2<<20 {
		t.Errorf("%d bytes more are in use", n-before)
	}
	if body.read > 64<<20 {
		t.Errorf("%d bytes were sent, and nobody wanted them", body.read)
	}
}

// countedZeros is a long body.
type countedZeros struct {
	left, read int64
	look       func()
	closed     chan struct{}
}

func (z *countedZeros) Close() error {
	close(z.closed)
	return nil
}

func (z *countedZeros) Read(p []byte) (int, error) {
	z.look()
	n := min(z.left, int64(len(p)))
	clear(p[:n])
	z.left -= n
	z.read += n
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// Bytes of other protocols, on a stream of HTTP/3 and on its port.
func TestH23ProtocolConfusion(t *testing.T) {
	besiege(t, smallBound, "server: requests of HTTP/0.9", "server: requests of HTTP/1.1", "server: preface of HTTP/2", "server: a ClientHello in a stream")
	t.Run("TLS and HTTP on the port", func(t *testing.T) {
		url, tr := newServer(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
		c, err := net.Dial("udp", strings.TrimPrefix(url, "https://"))
		must(t, err)
		defer c.Close()
		for range 50 {
			for _, b := range []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
				_, err := c.Write(append([]byte(b), bytes.Repeat([]byte{0}, 1200)...))
				must(t, err)
			}
		}
		r, err := http.NewRequest("GET", url, nil)
		must(t, err)
		resp, err := tr.RoundTrip(r)
		must(t, err)
		must(t, resp.Body.Close())
	})
	t.Run("another protocol's session", func(t *testing.T) {
		ctx := testContext(t)
		socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS()})
		must(t, err)
		defer socket.Destroy(nil)
		_, err = quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "hq-interop", TLS: clientTLS()})
		if e := (*quic.TransportError)(nil); !errors.As(err, &e) || uint64(e.ErrorCode) != 0x178 {
			t.Errorf("a client of hq-interop gets %v", err)
		}
	})
}
