package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Requests that cannot be sent fail with an error that names why, and their body is closed (RFC 9114 §3.1.2).
func TestTransportRefuses(t *testing.T) {
	tr := &Transport{}
	defer tr.Close()
	for _, c := range []struct {
		change func(r *http.Request)
		want   string
	}{
		{func(r *http.Request) { r.URL = nil }, "Request.URL is nil"},
		{func(r *http.Request) { r.Header = nil }, "Request.Header is nil"},
		{func(r *http.Request) { r.URL.Scheme = "http" }, `scheme "http" is not encrypted`},
		{func(r *http.Request) { r.URL.Scheme = "ftp" }, `unsupported scheme "ftp"`},
		{func(r *http.Request) { r.URL.Host = "" }, "no host"},
		{func(r *http.Request) { r.URL.Host = ":443" }, "no host"},
		{func(r *http.Request) { r.URL.Host = "[]:443" }, "no host"},
		{func(r *http.Request) { r.URL.Host = "\u00ad:443" }, "it names nothing"},              // a soft hyphen
		{func(r *http.Request) { r.URL.Host = "a\uff0fb.example" }, "it has no form in ASCII"}, // a wide slash
		{func(r *http.Request) { r.Method = "G T" }, `invalid method "G T"`},
		{func(r *http.Request) { r.Header["X Y"] = []string{"1"} }, `invalid header field name "X Y"`},
		{func(r *http.Request) { r.Header["X"] = []string{"secret\n"} }, `invalid value of header field "X"`},
		{func(r *http.Request) { r.Trailer = http.Header{"X": {"\x00"}} }, `invalid value of trailer field "X"`},
		{func(r *http.Request) { r.Trailer = http.Header{":protocol": nil} }, `invalid trailer field name ":protocol"`},
		{func(r *http.Request) { r.Trailer = http.Header{"Content-Length": nil} }, "Content-Length cannot be a trailer"},
		{func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} }, "Upgrade"},
		{func(r *http.Request) { r.Header["Connection"] = []string{"upgrade"} }, "Connection"},
		{func(r *http.Request) { r.Header["Transfer-Encoding"] = []string{"gzip"} }, "Transfer-Encoding"},
		{func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }, ":protocol in a POST request"},
		{func(r *http.Request) { r.URL.Host = "localhost:0" }, `port "0"`},
	} {
		body := newBody(strings.NewReader("x"))
		r := newRequest(t, "POST", "https://localhost/", body)
		c.change(r)
		_, err := tr.RoundTrip(r)
		wantError(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v shows a value", err)
		}
		<-body.closed
	}
}

// Many requests at once share one dial and one session (RFC 9114 §4.1).
func TestTransportShares(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) { answer(st, "200", "x") })
	var wg sync.WaitGroup
	state := make(chan *tls.ConnectionState, 50)
	for range 50 {
		wg.Go(func() {
			resp, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			state <- resp.TLS
		})
	}
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("%d sessions", s.count())
	}
	first := <-state
	for range 49 {
		if first != <-state || !first.HandshakeComplete {
			t.Fatal("not the one state of the session")
		}
	}
}

// silent returns the address of a port where datagrams get no answer.
func silent(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

// A dial goes on as long as somebody waits for it, and ends with the last one.
func TestTransportDialWaiters(t *testing.T) {
	tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{HandshakeTimeout: time.Hour, IdleTimeout: time.Hour}}
	defer tr.Close()
	key := poolKey{silent(t), "localhost"}
	reason := errors.New("no patience")
	var cancels []func(error)
	errs := make(chan error)
	for i := range 3 {
		ctx, cancel := context.WithCancelCause(testContext(t))
		cancels = append(cancels, cancel)
		go func() {
			_, _, err := tr.acquire(ctx, key, false)
			errs <- err
		}()
		waitFor(t, func() bool {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			return tr.dials[key] != nil && tr.dials[key].waiters == i+1
		})
	}
	tr.mu.Lock()
	d := tr.dials[key]
	tr.mu.Unlock()
	for i, cancel := range cancels {
		cancel(reason)
		if err := <-errs; err != reason {
			t.Errorf("error %v", err)
		}
		select {
		case <-d.done:
			if i < 2 {
				t.Error("the dial ended with others waiting")
			}
		default:
		}
	}
	<-d.done
	waitFor(t, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.dials) == 0 && len(tr.all) == 0
	})
}

// waitFor yields until something that other goroutines do has happened.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !done() {
		if ctx.Err() != nil {
			t.Fatal("it does not happen")
		}
		runtime.Gosched()
	}
}

// A server that does not answer is named, with a hint; the error is a timeout.
func TestTransportNoServer(t *testing.T) {
	tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{HandshakeTimeout: 50 * time.Millisecond}}
	defer tr.Close()
	addr := silent(t)
	body := newBody(strings.NewReader("x"))
	_, err := tr.RoundTrip(newRequest(t, "POST", "https://"+addr, body))
	wantError(t, err, "no session with "+addr)
	wantError(t, err, "is HTTP/3 served on this UDP port?")
	var silence *quic.HandshakeTimeoutError
	var timeout net.Error
	if !errors.As(err, &silence) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("error %v", err)
	}
	<-body.closed
}

