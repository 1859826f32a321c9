package http3

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// What a request costs that is taken back, and how many updates of its priority are free.
func TestCosts(t *testing.T) {
	cost, free := limits.Bound(t, "http3-reset-cost"), limits.Bound(t, "http3-free-updates")
	synctest.Test(t, func(t *testing.T) { // no time passes
		s := &Session{server: true, next: 4}
		for range 5 {
			s.chargeReset(&Stream{s: s, push: -1})
		}
		if s.useful.spent != float64(5*cost) {
			t.Errorf("five requests that were taken back cost %v", s.useful.spent)
		}
		s.useful.refill()
		for range free + 3 {
			if f := s.chargeUpdate(); f != nil {
				t.Fatal(f)
			}
		}
		if s.useful.spent != 3 {
			t.Errorf("%d updates of one request cost %v", free+3, s.useful.spent)
		}
	})
}

// QPACK instructions for a peer that does not read them, to the last byte and one more.
func TestOwedInstructions(t *testing.T) {
	most := limits.Bound(t, "http3-owed-instructions")
	a := rawClient(t, Options{}, quic.ConnectOptions{MaxStreamsUni: 1}) // there is no decoder stream
	c := &a.victim.fields
	owe := func(until int) *fault {
		c.dmu.Lock()
		defer c.dmu.Unlock()
		for len(c.dec.Instructions()) < until {
			c.dec.Cancel(1) // a byte
		}
		return c.sendAcks()
	}
	if f := owe(most); f != nil {
		t.Errorf("%d bytes: %v", most, f.reason)
	}
	wantLimit(t, a.victim, owe(most+1), ExcessiveLoad)
}

// wantLimit says that a fault ends a session with a code, and counts as one of a limit.
func wantLimit(t testing.TB, s *Session, f *fault, code ErrorCode) {
	t.Helper()
	if f == nil || f.code != code || !f.session {
		t.Fatalf("%+v, want %v", f, code)
	}
	s.fail(f)
	if n := s.Stats().LimitErrors; n != 1 {
		t.Errorf("%v: %d errors are counted", code, n)
	}
	if err := s.Err(); !errors.Is(err, &Error{ErrorCode: code, Session: true}) {
		t.Errorf("the session ends with %v, want %v", err, code)
	}
}

// Control frames for a peer that does not read them, likewise.
func TestOwedControl(t *testing.T) {
	most := limits.Bound(t, "http3-owed-control")
	s := &Session{q: newPair(t, Options{}, Options{}).client.q} // without a control stream
	must(t, s.control("x", make([]byte, most)))
	before := s.stats.unsent.Load()
	if err := s.control("x", []byte{0}); !errors.Is(err, errUnread) || len(s.owed) != most {
		t.Errorf("%v, %d bytes wait", err, len(s.owed))
	}
	if after := s.stats.unsent.Load(); before != 0 || after != 1 {
		t.Errorf("%d and then %d frames are counted", before, after)
	}
}

// Frames of the control stream as long as they may be, and a byte longer.
func TestControlFrameLengths(t *testing.T) {
	try := func(kind frameType, most int, code ErrorCode) {
		t.Helper()
		for n := most; n <= most+1; n++ {
			s := &Session{server: true}
			s.in.init(s)
			s.in.settled = kind != frameSettings
			f := s.in.take(appendFrameHead(nil, kind, n))
			if n == most && f != nil || n > most && (f == nil || f.code != code) {
				t.Errorf("%v of %d bytes: %+v", kind, n, f)
			}
			if f != nil {
				s.stats.count(f)
			}
			if past := s.stats.pastLimit.Load(); past != uint64(n-most) {
				t.Errorf("%v of %d bytes: %d errors are counted", kind, n, past)
			}
		}
	}
	try(frameSettings, limits.Bound(t, "http3-settings-length"), ExcessiveLoad)
	try(framePriorityStream, limits.Bound(t, "http3-priority-length"), ExcessiveLoad)
	try(frameGoAway, limits.Bound(t, "http3-id-length"), FrameError)
}

