package http3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// What a malicious peer does to HTTP/3, QPACK and capsules, under the numbers of the list of enemies.
// The bound of each is how much memory the session may take for it, with all that the
// attacker's own end has in the same process.

const (
	smallBound = 512 << 10
	floodBound = 1 << 20 // 5,000 useless things, and what of them waits in the windows of both ends
)

// inBoth names attacks as they are on a server, and on a client.
func inBoth(names ...string) (all []string) {
	for _, name := range names {
		all = append(all, "server: "+name, "client: "+name)
	}
	return all
}

// RFC 9114 §4.2.2, RFC 9204 §7.4
func TestH01HeaderBomb(t *testing.T) {
	besiege(t, smallBound, append(inBoth("10^5 lines", "10^4 references to a large entry", "10^4 references to a large entry, in trailers"),
		"server: header list over the limit", "server: more fields than the limit", "server: a block longer than the limit",
		"server: trailers over the limit", "server: a bomb of references",
		"client: header list over the limit", "client: trailers over the limit", "client: informational over the limit",
		"client: a promise over the limit of a list")...)
	t.Run("what decoding takes", bombsAreNotMade)
	t.Run("under the limits", blocksUnderTheLimits)
}

func TestH02FrameLengthLies(t *testing.T) {
	besiege(t, smallBound,
		"server: HEADERS that lie", "server: DATA that lies", "server: an unknown frame that lies", "server: SETTINGS that lie",
		"server: PRIORITY_UPDATE that lies", "server: MAX_PUSH_ID that lies", "server: an unknown frame that lies on control",
		"client: HEADERS that lie", "client: PUSH_PROMISE that lies")
	t.Run("capsules", hugeCapsules)
}

// RFC 9204 §2.2.3, §4.5.1.2, §7.4
func TestH03QPACKIntegers(t *testing.T) {
	besiege(t, smallBound, append(inBoth(
		"Required Insert Count that cannot be", "Required Insert Count of more than 62 bits", "Base below 0", "index of more than 62 bits",
		"string longer than its block", "entry of an empty table", "entry beyond what the block needs",
		"static entry 99", "Huffman that ends badly", "a block that is cut off", "an empty block", "bad block in trailers",
		"insertion of an integer of more than 62 bits"), "client: a promise of a bad block")...)
}

func TestH04TableCapacity(t *testing.T) {
	besiege(t, smallBound, inBoth("table capacity of 10^10", "insertion without capacity", "insertion larger than the table", "table capacity flood")...)
}

// RFC 9204 §2.1.2
func TestH05BlockedStreams(t *testing.T) {
	besiege(t, smallBound, inBoth("one blocked stream too many", "a blocked stream where none may be", "an insertion where there is no table",
		"blocked, reset, and again", "blocked, served, and again", "all that may be blocked, and insertions")...)
}

func TestH06TableChurn(t *testing.T) {
	besiege(t, smallBound, inBoth("table churn", "increment beyond what was inserted", "acknowledgement of nothing", "cancellation flood")...)
	t.Run("decoder stream unread", decoderIsNotRead)
}

func TestH07RapidReset(t *testing.T) {
	beset(t, floodBound)
	t.Run("session", sessionRapidReset)
	t.Run("handlers", serverRapidReset)
}

// RFC 9114 §4.1.2
func TestH08ContentLength(t *testing.T) {
	besiege(t, smallBound,
		"server: Content-Length too long", "server: Content-Length too long, with trailers", "server: Content-Length and nothing",
		"server: Content-Length and an empty DATA", "server: Content-Length and the end by itself", "server: Content-Length too short",
		"server: Content-Length twice", "server: Content-Length list",
		"client: Content-Length too long", "client: Content-Length too short", "client: Content-Length and an empty DATA")
}

