package http3

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// told returns what the server is told of a client with such options.
func (p *pair) told(t testing.TB) Settings {
	t.Helper()
	s, err := p.server.Settings(testContext(t))
	must(t, err)
	return s
}

func TestRowOptions(t *testing.T) {
	defaults := newPair(t, Options{}, Options{}).told(t)
	others := newPair(t, Options{}, Options{QPACKMaxTableCapacity: 1000, QPACKBlockedStreams: 7, MaxHeaderListSize: 5000}).told(t)
	none := newPair(t, Options{}, Options{QPACKMaxTableCapacity: quic.None, QPACKBlockedStreams: quic.None, MaxHeaderListSize: quic.None}).told(t)
	covers(t, "CON-029")
	if defaults.QPACKMaxTableCapacity != 4096 || others.QPACKMaxTableCapacity != 1000 || none.QPACKMaxTableCapacity != 0 {
		t.Errorf("table of %d, %d and %d bytes", defaults.QPACKMaxTableCapacity, others.QPACKMaxTableCapacity, none.QPACKMaxTableCapacity)
	}
	covers(t, "CON-030")
	if defaults.QPACKBlockedStreams != 100 || others.QPACKBlockedStreams != 7 || none.QPACKBlockedStreams != 0 {
		t.Errorf("blocked streams %d, %d and %d", defaults.QPACKBlockedStreams, others.QPACKBlockedStreams, none.QPACKBlockedStreams)
	}
	covers(t, "CON-031")
	if defaults.MaxFieldSectionSize != 65535 || others.MaxFieldSectionSize != 5000 || none.MaxFieldSectionSize != 0 {
		t.Errorf("lists of %d, %d and %d bytes", defaults.MaxFieldSectionSize, others.MaxFieldSectionSize, none.MaxFieldSectionSize)
	}
	q, err := quic.Dial(testContext(t), echoServer(t), quic.ConnectOptions{ALPN: "echo", TLS: clientTLS()})
	must(t, err)
	defer q.Destroy(nil)
	for _, v := range []int{-2, 1 << 53} {
		for option, o := range map[string]Options{
			"QPACKMaxTableCapacity": {QPACKMaxTableCapacity: v},
			"QPACKBlockedStreams":   {QPACKBlockedStreams: v},
			"MaxHeaderListSize":     {MaxHeaderListSize: v},
			"MaxHeaderPairs":        {MaxHeaderPairs: v},
			"MaxHeaderLength":       {MaxHeaderLength: v},
			"MaxPushes":             {MaxPushes: int64(v)},
		} {
			_, err := NewSession(&q.Session, o)
			wantCode(t, fmt.Sprintf("%s of %d", option, v), err, "ERR_OUT_OF_RANGE")
			if bad := (*quic.OptionError)(nil); !errors.As(err, &bad) || bad.Option != "http3.Options."+option {
				t.Errorf("%v does not name %s", err, option)
			}
		}
	}
	covers(t, "CON-028") // the group is for HTTP/3 alone: of another protocol nobody is told any of it
	_, err = NewSession(&q.Session, Options{QPACKMaxTableCapacity: 1000})
	wantCode(t, "options for another protocol", err, "ERR_INVALID_STATE")
	if n := q.Stats().SelfInitiatedStreamCount; n != 0 {
		t.Errorf("%d streams were opened on it", n)
	}
}

// The dynamic table that a client allows is used, and none if it allows none.
func TestRowTableIsUsed(t *testing.T) {
	for _, capacity := range []int{0, quic.None} {
		p := newPair(t, Options{}, Options{QPACKMaxTableCapacity: capacity}).settled(t)
		for range 5 {
			st, sv := p.request(t, post)
			must(t, sv.SubmitInitialHeaders(block(":status", "200", "server", "cinnabar/1", "x-long", strings.Repeat("long", 20)), HeaderOptions{Terminal: true}))
			_, err := io.ReadAll(st)
			must(t, err)
		}
		covers(t, "CON-029")
		if n := p.client.Stats().QPACKInserted; (n > 0) != (capacity == 0) {
			t.Errorf("with a capacity of %d, %d entries were inserted", capacity, n)
		}
	}
}