// Datagrams that nobody takes: of a stream that uses them, and of one that has not come.
func TestQueuedDatagrams(t *testing.T) {
	most, early := limits.Bound(t, "http3-datagrams"), limits.Bound(t, "http3-early-datagrams")
	s := newDatagramServer(t, 1)
	q := s.datagrams.queues[0]
	for i := range most + 1 {
		s.datagram(t, 0, []byte{byte(i)})
	}
	if n := s.stats.datagramsDropped.Load(); q.count != most || n != 1 || q.first.p[0] != 1 {
		t.Errorf("%d wait, %d were dropped, the oldest is %d", q.count, n, q.first.p[0])
	}
	for i := range early + 1 {
		s.datagram(t, 1, []byte{byte(i)})
	}
	if n := s.stats.datagramsDropped.Load(); s.datagrams.early.count != early || n != 2 || s.datagrams.early.first.p[0] != 1 {
		t.Errorf("%d wait early, %d were dropped", s.datagrams.early.count, n)
	}
}

// Datagrams that wait at all streams of a session, to the last one and to the last byte, and one more.
func TestDatagramsOfAllStreams(t *testing.T) {
	most, bytes := limits.Bound(t, "http3-all-datagrams"), limits.Bound(t, "http3-datagram-bytes")
	const streams = 100
	for _, try := range []struct {
		name  string
		size  int
		count int // so many can wait
	}{{"count", 1, most}, {"bytes", 1024, bytes / 1024}} {
		s := newDatagramServer(t, streams)
		for i := range try.count + 1 {
			if n := s.stats.datagramsDropped.Load(); n != 0 {
				t.Fatalf("%s: %d are dropped when %d have come", try.name, n, i)
			}
			s.datagram(t, i%streams, make([]byte, try.size))
		}
		held := s.datagrams.held()
		if n := s.stats.datagramsDropped.Load(); n != 1 || s.datagrams.count != try.count || held != try.count*try.size {
			t.Errorf("%s: %d wait with %d bytes, %d were dropped", try.name, s.datagrams.count, held, n)
		}
	}
}

// So many pushes may be under way; what allows more waits for the first of them to end.
func TestPushesAtOnce(t *testing.T) {
	most := int64(limits.Bound(t, "http3-pushes"))
	var p pushes
	p.init(1 << 32)
	if p.raise() == nil || p.limit != most || p.raise() != nil {
		t.Errorf("%d pushes are allowed", p.limit)
	}
	for id := most - 1; id > 0; id-- {
		p.finish(id)
	}
	if p.raise() != nil || int64(len(p.over)) != most-1 {
		t.Errorf("%d pushes are allowed, %d are kept", p.limit, len(p.over))
	}
}

// The names of trailers may have so many bytes together: what stands behind them is not looked at.
func TestTrailerNames(t *testing.T) {
	most := limits.Bound(t, "http3-trailer-names")
	for n := most - 2; n <= most; n++ {
		a, c := strings.Repeat("a", n/2), strings.Repeat("c", n-n/2)
		if _, ok := declaredTrailers([]string{a, c, "b"})["B"]; ok != (n < most) {
			t.Errorf("a name behind two of %d bytes is taken: %v", n, ok)
		}
	}
}