// RFC 9114 §4.2, §10.3
func TestH09MalformedMessages(t *testing.T) {
	names := inBoth("upper case in trailers", "value with CR in trailers", "connection in trailers", "pseudo-header field in trailers", ":status in trailers",
		"Content-Length twice in trailers", "Content-Length too long", "Content-Length too long, with trailers", "Content-Length too short")
	for _, f := range badField {
		names = append(names, inBoth(f.name)...)
	}
	besiege(t, smallBound, append(names,
		"server: empty :path", "server: Host is another", "server: Host twice", "server: user information", "server: :status in a request",
		"server: unknown pseudo-header field", "server: misspelt pseudo-header field", "server: pseudo-header field behind others", "server: :method twice",
		"client: te of trailers", "client: :method in a response", "client: pseudo-header field that is none", "client: :status behind others", "client: :status twice",
		"client: upper case in a promise", "client: connection in a promise", "client: value with NUL in a promise")...)
}

func TestH10CriticalStreams(t *testing.T) {
	besiege(t, smallBound, append(inBoth(
		"control closed", "encoder closed", "decoder closed", "control reset", "encoder reset", "decoder reset",
		"control stopped", "encoder stopped", "decoder stopped",
		"a second control stream", "a second encoder stream", "a second decoder stream",
		"control begins with an unknown frame", "control begins with CANCEL_PUSH", "control ends at once",
		"SETTINGS twice", "a setting twice", "an unknown setting twice", "half a setting",
		"setting 0x0", "setting 0x2 of HTTP/2", "setting 0x3 of HTTP/2", "setting 0x4 of HTTP/2", "setting 0x5 of HTTP/2",
		"frame 0x2 of HTTP/2 on control", "frame 0x6 of HTTP/2 on control", "frame 0x8 of HTTP/2 on control", "frame 0x9 of HTTP/2 on control",
		"DATA on control", "HEADERS on control", "PUSH_PROMISE on control"),
		"server: frame 0x2 of HTTP/2 on a request", "server: frame 0x6 of HTTP/2 on a request", "server: frame 0x8 of HTTP/2 on a request", "server: frame 0x9 of HTTP/2 on a request",
		"client: frame 0x2 of HTTP/2 on a response", "client: frame 0x6 of HTTP/2 on a response", "client: frame 0x8 of HTTP/2 on a response", "client: frame 0x9 of HTTP/2 on a response",
		"client: control begins with GOAWAY")...)
}

func TestH11Push(t *testing.T) {
	besiege(t, smallBound,
		"server: a push stream from a client", "server: MAX_PUSH_ID falls", "server: PUSH_PROMISE to a server",
		"server: CANCEL_PUSH for what was not promised",
		"client: a promise beyond the limit", "client: a promise for another host", "client: a promise of the port of another service",
		"client: two streams of one push", "client: a push stream beyond the limit", "client: CANCEL_PUSH beyond the limit",
		"client: a promise to a client that allows none", "client: a push stream to a client that allows none", "client: CANCEL_PUSH to a client that allows none",
		"client: MAX_PUSH_ID from a server")
	besiege(t, floodBound, "server: MAX_PUSH_ID storm", "client: promises flood", "client: CANCEL_PUSH storm")
}

// A stream whose type never comes has no time limit of its own: its few bytes are all that it costs, and as it
// stays one of those that the peer may have at once, the peer keeps itself from opening others.
// RFC 9114 §6.2.
func TestH12UnidirectionalStreams(t *testing.T) {
	besiege(t, smallBound, inBoth("a stream of an unknown type", "a stream whose type never comes",
		"streams whose types never come, all that there may be", "a stream that ends before its type",
		"more streams of unknown types than are allowed at once")...)
	besiege(t, floodBound, inBoth("streams of unknown types at line rate")...)
}

// RFC 9218 §7.2
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

// RFC 9114 §4.1, §4.3.2
func TestH15ResponseAbuse(t *testing.T) {
	besiege(t, smallBound,
		"client: storm of informational responses", "client: a second final response", "client: an informational one behind the final",
		"client: HEADERS behind the trailers", "client: DATA behind the trailers", "client: no :status", "client: :status of 999",
		"client: :status of abc", "client: :status of 101", "client: nothing at all", "client: informational and nothing")
}

