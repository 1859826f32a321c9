package http3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

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
	const requests, value, references = 100, 1000, 60
	synctest.Test(t, func(t *testing.T) {
		release, running := make(chan struct{}), atomic.Int64{}
		m := newMemNet(t, handler(func(_ http.ResponseWriter, r *http.Request) {
			if len(r.Header.Get("Cookie")) != references*(value+2)-2 {
				t.Errorf("a cookie of %d bytes", len(r.Header.Get("Cookie")))
			}
			running.Add(1)
			<-release
		}))
		c := m.referrer("cookie", strings.Repeat("a", value), references)
		var open []*quic.Stream
		for range requests {
			open = append(open, c.ask())
		}
		synctest.Wait()
		if n := running.Load(); n*references*value > 3<<20 || n < 20 {
			t.Errorf("%d requests with cookies of %d bytes are held", n, references*value)
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
		before := running.Load()
		_, err := io.ReadAll(c.ask())
		if must(t, err); running.Load() != before+1 {
			t.Error("a request is refused when all others are done")
		}
	})
}

// An end without net/http counts decoded blocks likewise, requests at a server and responses at a client: those beyond end
// their streams alone, and what they held is free again when these are over.
func TestStreamsKeepHeaders(t *testing.T) {
	const blocks, fields = 140, 120
	p := newPairOn(t, Options{MaxHeaderListSize: 1 << 16}, Options{}, quic.ListenOptions{MaxStreamsBidi: 2 * blocks}, quic.ConnectOptions{}).settled(t)
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
	more := slices.Repeat(block("a", "1"), fields) // a byte each, once they are in the table
	request, answer := block(getFields...), block(":status", "200")
	for _, try := range []struct {
		name        string
		end, other  *Session
		ask, answer Headers
	}{
		{"requests", p.server, p.client, slices.Concat(request, more), answer},
		{"responses", p.client, p.server, request, slices.Concat(answer, more)},
	} {
		most, refused := uint64(try.end.opts.maxKept()), uint64(0)
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
	s := &Session{opts: Options{MaxHeaderListSize: 1 << 16}}
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