// The names of a block may have so many bytes together, whoever reads it.
func TestNamesLimit(t *testing.T) {
	most := limits.Bound(t, "http3-names")
	named := func(h Headers, n int) Headers {
		for n -= h.names(); n > 0; n -= 4096 {
			h = append(h, Field{Name: strings.Repeat("\x7c", min(n, 4096))}) // a token that Huffman coding does not shorten
		}
		return h
	}
	for n := most; n <= most+1; n++ {
		ok := n == most
		large := Options{MaxHeaderListSize: 1 << 20, MaxHeaderLength: 1 << 20, MaxHeaderPairs: 1000}
		p := newPair(t, large, large).settled(t)
		st, sv := p.request(t, post)
		sendUnasked(sv, named(block(":status", "200"), n))
		if _, err := st.Headers(); (err == nil) != ok || !ok && !errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) || (p.client.Stats().LimitErrors == 0) != ok {
			t.Errorf("a response with names of %d bytes: %v", n, err)
		}
		synctest.Test(t, func(t *testing.T) {
			c := newMemNet(t, handler(func(http.ResponseWriter, *http.Request) {})).dial(Options{}, quic.ConnectOptions{}).known()
			h, _ := c.ask(named(requestBlock("GET", "/"), n))
			wantStatus(t, h, map[bool]string{true: "200", false: "431"}[ok])
		})
	}
	o, err := Options{MaxHeaderPairs: 10_000}.settled()
	if must(t, err); o.maxNames() != 640_000 {
		t.Errorf("for 10,000 fields names may have %d bytes", o.maxNames())
	}
}

// A message may declare so many trailers.
func TestDeclaredTrailers(t *testing.T) {
	most := limits.Bound(t, "http3-trailers")
	for _, n := range []int{most, most + 1, 10 * most} {
		if m := declaredTrailers([]string{manyNames(n)}); len(m) != most {
			t.Errorf("of %d names %d are kept", n, len(m))
		}
	}
	for _, other := range []string{"A,", ",", "Content-Length,"} { // they count, though they are no other names
		for n := most - 1; n <= most; n++ {
			if _, ok := declaredTrailers([]string{strings.Repeat(other, n) + "B"})["B"]; ok != (n < most) {
				t.Errorf("a name behind %d times %q is taken: %v", n, other, ok)
			}
		}
	}
}

// Elements of a list field are looked at up to there, whatever is before.
func TestElements(t *testing.T) {
	most := limits.Bound(t, "http3-elements")
	for _, other := range []string{"a,", ",", "100-continue ,"} {
		for n := most - 1; n <= most; n++ {
			if found := token([]string{"", strings.Repeat(other, n-1) + "close"}, "close"); found != (n < most) {
				t.Errorf("an element behind %d others %q is found: %v", n, other, found)
			}
		}
	}
}

// Requests that are over, and that nobody has accepted, are forgotten at last; others are not.
func TestUnacceptedRequests(t *testing.T) {
	most := limits.Bound(t, "http3-unaccepted")
	a := rawClient(t, Options{}, quic.ConnectOptions{})
	waiting := func() int {
		a.victim.mu.Lock()
		defer a.victim.mu.Unlock()
		return len(a.victim.accepted)
	}
	kept := a.open()
	_, err := kept.Write(get())
	must(t, err)
	eventually(t, func() bool { return waiting() == 1 })
	for range 5 * most {
		st := a.open()
		must(t, st.CloseWrite())
		st.Stop(uint64(RequestCancelled))
		<-st.Closed()
		if n := waiting(); n > most+1 {
			t.Fatalf("%d requests that are over wait to be accepted, want %d at most", n-1, most)
		}
	}
	st, err := a.victim.AcceptStream(a.ctx)
	if err != nil || st.ID() != kept.ID() {
		t.Errorf("%v is accepted first, %v, want the one that is open", st.ID(), err)
	}
}

// A cookie in several fields may have so many bytes when it is one; in one field it may have more.
func TestCookieLimit(t *testing.T) {
	most := limits.Bound(t, "http3-cookie")
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(r.Header.Get("Cookie"))) })
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		crumb := strings.Repeat("a", most/2-len("; ")/2)
		for extra, want := range map[string]string{"": "200", "a": "431"} {
			h, body := c.ask(requestBlock("GET", "/", "cookie", crumb, "cookie", crumb+extra))
			wantStatus(t, h, want)
			if want == "200" && body != fmt.Sprint(most) {
				t.Errorf("a cookie of %s bytes", body)
			}
		}
		h, _ := c.ask(requestBlock("GET", "/", "cookie", crumb+crumb+"; a"))
		wantStatus(t, h, "200")
	})
}

