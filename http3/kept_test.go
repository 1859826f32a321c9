package http3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// referrer is a client that puts one entry into the server's table, and sends requests with many references to it.
type referrer struct {
	*attacker
	block []byte
}

func (m *memNet) referrer(name, value string, references int) *referrer {
	m.t.Helper()
	socket, err := quic.NewSocket(m.at(memClient))
	must(m.t, err)
	m.t.Cleanup(func() { socket.Destroy(nil) })
	q, err := socket.Connect(m.t.Context(), m.options(quic.ConnectOptions{MaxStreamsUni: 100}))
	must(m.t, err)
	must(m.t, q.Handshake(m.t.Context()))
	watch(m.t, &q.Session)
	a := &attacker{TB: m.t, ctx: m.t.Context(), q: &q.Session}
	ctrl()(a)
	uni([]byte{streamQPACKEncoder}, []byte{0x3f, 0xe1, 0x1f}, insertion(name, value))(a)
	return &referrer{a, frame(frameHeaders, []byte{2, 0}, section(getFields...)[2:], bytes.Repeat([]byte{0x80}, references))}
}

// ask sends a request.
func (r *referrer) ask() *quic.Stream {
	r.Helper()
	st := r.open()
	_, err := st.End(r.block)
	must(r, err)
	return st
}

// Requests whose handlers do not return hold no more decoded fields than a session has room for, however little they
// are on the wire: those beyond are answered, and others again when these are done.
func TestRequestsHoldFields(t *testing.T) {
	var names strings.Builder
	for i := range 1000 {
		names.WriteString("a" + strconv.FormatInt(int64(i), 36) + ",")
	}
	for _, try := range []struct {
		name, value string
		references  int
		size        func(r *http.Request) int // about, of what they become
	}{
		{"cookie", strings.Repeat("a", 1000), 60, func(r *http.Request) int { return len(r.Header.Get("Cookie")) }},
		{"trailer", names.String(), 1, func(r *http.Request) int { return 80 * len(r.Trailer) }},
	} {
		t.Run(try.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { requestsHold(t, try.name, try.value, try.references, try.size) })
		})
	}
}

// The account sees as many declared trailers as there are, whatever stands before them.
func TestDeclaredTrailersCost(t *testing.T) {
	for _, before := range []string{" ", ",", " ,", "a"} {
		h := Headers{{Name: "trailer", Value: strings.Repeat(before, maxTrailerNames)}, {Name: "trailer", Value: manyNames(1000)}}
		n := int64(len(declaredTrailers([]string{h[0].Value, h[1].Value})))
		if got := h.declared(); got < trailerCost*n {
			t.Errorf("behind %q: %d names cost %d", before, n, got)
		}
	}
}

func requestsHold(t *testing.T, name, value string, references int, size func(*http.Request) int) {
	const requests = 100
	release, running, held := make(chan struct{}), atomic.Int64{}, atomic.Int64{}
	m := newMemNet(t, handler(func(_ http.ResponseWriter, r *http.Request) {
		if n := size(r); n < 60_000 {
			t.Errorf("only %d bytes", n)
		} else {
			held.Add(int64(n))
		}
		running.Add(1)
		<-release
	}))
	c := m.referrer(name, value, references)
	var open []*quic.Stream
	before := inUse()
	for range requests {
		open = append(open, c.ask())
	}
	synctest.Wait()
	if n, bytes := running.Load(), inUse()-before; held.Load() > 3<<20 || bytes > 5<<20 || n < 15 {
		t.Errorf("%d requests hold %d bytes, the heap has grown by %d", n, held.Load(), bytes)
	}
	close(release)
	refused := int64(0)
	for _, st := range open {
		b, err := io.ReadAll(st)
		must(t, err)
		if bytes.HasSuffix(b, []byte("Too Large\n")) {
			refused++
		}
	}
	if n := running.Load(); n+refused != requests {
		t.Errorf("%d handlers have run, %d requests were refused, of %d", n, refused, requests)
	}
	done := running.Load()
	_, err := io.ReadAll(c.ask())
	if must(t, err); running.Load() != done+1 {
		t.Error("a request is refused when all others are done")
	}
}

// inUse is how many bytes are in use.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// crumbled is a request as browsers make it: more fields, and a cookie of 2 or 4 KiB in so many.
func crumbled(crumbs int) Headers {
	h := requestBlock("GET", "/")
	for i := range 15 {
		h = append(h, Field{Name: fmt.Sprintf("sec-field-%d", i), Value: "some value, and another"})
	}
	for i := range crumbs {
		h = append(h, Field{Name: "cookie", Value: fmt.Sprintf("name%d=%s", i, strings.Repeat("v", 44))})
	}
	return h
}

// Requests of honest clients are served, however many are open: what they cost has room for each.
func TestOpenRequestsWithCookies(t *testing.T) {
	const requests = 1000
	synctest.Test(t, func(t *testing.T) {
		release, running := make(chan struct{}), atomic.Int64{}
		s := handler(func(http.ResponseWriter, *http.Request) {
			running.Add(1)
			<-release
		})
		s.QUIC.MaxStreamsBidi = requests
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		h := crumbled(40)
		for range requests {
			c.request(h, StreamHooks{})
		}
		time.Sleep(10 * time.Second) // as the network takes
		if n := running.Load(); n != requests {
			t.Errorf("%d of %d requests are served", n, requests)
		}
		close(release)
	})
}

// So are those of a Session, with the limits that it has by itself.
func TestOpenStreamsWithCookies(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	h := crumbled(80)
	for range 100 {
		p.request(t, h) // fails if it is not taken
	}
}