// Idle sessions are closed on demand and after IdleConnTimeout; those with a request are not.
func TestTransportIdle(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		if h, _ := st.Headers(); h.Get(":path") == "/slow" {
			close(begun)
			<-release
		}
		answer(st, "200", "x")
	})
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	tr.CloseIdleConnections()
	<-s.session(0).q.Closed()
	done := make(chan error, 1)
	go func() {
		resp, err := tr.RoundTrip(newRequest(t, "GET", s.url+"/slow", nil))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		done <- err
	}()
	<-begun
	tr.CloseIdleConnections()
	close(release)
	must(t, <-done)
	tr.IdleConnTimeout = time.Millisecond
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	<-s.session(1).q.Closed()
	if s.count() != 2 {
		t.Errorf("%d sessions", s.count())
	}
	waitFor(t, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.all) == 0
	})
}

// Close ends sessions, dials and everything that comes later.
func TestTransportClose(t *testing.T) {
	begun := make(chan struct{})
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		close(begun)
	})
	tr.QUIC.HandshakeTimeout = time.Hour
	errs := make(chan error, 2)
	for _, url := range []string{s.url, "https://" + silent(t)} {
		go func() {
			_, err := tr.RoundTrip(newRequest(t, "GET", url, nil))
			errs <- err
		}()
	}
	<-begun
	waitFor(t, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.dials) == 1
	})
	must(t, tr.Close())
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A session whose server has said GOAWAY gets no more requests, and is closed with its last.
func TestTransportGoAway(t *testing.T) {
	release := make(chan struct{})
	var requests atomic.Int32
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		if requests.Add(1) == 1 {
			_, _ = st.Headers()
			st.s.GoAway()
			<-release
		}
		answer(st, "200", "x")
	})
	done := make(chan error, 1)
	go func() {
		resp, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		done <- err
	}()
	waitFor(t, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for c := range tr.all {
			return c.gone
		}
		return false
	})
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	close(release)
	must(t, <-done)
	<-s.session(0).q.Closed()
	if s.count() != 2 || s.session(1).Err() != nil {
		t.Errorf("%d sessions", s.count())
	}
}

// Which requests are sent again when the server has not taken them, or the session dies; and
// how often (RFC 9114 §5.4).
func TestTransportRetries(t *testing.T) {
	var mu sync.Mutex
	tries := make(map[string]int)
	most := limits.Bound(t, "http3-attempts")
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		path := h.Get(":path")
		mu.Lock()
		tries[path]++
		n := tries[path]
		mu.Unlock()
		if n > most {
			enough()
		}
		kind := path[1 : 1+strings.IndexByte(path[1:], '/')]
		switch {
		case n > 1 && kind != "always":
			body, _ := io.ReadAll(st)
			answer(st, "200", string(body))
		case kind == "rejected", kind == "always":
			st.cancel(RequestRejected)
		case kind == "read": // the body first
			_, _ = st.Read(make([]byte, 1))
			st.cancel(RequestRejected)
		case kind == "died":
			_ = st.s.CloseWithError(NoError, "")
		case kind == "begun":
			_ = st.SubmitInformationalHeaders(Headers{{Name: ":status", Value: "103"}})
			_ = st.s.CloseWithError(NoError, "")
		case kind == "faulty":
			st.cancel(InternalError)
		}
	})
	for _, c := range []struct {
		name, method string
		body         string
		getBody      bool
		idempotent   bool
		tries        int
		ok           bool
	}{
		{"rejected/get", "GET", "", false, false, 2, true},
		{"rejected/post", "POST", "", false, false, 2, true},
		{"read/post", "POST", "hello", false, false, 1, false},
		{"read/rewind", "POST", "hello", true, false, 2, true},
		{"died/get", "GET", "", false, false, 2, true},
		{"died/post", "POST", "", false, false, 1, false},
		{"died/key", "POST", "hello", true, true, 2, true},
		{"faulty/get", "GET", "", false, false, 1, false},
		{"always/get", "GET", "", false, false, most, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequest(t, c.method, s.url+"/"+c.name+"/", nil).WithContext(ctx)
			if c.body != "" {
				r.Body, r.ContentLength = newBody(strings.NewReader(c.body)), int64(len(c.body))
			}
			if c.getBody {
				r.GetBody = func() (io.ReadCloser, error) { return newBody(strings.NewReader(c.body)), nil }
			}
			if c.idempotent {
				r.Header.Set("Idempotency-Key", "1")
			}
			resp, err := tr.RoundTrip(r)
			if (err == nil) != c.ok {
				t.Fatalf("error %v", err)
			}
			if c.ok {
				if body, err := io.ReadAll(resp.Body); string(body) != c.body || err != nil || resp.Request != r {
					t.Errorf("%q %v", body, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if n := tries["/"+c.name+"/"]; n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
		})
	}
}

// A request that the server has not begun to answer when it says GOAWAY goes to another session.
func TestTransportGoAwayBelow(t *testing.T) {
	var once sync.Once
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		first := false
		once.Do(func() { first = true })
		if first {
			_ = st.s.control("", appendIDFrame(nil, frameGoAway, st.ID())) // not even this one
			return
		}
		answer(st, "200", "x")
	})
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	if s.count() != 2 {
		t.Errorf("%d sessions", s.count())
	}
}