// A priority may be so long, in however many fields.
func TestPriorityLength(t *testing.T) {
	most := limits.Bound(t, "http3-priority")
	p := newPair(t, Options{}, Options{}).settled(t)
	for n, want := range map[int]int{most: 1, most + 1: DefaultPriority.Urgency} {
		rest := `x="` + strings.Repeat("a", n-len(`u=1, x=""`)) + `"`
		_, sv := p.request(t, append(slices.Clone(post), block("priority", "u=1", "priority", rest)...))
		if u, _ := sv.q.Priority(); u != want {
			t.Errorf("urgency %d of %d bytes, want %d", u, n, want)
		}
	}
}

// What a server may say of its alternatives.
func TestAltSvcLength(t *testing.T) {
	most := limits.Bound(t, "http3-alternatives-length")
	for n, want := range map[int]int{most: 1, most + 1: 0} {
		var tr Transport
		said := `h3=":1"; ma=60; x="` + strings.Repeat("a", n-len(`h3=":1"; ma=60; x=""`)) + `"`
		tr.learn("localhost:443", &http.Response{StatusCode: 200, Header: http.Header{"Alt-Svc": {said}}})
		if len(tr.alts.origins) != want {
			t.Errorf("%d origins are known by %d bytes, want %d", len(tr.alts.origins), n, want)
		}
	}
}

// A request may have so many informational responses.
func TestInformational(t *testing.T) {
	most := limits.Bound(t, "http3-informational")
	for n := most; n <= most+1; n++ {
		p := newPair(t, Options{}, Options{}).settled(t)
		st, sv := p.request(t, post)
		for range n {
			must(t, sv.SubmitInformationalHeaders(block(":status", "102")))
		}
		must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{Terminal: true}))
		h, err := st.Headers()
		past := p.client.Stats().LimitErrors
		if n == most && (err != nil || h.Get(":status") != "200" || past != 0) ||
			n > most && (!errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) || past != 1) {
			t.Errorf("%d responses: %v, %v, %d errors are counted", n, h, err, past)
		}
	}
}

// What a client remembers of servers, whatever they say and however many they are.
func TestRememberedServers(t *testing.T) {
	var tr Transport
	now := time.Now()
	tr.now = func() time.Time { return now }
	worked := limits.Bound(t, "http3-worked")
	for i := range worked + 1 {
		tr.remember(poolKey{name: fmt.Sprint(i)}, memServer.Addr())
		if i == worked-1 && len(tr.worked) != worked {
			t.Errorf("%d servers are remembered of %d", len(tr.worked), worked)
		}
	}
	if len(tr.worked) != 1 {
		t.Errorf("%d servers are remembered", len(tr.worked))
	}
	a := &tr.alts
	origins, broken := limits.Bound(t, "http3-origins"), limits.Bound(t, "http3-broken")
	for i := range max(origins, broken) + 1 {
		a.replace(fmt.Sprint(i), []altService{{"x:1", now.Add(time.Hour)}})
		a.breaks(fmt.Sprint(i), now)
	}
	if len(a.origins) != origins || len(a.broken) != broken {
		t.Errorf("%d origins, %d broken services", len(a.origins), len(a.broken))
	}
	most := limits.Bound(t, "http3-alternatives")
	said := ""
	for i := range most + 1 {
		said += fmt.Sprintf(`,h3=":%d"; ma=9999999999`, i+1)
	}
	tr.learn("a.example:443", &http.Response{Header: http.Header{"Alt-Svc": {said}}})
	list := a.origins["a.example:443"]
	if len(list) != most {
		t.Errorf("%d alternatives are remembered", len(list))
	}
	if age := list[0].until.Sub(now); age != time.Duration(limits.Bound(t, "http3-alternative-age")) {
		t.Errorf("an alternative holds for %v", age)
	}
	at, longest := now, time.Duration(0)
	for range 30 {
		a.breaks("b", at)
		longest = max(longest, a.broken["b"].until.Sub(at))
		at = a.broken["b"].until
	}
	if longest != time.Duration(limits.Bound(t, "http3-broken-time")) {
		t.Errorf("an alternative is avoided for %v", longest)
	}
}

