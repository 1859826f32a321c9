package http3

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"unicode/utf16"

	"github.com/cinnabar-quic/cinnabar/quic"
)

var getP = block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/p")

// What a server pushes reaches the client: promise, headers and body (RFC 9114 §6.2.2).
func TestRowPushStream(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	covers(t, "STR-038")
	pushed, err := sv.PushStream(getP, PushOptions{})
	must(t, err)
	if q := pushed.QUIC(); !q.Unidirectional() || !q.ServerInitiated() || !q.Local() {
		t.Errorf("stream %d is not a unidirectional one of the server's", q.ID())
	}
	must(t, pushed.SubmitInitialHeaders(block(":status", "200", "a", "b"), HeaderOptions{}))
	write(t, pushed, "body")
	must(t, pushed.CloseWrite())
	must(t, sv.SubmitInitialHeaders(block(":status", "204"), HeaderOptions{Terminal: true}))
	_, err = io.ReadAll(st)
	must(t, err)
	got, err := p.client.AcceptStream(testContext(t))
	must(t, err)
	h, err := got.Headers()
	b, rerr := io.ReadAll(got)
	if id, push := got.PushID(); h.text() != "[:status 200][a b]" || string(b) != "body" || err != nil || rerr != nil || !push || id != 0 {
		t.Errorf("push %d: %s %q %v %v", id, h.text(), b, err, rerr)
	}
	covers(t, "PSH-001")
	if got.Promised().text() != getP.text() {
		t.Errorf("the client is promised %s", got.Promised().text())
	}
	_, sv = p.request(t, post)
	for name, bad := range map[string]Headers{
		"nothing":                nil,
		"no :method":             getP[1:],
		"no :path":               getP[:3],
		"no :authority":          {getP[0], getP[1], getP[3]},
		"a method with effects":  post,
		"a request with content": append(getP[:4:4], Field{Name: "content-length", Value: "1"}),
		"an upper case name":     append(getP[:4:4], Field{Name: "A", Value: "1"}),
	} {
		_, err := sv.PushStream(bad, PushOptions{})
		wantCode(t, "a promise of "+name, err, "ERR_INVALID_ARG_VALUE")
	}
	_, err = sv.PushStream(block(":status", "200"), PushOptions{})
	wantCode(t, "a promise of :status", err, "ERR_HTTP2_INVALID_PSEUDOHEADER")
}

// Where nothing can be pushed, that is said, and nothing is sent (RFC 9114 §7.2.5).
func TestRowPushRefused(t *testing.T) {
	refused := func(name string, st *Stream) {
		t.Helper()
		before := st.Session().QUIC().Stats().SelfInitiatedStreamCount
		pushed, err := st.PushStream(getP, PushOptions{})
		if pushed != nil {
			t.Errorf("%s: a stream all the same", name)
		}
		wantCode(t, name, err, "ERR_INVALID_STATE")
		if n := st.Session().QUIC().Stats().SelfInitiatedStreamCount; n != before {
			t.Errorf("%s: %d streams were opened", name, n-before)
		}
	}
	covers(t, "STR-039")
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	refused("at a client", st)
	pushed, err := sv.PushStream(getP, PushOptions{})
	must(t, err)
	refused("on a push", pushed)
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{Terminal: true}))
	refused("behind the end", sv)
	_, sv = p.request(t, post)
	sv.Destroy(nil)
	refused("on a destroyed stream", sv)
	_, sv = p.request(t, post)
	sv.Destroy(errors.New("boom"))
	refused("on a stream destroyed with an error", sv)

	p = newPair(t, Options{}, Options{MaxPushes: quic.None}).settled(t)
	_, sv = p.request(t, post)
	refused("to a client that takes none", sv)

	plain := Options{QPACKMaxTableCapacity: quic.None} // the server has no stream but that for control
	p = newPairOn(t, plain, plain, quic.ListenOptions{}, quic.ConnectOptions{MaxStreamsUni: 3}).settled(t)
	eventuallyPushes(t, p)
	_, sv = p.request(t, post)
	for range 2 {
		_, err := sv.PushStream(getP, PushOptions{})
		must(t, err)
	}
	refused("to a client that allows no stream", sv)

	covers(t, "STR-040") // a stream of any other protocol has no such method, as its session has no http3.Session
	q, err := quic.Dial(testContext(t), echoServer(t), quic.ConnectOptions{ALPN: "echo", TLS: clientTLS()})
	must(t, err)
	defer q.Destroy(nil)
	_, err = NewSession(&q.Session, Options{})
	wantCode(t, "HTTP/3 on another protocol", err, "ERR_INVALID_STATE")
	raw, err := q.OpenStream(testContext(t), quic.StreamOptions{})
	must(t, err)
	if _, pushes := any(raw).(interface {
		PushStream(Headers, PushOptions) (*Stream, error)
	}); pushes {
		t.Error("a stream of another protocol pushes")
	}
}