// The families of a host take turns, the one after a while or when the other has failed.
func TestTransportAddresses(t *testing.T) {
	s, _ := newRawServer(t, Options{}, func(st *Stream) { answer(st, "200", "x") })
	port := s.socket.Address().Port()
	url := fmt.Sprintf("https://example.com:%d", port)
	var six func() (netip.Addr, error)
	lookup := func(_ context.Context, host string, family int) (netip.Addr, error) {
		if host != "example.com" {
			return netip.Addr{}, fmt.Errorf("asked for %q", host)
		}
		if family == 6 {
			return six()
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	var events []string
	note := func(format string, a ...any) { events = append(events, fmt.Sprintf(format, a...)) }
	trace := &httptrace.ClientTrace{
		GetConn:  func(hostPort string) { note("get %s", strings.TrimSuffix(hostPort, fmt.Sprint(port))) },
		DNSStart: func(i httptrace.DNSStartInfo) { note("dns %s", i.Host) },
		DNSDone:  func(i httptrace.DNSDoneInfo) { note("addresses %d", len(i.Addrs)) },
		GotConn: func(i httptrace.GotConnInfo) {
			note("got %v %v %v", i.Reused, i.WasIdle, i.Conn.RemoteAddr().String() == s.socket.Address().String())
		},
	}
	for name, c := range map[string]struct {
		six  func() (netip.Addr, error)
		want string
	}{
		"no address": {func() (netip.Addr, error) { return netip.Addr{}, &net.DNSError{IsNotFound: true} }, "addresses 1"},
		"silence":    {func() (netip.Addr, error) { return netip.MustParseAddr("::1"), nil }, "addresses 2"},
	} {
		t.Run(name, func(t *testing.T) {
			six, events = c.six, nil
			tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{Lookup: lookup}}
			defer tr.Close()
			for range 2 {
				r := newRequest(t, "GET", url, nil)
				resp, _ := fetch(t, tr, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
			want := []string{"get example.com:", "dns example.com", c.want, "got false false true", "get example.com:", "got true true true"}
			if !slices.Equal(events, want) {
				t.Errorf("events %q", events)
			}
		})
	}
	six = func() (netip.Addr, error) { return netip.MustParseAddr("::1"), nil }
	tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{Lookup: lookup}, Socket: socketFor(t, "127.0.0.1")}
	defer tr.Close()
	fetch(t, tr, newRequest(t, "GET", url, nil)) // the socket reaches no IPv6 address
}

func socketFor(t testing.TB, address string) *quic.Socket {
	t.Helper()
	s, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Destroy(nil) })
	return s
}

func TestInterleave(t *testing.T) {
	parse := func(list string) (ips []netip.Addr) {
		for s := range strings.FieldsSeq(list) {
			ips = append(ips, netip.MustParseAddr(s))
		}
		return ips
	}
	for _, c := range []struct{ in, worked, want string }{
		{"", "", ""},
		{"1.1.1.1", "", "1.1.1.1"},
		{"2::1 2::2 2::3 1.1.1.1 1.1.1.2", "", "2::1 1.1.1.1 2::2 1.1.1.2 2::3"},
		{"1.1.1.1 1.1.1.2 2::1", "", "1.1.1.1 2::1 1.1.1.2"},
		{"2::1 2::2 1.1.1.1", "1.1.1.1", "1.1.1.1 2::1 2::2"},
		{"::1 127.0.0.1", "", "127.0.0.1 ::1"},
	} {
		var worked netip.Addr
		if c.worked != "" {
			worked = netip.MustParseAddr(c.worked)
		}
		if got := interleave(parse(c.in), worked); !slices.Equal(got, parse(c.want)) {
			t.Errorf("%s: %v", c.in, got)
		}
	}
}

// A response that is being read costs no goroutine, nor does an idle session.
func TestTransportGoroutines(t *testing.T) {
	hold := make(chan struct{})
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
		_, _ = io.WriteString(st, "x")
		<-hold
	})
	defer close(hold)
	for range 10 {
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		resp, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil).WithContext(ctx))
		must(t, err)
		defer resp.Body.Close()
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, frame := range []string{"http3.(*exchange)", "http3.(*clientConn)", "http3.(*upload)", "http3.(*Transport)"} {
		if strings.Contains(string(stacks), frame) {
			t.Errorf("a goroutine is in %s:\n%s", frame, stacks)
		}
	}
}

func BenchmarkTransport(b *testing.B) {
	s, tr := newRawServer(b, Options{}, func(st *Stream) { answer(st, "200", "x") })
	r := newRequest(b, "GET", s.url, nil)
	b.ReportAllocs()
	for b.Loop() {
		fetch(b, tr, r)
	}
}