// Priorities of requests that have not come, to the bound and one more: each is of no use for now, and the last
// is forgotten.
func TestEarlyPriorities(t *testing.T) {
	most := limits.Bound(t, "http3-early-updates")
	p := newPairOn(t, Options{}, Options{}, quic.ListenOptions{MaxStreamsBidi: int64(2 * most)}, quic.ConnectOptions{}).settled(t)
	eventuallyPushes(t, p) // MAX_PUSH_ID counts too
	before := p.server.Stats().Useless
	for i := range most + 1 {
		must(t, p.client.control("", frame(framePriorityStream, num(uint64(4*i)), []byte("u=0"))))
	}
	eventually(t, func() bool { return p.server.Stats().Useless >= before+uint64(most)+1 })
	if n := p.server.Stats().Useless - before; n != uint64(most)+1 {
		t.Errorf("%d of %d updates count as useless", n, most+1)
	}
	p.server.mu.Lock()
	kept, forgotten := len(p.server.updates), p.server.updates[int64(4*most)]
	p.server.mu.Unlock()
	if kept != most || forgotten != (Priority{}) {
		t.Errorf("%d are kept, the last as %+v", kept, forgotten)
	}
	for i := range most + 1 {
		_, sv := p.request(t, post)
		want := 0
		if i == most {
			want = DefaultPriority.Urgency
		}
		if u, _ := sv.q.Priority(); u != want {
			t.Fatalf("request %d has urgency %d, want %d", i, u, want)
		}
	}
}

// Header blocks that are not whole, over all streams, to the last byte and one more.
func TestHeldHeaders(t *testing.T) {
	most := limits.Bound(t, "http3-held-headers")
	o, err := Options{}.settled()
	must(t, err)
	s := &Session{opts: o}
	if st := (&Stream{s: s}); !st.hold(most-1) || !(&Stream{s: s}).hold(1) || st.hold(1) {
		t.Errorf("%d bytes are held", s.held.Load())
	}
	if n := s.held.Load(); n != int64(most)+1 {
		t.Errorf("%d bytes are counted", n)
	}
}

// Decoded header blocks of a session, to the last byte and one more, beside what each request has for itself.
func TestKeptHeaders(t *testing.T) {
	least, each, free := int64(limits.Bound(t, "http3-kept-headers")), int64(limits.Bound(t, "http3-kept-of-stream")), int64(limits.Bound(t, "http3-free-headers"))
	o, err := Options{}.settled()
	must(t, err)
	for _, streams := range []int64{0, 1000} {
		keptHeaders(t, o.maxKept(streams), max(least, streams*each), free)
	}
	if n := o.maxKept(1 << 60); n < 0 {
		t.Errorf("for any number of streams there are %d bytes", n)
	}
}

func keptHeaders(t *testing.T, bound, most, free int64) {
	s := &Session{mostKept: bound}
	first, second, third := &Stream{s: s, lenient: true}, &Stream{s: s, lenient: true}, &Stream{s: s, lenient: true}
	if !first.keep(free-1) || !first.keep(1) || s.kept.Load() != 0 || !first.keep(1) || s.kept.Load() != 1 {
		t.Errorf("of %d bytes %d are counted", first.kept, s.kept.Load())
	}
	if !second.keep(free+most-1) || !third.keep(free) || third.keep(1) || first.keep(1) || s.kept.Load() != most {
		t.Errorf("%d bytes are kept", s.kept.Load())
	}
	second.giveBack()
	if second.giveBack(); s.kept.Load() != 1 || !third.keep(most-1) {
		t.Errorf("%d bytes are kept when a stream is over", s.kept.Load())
	}
	first.giveBack()
	third.giveBack()
	if n := s.kept.Load(); n != 0 || !second.keep(10*most) || s.kept.Load() != 0 {
		t.Errorf("%d bytes are kept when all are over", n)
	}
	if alone := (&Stream{s: s, lenient: true}); !alone.keep(free+10*most) || (&Stream{s: s, lenient: true}).keep(free+1) {
		t.Errorf("%d bytes are kept of one request", s.kept.Load())
	}
}