// How many pushes a client takes: in all (RFC 9114 §7.2.5).
func TestRowMaxPushes(t *testing.T) {
	if o, err := (Options{}).settled(); o.MaxPushes != 65535 || err != nil {
		t.Errorf("the default is %d, %v", o.MaxPushes, err)
	}
	covers(t, "CON-032")
	for _, most := range []int64{1, 3} {
		p := newPair(t, Options{}, Options{MaxPushes: most}).settled(t)
		eventuallyPushes(t, p)
		_, sv := p.request(t, post)
		for i := range most {
			if _, err := sv.PushStream(getP, PushOptions{}); err != nil {
				t.Errorf("push %d of %d: %v", i, most, err)
			}
		}
		_, err := sv.PushStream(getP, PushOptions{})
		wantCode(t, "one push too many", err, "ERR_INVALID_STATE")
	}
	p := newPair(t, Options{}, Options{MaxPushes: quic.None}).settled(t)
	_, sv := p.request(t, post)
	_, err := sv.PushStream(getP, PushOptions{})
	wantCode(t, "a push to a client that takes none", err, "ERR_INVALID_STATE")
}

// Limits on pairs and on bytes fail the message, and nothing else; a server has them too.
func TestRowHeaderLimits(t *testing.T) {
	if o, _ := (Options{}).settled(); o.MaxHeaderPairs != 128 || o.MaxHeaderLength != 16384 {
		t.Errorf("the defaults are %d and %d", o.MaxHeaderPairs, o.MaxHeaderLength)
	}
	pairs := func(n int) (h Headers) {
		for i := range n {
			h = append(h, Field{Name: fmt.Sprint("x", i), Value: "y"})
		}
		return h
	}
	long := func(n int) Headers { return block("x", strings.Repeat("\x7e", n)) } // a byte that Huffman coding does not shorten
	o := Options{MaxHeaderPairs: 20, MaxHeaderLength: 1000}
	p := newPair(t, o, o).settled(t)
	for _, test := range []struct {
		name string
		more Headers
		ok   bool
	}{
		{"a usual block", pairs(5), true},
		{"as many pairs as may be", pairs(16), true},
		{"a pair too many", pairs(17), false},
		{"a long value", long(900), true},
		{"a value that is too long", long(1100), false},
	} {
		get := block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/")
		st := p.open(t)
		must(t, st.SubmitInitialHeaders(append(get, test.more...), HeaderOptions{Terminal: true}))
		sv, err := p.server.AcceptStream(testContext(t))
		must(t, err)
		covers(t, "X-009")
		if _, err := sv.Headers(); (err == nil) != test.ok || !test.ok && !errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) {
			t.Errorf("%s in a request: %v", test.name, err)
		}
		st, sv = p.request(t, get)
		must(t, sv.SubmitInitialHeaders(append(block(":status", "200", "a", "b", "c", "d", "e", "f"), test.more...), HeaderOptions{Terminal: true}))
		if _, err := st.Headers(); (err == nil) != test.ok || !test.ok && !errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) {
			t.Errorf("%s in a response: %v", test.name, err)
		}
	}
	for _, s := range []*Session{p.client, p.server} {
		if err := s.Err(); err != nil {
			t.Errorf("the session is over: %v", err)
		}
	}
	// What a peer says that it takes is not exceeded: the block is refused where it is submitted.
	p = newPair(t, Options{MaxHeaderListSize: 500}, Options{}).settled(t)
	covers(t, "CON-031")
	wantCode(t, "a list over the peer's limit", p.open(t).SubmitInitialHeaders(append(post[:4:4], long(400)...), HeaderOptions{}), "ERR_INVALID_ARG_VALUE")
}