// echoServer returns the address of a server of another protocol.
func echoServer(t testing.TB) string {
	t.Helper()
	socket, err := quic.Listen(testContext(t), "127.0.0.1:0", quic.ListenOptions{ALPN: "echo", TLS: serverTLS()})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	return socket.Address().String()
}

// A pushed stream has a high water mark of its own.
func TestRowPushHighWaterMark(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, quic.ListenOptions{}, quic.ConnectOptions{MaxStreamDataUni: 4096}).settled(t) // the client reads none of it
	eventuallyPushes(t, p)
	_, sv := p.request(t, post)
	covers(t, "PSH-002")
	for option, mark := range map[int]int64{1000: 1000, 0: 16384, 40000: 40000} {
		pushed, err := sv.PushStream(getP, PushOptions{HighWaterMark: option})
		must(t, err)
		must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
		unsent := int64(0)
		for full := false; !full; {
			n, err := pushed.TryWrite(make([]byte, 100))
			must(t, err)
			unsent = pushed.QUIC().Unsent()
			full = n == 0 && unsent >= mark // else some has left meanwhile
		}
		if unsent > mark+103 {
			t.Errorf("with HighWaterMark %d, %d bytes wait", option, unsent)
		}
	}
	pushed, err := sv.PushStream(getP, PushOptions{HighWaterMark: quic.None}) // every byte waits for the one before
	must(t, err)
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{Terminal: true}))
	_, err = sv.PushStream(getP, PushOptions{HighWaterMark: -2})
	wantCode(t, "a mark of -2", err, "ERR_OUT_OF_RANGE")
}

// jsDefaults is what a JavaScript binding keeps in the Value of a stream: the text encoding is
// its own affair, and the engine carries bytes.
type jsDefaults struct{ encoding string }

// jsPush is a binding's pushStream: the encoding is its own or the stream's.
func jsPush(st *Stream, headers Headers, encoding string) (*Stream, error) {
	b := jsDefaults{encoding}
	if encoding == "" {
		b = *st.Value.(*jsDefaults)
	}
	if b.encoding != "utf8" && b.encoding != "utf16le" {
		return nil, &HeaderError{Op: "pushStream", Reason: "no such encoding: " + b.encoding}
	}
	pushed, err := st.PushStream(headers, PushOptions{})
	if err == nil {
		pushed.Value = &b
	}
	return pushed, err
}

// jsWrite writes a string as the stream's encoding has it.
func jsWrite(st *Stream, text string) error {
	out := []byte(text)
	if st.Value.(*jsDefaults).encoding == "utf16le" {
		out = nil
		for _, u := range utf16.Encode([]rune(text)) {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	_, err := st.TryWrite(out)
	return err
}

// A binding keeps the encoding of a pushed stream in its Value, and its bytes arrive as they are.
func TestRowPushEncoding(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	sv.Value = &jsDefaults{"utf16le"}
	for encoding, want := range map[string]string{"": "h\x00\xe9\x00", "utf8": "h\xc3\xa9", "utf16le": "h\x00\xe9\x00"} {
		pushed, err := jsPush(sv, getP, encoding)
		must(t, err)
		must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
		must(t, jsWrite(pushed, "hé"))
		must(t, pushed.CloseWrite())
		must(t, sv.SubmitInformationalHeaders(block(":status", "103")))
		go func() { _, _ = st.Headers() }() // reads the promise
		got, err := p.client.AcceptStream(testContext(t))
		must(t, err)
		covers(t, "PSH-003")
		if b, err := io.ReadAll(got); string(b) != want || err != nil {
			t.Errorf("with encoding %q the client reads %q, %v", encoding, b, err)
		}
	}
	before := p.server.QUIC().Stats().SelfInitiatedStreamCount
	_, err := jsPush(sv, getP, "zebra")
	wantCode(t, "an encoding that is none", err, "ERR_INVALID_ARG_VALUE")
	if n := p.server.QUIC().Stats().SelfInitiatedStreamCount; n != before {
		t.Errorf("%d streams were opened", n-before)
	}
}

// Pushes go on beyond the window of what may be under way: the limit rises as they end.
func TestPushWindow(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	go func() { _, _ = st.Headers() }()
	for i := range 3 * pushWindow {
		var pushed *Stream
		eventually(t, func() bool {
			st, err := sv.PushStream(getP, PushOptions{})
			pushed = st
			return err == nil
		})
		must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
		write(t, pushed, fmt.Sprint(i))
		must(t, pushed.CloseWrite())
		got, err := p.client.AcceptStream(testContext(t))
		must(t, err)
		if b, err := io.ReadAll(got); string(b) != fmt.Sprint(i) || err != nil {
			t.Fatalf("push %d: %q, %v", i, b, err)
		}
	}
	eventually(t, func() bool { return p.client.pushesKept() == 0 })
}

func (s *Session) pushesKept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pushes.known) + len(s.pushes.over)
}