// A client that takes requests back whose handlers go on has as many again wait for one. What waits is not over, even if
// it is taken back, too, so that no more may come.
func TestRequestsWaiting(t *testing.T) {
	most := limits.Bound(t, "http3-requests-waiting")
	synctest.Test(t, func(t *testing.T) {
		release, running := make(chan struct{}), atomic.Int64{}
		c := newMemNet(t, handler(func(http.ResponseWriter, *http.Request) {
			running.Add(1)
			<-release
		})).dial(Options{}, quic.ConnectOptions{}).known()
		for range 2 * most {
			st := c.request(requestBlock("GET", "/"), StreamHooks{})
			time.Sleep(10 * time.Millisecond)
			st.Stop(RequestCancelled)
			st.Reset(RequestCancelled)
			time.Sleep(10 * time.Millisecond)
		}
		if n := running.Load(); n != int64(most) {
			t.Errorf("%d handlers run for %d requests, want %d", n, 2*most, most)
		}
		if st, err := c.TryOpenStream(StreamOptions{}); err == nil {
			t.Errorf("stream %d is allowed, when %d requests wait", st.ID(), most)
		}
		close(release)
		if res, _ := c.ask(requestBlock("GET", "/")); res.Get(":status") != "200" {
			t.Errorf("when the handlers have returned, a request is answered with %v", res)
		}
	})
}

// However many addresses DNS names, few are tried.
func TestAddressesTried(t *testing.T) {
	most := limits.Bound(t, "http3-addresses")
	var ips []netip.Addr
	for i := range 20 * most {
		ips = append(ips, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if got := toTry(ips, netip.Addr{}, 443); len(got) != most || got[most-1].Addr() != ips[most-1] {
		t.Errorf("%d addresses are tried: %v", len(got), got)
	}
}

// So much is read of a body that the handler has left, and no more.
func TestReadOut(t *testing.T) {
	most := limits.Bound(t, "http3-read-out")
	p := newPair(t, Options{}, Options{}).settled(t)
	st, sv := p.request(t, post)
	body := make([]byte, 3*most)
	if _, err := st.Write(body); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return sv.q.Stats().BytesReceived > uint64(len(body)) })
	before := sv.q.Stats().BytesRead
	if sv.readOut() {
		t.Error("all of the body was read")
	}
	const ahead = 2 * readAhead
	if n := int(sv.q.Stats().BytesRead - before); n < most-ahead || n > most+ahead {
		t.Errorf("%d bytes were read, want %d", n, most)
	}
}

// What is stopped because the handler has left it is counted, and what has come to its end is not.
func TestBodiesStopped(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	st, sv := p.request(t, post)
	_, err := st.Write([]byte("x"))
	must(t, err)
	if sv.readOut() {
		t.Error("a body that has no end yet was read")
	}
	if n := p.server.Stats().BodiesStopped; n != 1 {
		t.Errorf("%d bodies are counted", n)
	}
	st, sv = p.request(t, post)
	must(t, st.CloseWrite())
	_, err = io.ReadAll(sv)
	must(t, err)
	if n := p.server.Stats().BodiesStopped; !sv.readOut() || n != 1 {
		t.Errorf("%d bodies are counted, and one was stopped", n)
	}
}