// What there is of H-16 without WebTransport.
func TestH16Capsules(t *testing.T) {
	beset(t, smallBound)
	t.Run("capsules of any size", hugeCapsules)
	t.Run("close while flow control blocks", closeWhileBlocked)
}

func TestH17SlowBodies(t *testing.T) {
	beset(t, floodBound)
	t.Run("read deadline", readDeadline)
	t.Run("write deadline", writeDeadline)
	t.Run("a request that drips", serverReadTimeout)
	t.Run("a response nobody takes", serverWriteTimeout)
	t.Run("a response that drips", serverWriteDrip)
}

// A handler sees which name TLS has been asked for beside that of the request, and can refuse (RFC 9110 §7.4).
// RFC 9114 §3.3.
func TestH18NameAndAuthority(t *testing.T) {
	beset(t, floodBound)
	t.Run("certificates of tenants", func(t *testing.T) { namesOfTenants(t, false) })
	t.Run("configurations of tenants", func(t *testing.T) { namesOfTenants(t, true) })
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

// RFC 9114 §10.5
func TestH20NoOpFloods(t *testing.T) {
	besiege(t, floodBound,
		"server: unknown frames flood", "server: unknown frames flood on control", "server: empty DATA flood",
		"client: unknown frames flood", "client: unknown frames flood on control", "client: empty DATA flood")
	t.Run("datagrams", datagramFlood)
	t.Run("datagrams for slow readers", datagramsUnread)
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
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).limitless()
		crumbs := slices.Repeat(Headers{{Name: "cookie", Value: "a=b"}}, 10_000)
		head := requestBlock("GET", "/")
		most := 10_000 - len(head)
		if _, body := c.ask(append(head[:4:4], crumbs[:most]...)); body != strings.TrimSuffix(strings.Repeat("a=b; ", most), "; ") {
			t.Errorf("a cookie of %d bytes comes", len(body))
		}
		h, _ := c.ask(append(head[:4:4], crumbs...))
		wantStatus(t, h, "431")
		if n := allocated(func() { requestHeader(crumbs) }); n > 500*uint64(len(crumbs)) {
			t.Errorf("%d bytes are allocated for %d crumbs", n, len(crumbs)) // each joined to those before would be 250 MB
		}
	})
}

// A body that the handler does not read is stopped with H3_NO_ERROR, and takes no more than a stream's window.
// RFC 9114 §4.1.
func TestH22UnreadBody(t *testing.T) {
	beset(t, floodBound)
	const long, window = 1 << 30, 256 << 10 // the latter is quic's for a stream
	s := &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	url, tr := newServer(t, s)
	body := &countedZeros{left: long, look: besiegedServer.look, closed: make(chan struct{})}
	sentLittle := func(t *testing.T) {
		t.Helper()
		if body.read > window+1<<20 {
			t.Errorf("%d bytes were sent, and nobody wanted them", body.read)
		}
	}
	t.Run("transport", func(t *testing.T) {
		r := newRequest(t, "POST", url, body)
		r.ContentLength = long
		resp, err := tr.RoundTrip(r)
		must(t, err)
		if _, err := io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 || err != nil {
			t.Errorf("%v, %v", resp.Status, err)
		}
		must(t, resp.Body.Close())
		<-body.closed
		sentLittle(t)
	})
	t.Run("code", func(t *testing.T) {
		c := dialRaw(t, netip.MustParseAddrPort(strings.TrimPrefix(url, "https://")), Options{}, quic.ConnectOptions{}).known()
		st := c.open(requestBlock("POST", "/", "content-length", fmt.Sprint(long)), StreamHooks{})
		must(t, st.SetWriteDeadline(time.Now().Add(time.Minute))) // for a server that does not stop it
		body.left, body.read = long, 0
		if _, err := io.Copy(st, body); !isCut(err, NoError) {
			t.Errorf("writing the body ends with %v, want %v of the peer's", err, NoError)
		}
		sentLittle(t)
		h, _ := response(t, st)
		wantStatus(t, h, "200")
	})
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