// An end without net/http counts decoded blocks likewise, requests at a server and responses at a client: those beyond end
// their streams alone, and what they held is free again when these are over.
func TestStreamsKeepHeaders(t *testing.T) {
	const blocks, fields = 60, 300
	o := Options{MaxHeaderListSize: 1 << 16, MaxHeaderPairs: 2 * fields}
	p := newPairOn(t, o, o, quic.ListenOptions{MaxStreamsBidi: 2 * blocks}, quic.ConnectOptions{}).settled(t)
	ask := func(h, answer Headers) (client, server *Stream, err error) {
		t.Helper()
		client = p.open(t)
		must(t, client.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}))
		server, err = p.server.AcceptStream(testContext(t))
		must(t, err)
		if _, err := server.Headers(); err != nil {
			return client, server, err
		}
		must(t, server.SubmitInitialHeaders(answer, HeaderOptions{}))
		_, err = client.Headers()
		return client, server, err
	}
	more := slices.Repeat(block("a", "1", "b", "1"), fields/2) // a byte each, once they are in the table
	request, answer := block(getFields...), block(":status", "200")
	for _, try := range []struct {
		name        string
		end, other  *Session
		ask, answer Headers
	}{
		{"requests", p.server, p.client, slices.Concat(request, more), answer},
		{"responses", p.client, p.server, request, slices.Concat(answer, more)},
	} {
		most, refused := uint64(try.end.mostKept), uint64(0)
		var open []*Stream
		for range blocks {
			client, server, err := ask(try.ask, try.answer)
			open = append(open, client, server)
			if errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) {
				refused++
			} else if must(t, err); refused > 0 {
				t.Fatalf("%s: one is taken behind %d that were refused", try.name, refused)
			}
		}
		s := try.end.Stats()
		if s.HeadersKept > most || s.HeadersKept < most-2*fields*fieldCost || refused == 0 || s.LimitErrors != refused {
			t.Errorf("%s: %d bytes are kept, of %d at most, %d of %d blocks are refused, %d are counted", try.name, s.HeadersKept, most, refused, blocks, s.LimitErrors)
		}
		if n := try.other.Stats(); n.HeadersKept != 0 {
			t.Errorf("%s: the other end keeps %d bytes", try.name, n.HeadersKept)
		}
		for _, st := range open {
			st.Destroy(nil)
		}
		eventually(t, func() bool { return try.end.Stats().HeadersKept == 0 })
		client, server, err := ask(try.ask, try.answer)
		must(t, err)
		client.Destroy(nil)
		server.Destroy(nil)
		eventually(t, func() bool { return try.end.Stats().HeadersKept == 0 })
	}
}

// Promises of pushes that never come have their place in the same account; those beyond are cancelled.
func TestKeptPromises(t *testing.T) {
	most := uint64(limits.Bound(t, "http3-kept-promises"))
	a := hostileServer(t, 50)
	a.message = a.ask(false, "GET")
	ctrl()(a)
	const size = 24_000 // 15,000 in Huffman's code
	promise := func(id uint64) []byte {
		return promised(id, append(slices.Clone(getFields), "x", strings.Repeat("a", size))...)
	}
	kept := func() int {
		a.victim.mu.Lock()
		defer a.victim.mu.Unlock()
		return len(a.victim.pushes.known)
	}
	for id := range uint64(pushWindow) {
		msg(promise(id))(a)
	}
	whole(head200)(a)
	must(t, <-a.result) // the request goes on
	s := a.victim.Stats()
	if n := kept(); s.HeadersKept > most || s.HeadersKept < most-size || s.LimitErrors != uint64(pushWindow-n) || n == pushWindow {
		t.Errorf("%d promises are kept, of %d bytes, %d at most, and %d are counted", n, s.HeadersKept, most, s.LimitErrors)
	}
	must(t, a.victim.Err())
	for id := range int64(pushWindow) {
		a.victim.CancelPush(id)
	}
	if n := a.victim.Stats().HeadersKept; n != 0 {
		t.Errorf("%d bytes are kept when all pushes are over", n)
	}
}

// A cookie may be nothing but semicolons, in one field: net/http, which makes room for a cookie at each, wants no more than
// 3,000 of them, and who asks for them gets none.
func TestCookieOfSemicolons(t *testing.T) {
	h := requestHeader(Headers{{Name: "cookie", Value: strings.Repeat(";", 1<<20)}})
	if got := (&http.Request{Header: h}).Cookies(); cap(got) != 0 {
		t.Errorf("%d cookies, with room for %d", len(got), cap(got))
	}
}

// When a handler has returned nothing that was counted stays with its stream, which lasts as long as the client likes.
func TestForgottenRequest(t *testing.T) {
	s := &Session{mostKept: maxKeptHeaders}
	st := &Stream{s: s, lenient: true, method: strings.Repeat("M", 100)}
	st.in.headers, st.in.trailers, st.in.head.path = block("a", "b"), block("c", "d"), "/"
	if !st.keep(10*freeHeaders) || s.kept.Load() != 9*freeHeaders {
		t.Fatalf("%d bytes are kept", s.kept.Load())
	}
	st.forget()
	if st.in.headers != nil || st.in.trailers != nil || st.in.head != (head{}) || len(st.method) > 16 || s.kept.Load() != 0 {
		t.Errorf("%v, %v, %+v, method of %d bytes, %d bytes are kept", st.in.headers, st.in.trailers, st.in.head, len(st.method), s.kept.Load())
	}
}