// sized returns a block whose fields count for so many bytes (RFC 9114 §4.2.2).
func sized(n int) Headers {
	h := block(":status", "200")
	for n -= len(":status200") + 32; n > 0; {
		size := min(n, 10_000)
		h = append(h, Field{Name: "x", Value: strings.Repeat("\x7e", size-33)}) // which Huffman coding does not shorten
		n -= size
	}
	return h
}

// many returns a block of so many fields.
func many(n int) Headers {
	h := block(":status", "200")
	for len(h) < n {
		h = append(h, Field{Name: "x", Value: "y"})
	}
	return h
}

// sendUnasked sends a block without looking at what the peer takes.
func sendUnasked(st *Stream, h Headers) {
	st.out.mu.Lock()
	defer st.out.mu.Unlock()
	_ = st.sendBlock("", h, true)
}

// Blocks of fields as large as they may be by default, and a little larger.
func TestDefaultHeaderLimits(t *testing.T) {
	list, pairs, length := limits.Bound(t, "http3-header-list"), limits.Bound(t, "http3-header-pairs"), limits.Bound(t, "http3-header-length")
	long := func(n int) Headers { return block(":status", "200", "x", strings.Repeat("\x7e", n)) }
	unpacked := Options{MaxHeaderLength: 1 << 20}
	for _, try := range []struct {
		name string
		o    Options
		h    Headers
		ok   bool
	}{
		{"list", unpacked, sized(list), true},
		{"list and a byte", unpacked, sized(list + 1), false},
		{"pairs", Options{}, many(pairs), true},
		{"pairs and one", Options{}, many(pairs + 1), false},
		{"length", Options{}, long(length - 100), true},
		{"more length", Options{}, long(length + 100), false},
	} {
		p := newPair(t, Options{}, try.o).settled(t)
		st, sv := p.request(t, post)
		sendUnasked(sv, try.h)
		_, err := st.Headers()
		if past := p.client.Stats().LimitErrors; (err == nil) != try.ok || !try.ok && (!errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) || past != 1) {
			t.Errorf("%s: %v, %d errors are counted", try.name, err, past)
		}
	}
}

// Blocks of fields that a Transport takes, and a little larger ones.
func TestResponseHeaderLimits(t *testing.T) {
	list, pairs := limits.Bound(t, "http3-response-headers"), limits.Bound(t, "http3-message-pairs")
	blocks := map[string]Headers{"/list": sized(list), "/list1": sized(list + 1), "/pairs": many(pairs), "/pairs1": many(pairs + 1)}
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		sendUnasked(st, blocks[h.Get(":path")])
	})
	for path, ok := range map[string]bool{"/list": true, "/list1": false, "/pairs": true, "/pairs1": false} {
		_, err := tr.RoundTrip(newRequest(t, "GET", s.url+path, nil))
		if (err == nil) != ok || !ok && !errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The dynamic table that a peer's encoder has by default, and streams that wait for it.
func TestDefaultTable(t *testing.T) {
	most, blocked := limits.Bound(t, "http3-table"), limits.Bound(t, "http3-blocked")
	capacity := func(n int) []byte { // RFC 9204 §4.3.1
		return binary.AppendUvarint([]byte{0x3f}, uint64(n-31))
	}
	s := rawClient(t, Options{}, quic.ConnectOptions{}).victim
	if f := s.fields.onEncoderStream(capacity(most)); f != nil {
		t.Errorf("a table of %d bytes: %v", most, f.reason)
	}
	wantLimit(t, s, s.fields.onEncoderStream(capacity(most+1)), QPACKEncoderStreamError)

	s = rawClient(t, Options{}, quic.ConnectOptions{}).victim
	must(t, s.fields.dec.Receive(capacity(most)))
	section := []byte{0x02, 0x00, 0x80} // the first entry, which has not come
	for i := range blocked {
		if _, err := s.fields.decodeBlock(int64(4*i), section); err != qpack.ErrBlocked {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	_, err := s.fields.decodeBlock(int64(4*blocked), section)
	wantLimit(t, s, qpackFault(err), QPACKDecompressionFailed)
}
