package http3

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// hosts returns whom the sessions of a Transport that take requests are with, in order.
func hosts(tr *Transport) (names []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for key := range tr.conns {
		names = append(names, key.addr)
	}
	slices.Sort(names)
	return names
}

// Sessions without a request are kept up to the bound, and then the one goes that has had none for the longest. Those
// with a request do not count.
func TestTransportIdleSessions(t *testing.T) {
	most := limits.Bound(t, "http3-idle")
	cert, pool := certify("*.example.com")
	done := make(chan struct{})
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "busy") {
			_ = http.NewResponseController(w).Flush()
			<-done
		}
	})
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	addr, _ := startServer(t, s, quic.SocketOptions{Endpoint: loopback.Endpoint, MaxConnectionsPerHost: 2 * most})
	tr := &Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	tr.QUIC.Lookup = func(context.Context, string, int) (netip.Addr, error) { return addr.Addr(), nil }
	defer tr.Close()
	host := func(name string) string { return fmt.Sprintf("%s.example.com:%d", name, addr.Port()) }
	get := func(name string) *http.Response {
		resp, err := tr.RoundTrip(newRequest(t, "GET", "https://"+host(name)+"/", nil))
		must(t, err)
		return resp
	}
	want := []string{host("busy")}
	busy := get("busy")
	for i := range most {
		name := fmt.Sprintf("h%d", i)
		_ = get(name).Body.Close()
		want = append(want, host(name))
	}
	_ = get("h0").Body.Close() // which is not the oldest any more
	slices.Sort(want)
	if got := hosts(tr); !slices.Equal(got, want) {
		t.Fatalf("%d sessions, want %d", len(got), len(want))
	}
	_ = get("more").Body.Close()
	got := hosts(tr)
	if len(got) != most+1 || slices.Contains(got, host("h1")) || !slices.Contains(got, host("h0")) || !slices.Contains(got, host("more")) {
		t.Errorf("%d sessions, want %d, without the one that was idle for the longest", len(got), most+1)
	}
	close(done)
	if _, err := io.ReadAll(busy.Body); err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if got := hosts(tr); len(got) != most {
		t.Errorf("%d sessions, want %d", len(got), most)
	}
}

// An origin that names another alternative in each response has one session, and that of an origin beside it stays.
func TestTransportReplacedAlternative(t *testing.T) {
	var addrs [2]string
	serve := func(next int) func(st *Stream) {
		return func(st *Stream) {
			h, _ := st.Headers()
			if h.Get(":authority") == "localhost" {
				answer(st, "200", "x")
				return
			}
			said := "clear"
			if h.Get(":path") != "/clear" {
				said = fmt.Sprintf(`h3="%s"`, addrs[next])
			}
			answer(st, "200", "x", Field{Name: "alt-svc", Value: said})
		}
	}
	a, tr := newRawServer(t, Options{}, serve(1))
	b, _ := newRawServer(t, Options{}, serve(0))
	for i, s := range []*rawServer{a, b} {
		addrs[i] = fmt.Sprintf("127.0.0.1:%d", s.socket.Address().Port())
	}
	f := &fakeFallback{altSvc: fmt.Sprintf(`h3="%s"`, addrs[0])}
	tr.Fallback = f
	get := func(origin, path string, want int) {
		t.Helper()
		resp, _ := fetch(t, tr, newRequest(t, "GET", "https://"+origin+path, nil))
		if want >= 0 && resp.Proto != "HTTP/3.0" {
			t.Errorf("%s: over %s", origin, resp.Proto)
		}
		tr.mu.Lock()
		defer tr.mu.Unlock()
		n := 0
		for c := range tr.all {
			if !c.dropped && c.key.name == origin {
				n++
			}
		}
		if want >= 0 && n != want {
			t.Errorf("%d sessions for %s, want %d", n, origin, want)
		}
	}
	get("example.com", "/", -1) // each is told of the alternative
	get("localhost", "/", -1)
	f.altSvc = ""
	get("localhost", "/", 1)
	for range 3 {
		get("example.com", "/", 0) // it goes when its request is over
	}
	if n := a.count() + b.count(); n != 4 {
		t.Errorf("%d sessions, want 4", n)
	}
	get("example.com", "/clear", 0)
	get("localhost", "/", 1)
	tr.now = func() time.Time { return time.Now().Add(2 * defaultMaxAge) }
	get("localhost", "/", -1) // its alternative is forgotten
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.conns) != 0 {
		t.Errorf("%d sessions for alternatives that are not fresh", len(tr.conns))
	}
}
