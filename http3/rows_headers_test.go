package http3

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

var post = block(":path", "/", ":authority", "localhost", ":scheme", "https", ":method", "POST", "x-two", "b", "x-one", "a", "x-two", "a")

const postText = "[:path /][:authority localhost][:scheme https][:method POST][x-two b][x-one a][x-two a]"

// Each kind of header block is told by its own hook, once, in order, on both ends.
func TestRowHeaderHooks(t *testing.T) {
	var atServer, atClient journal
	served := make(chan *Stream, 1)
	p := newPair(t, Options{Hooks: SessionHooks{Stream: func(st *Stream) error {
		st.SetHooks(atServer.hooks(st, "server"))
		served <- st
		return nil
	}}}, Options{}).settled(t)
	st := p.open(t)
	st.SetHooks(atClient.hooks(st, "client"))
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{}))
	covers(t, "STR-014") // of a request
	covers(t, "STR-015")
	covers(t, "STR-013") // and of every block: repeated names, in order
	atServer.want(t, "server initial "+postText)
	if n, err := st.TryWrite([]byte("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	must(t, st.SubmitTrailingHeaders(block("a", "1", "b", "2", "a", "3")))
	covers(t, "STR-016")
	covers(t, "STR-017")
	atServer.want(t, "server initial "+postText, "server data hello", "server trailing [a 1][b 2][a 3]", "server end")

	sv := <-served
	covers(t, "STR-018")
	covers(t, "STR-012")
	for _, status := range []string{"100", "103", "199"} {
		must(t, sv.SubmitInformationalHeaders(block(":status", status, "x", "1", "x", "2")))
	}
	informational := []string{"client informational [:status 100][x 1][x 2]", "client informational [:status 103][x 1][x 2]", "client informational [:status 199][x 1][x 2]"}
	atClient.want(t, informational...)
	covers(t, "STR-019")
	must(t, sv.SubmitInitialHeaders(block(":status", "200", "server", "x"), HeaderOptions{}))
	atClient.want(t, append(informational, "client initial [:status 200][server x]")...)
	covers(t, "STR-020") // behind a message without body, too
	must(t, sv.SubmitTrailingHeaders(block("a", "1")))
	atClient.want(t, append(informational, "client initial [:status 200][server x]", "client trailing [a 1]", "client end", "client close")...)
}

// What the server promises is told apart from its responses, with its ID.
func TestRowPushHeaders(t *testing.T) {
	var j journal
	p := newPair(t, Options{}, Options{Hooks: SessionHooks{Stream: func(st *Stream) error {
		id, _ := st.PushID()
		j.add("stream %d %s", id, st.Promised().text())
		st.SetHooks(j.hooks(st, "pushed"))
		return nil
	}}}).settled(t)
	st := p.open(t)
	st.SetHooks(j.hooks(st, "request"))
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{Terminal: true}))
	sv, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	eventuallyPushes(t, p)
	getStyle := block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/style")
	pushed, err := sv.PushStream(getStyle, PushOptions{})
	must(t, err)
	const text = "[:method GET][:scheme https][:authority localhost][:path /style]"
	covers(t, "STR-021")
	covers(t, "X-001")
	j.want(t, "request push 0 "+text)
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	write(t, pushed, "body")
	must(t, pushed.CloseWrite())
	j.want(t, "request push 0 "+text, "stream 0 "+text, "pushed initial [:status 200]", "pushed data body", "pushed end", "pushed close")
	if _, err := sv.PushStream(getStyle, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return slices.Contains(j.told(), "request push 1 "+text) })
}

// eventuallyPushes waits until the server knows how many pushes the client takes.
func eventuallyPushes(t testing.TB, p *pair) {
	t.Helper()
	eventually(t, func() bool {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		return p.server.pushes.limit > 0
	})
}

// A session of another protocol has no headers: it is refused, and stays as it was.
func TestRowOtherALPN(t *testing.T) {
	ctx := testContext(t)
	refusals := make(chan error, 1)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: "echo", TLS: serverTLS(), Handler: func(q *quic.ServerSession) error {
		go func() {
			if err := q.Handshake(ctx); err != nil {
				t.Error(err)
				return
			}
			_, err := NewSession(&q.Session, Options{})
			refusals <- err
			st, err := q.AcceptStream(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(st, st)
			_ = st.CloseWrite()
		}()
		return nil
	}})
	must(t, err)
	defer socket.Destroy(nil)
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "echo", TLS: clientTLS()})
	must(t, err)
	defer q.Destroy(nil)
	covers(t, "STR-022")
	_, err = NewSession(&q.Session, Options{})
	for _, err := range []error{err, <-refusals} {
		wantCode(t, "NewSession on another protocol", err, "ERR_INVALID_STATE")
		if err != nil && !strings.Contains(err.Error(), `"echo"`) {
			t.Errorf("%v does not name the protocol", err)
		}
	}
	st, err := q.OpenStream(ctx, quic.StreamOptions{})
	must(t, err)
	if _, err := st.End([]byte("as before")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(st); string(b) != "as before" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// The submit methods, and what they refuse.
func TestRowSubmit(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	st := p.open(t)
	covers(t, "STR-052")
	wantCode(t, ":status in a request", st.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}), "ERR_HTTP2_INVALID_PSEUDOHEADER")
	wantCode(t, "no :path", st.SubmitInitialHeaders(post[1:], HeaderOptions{}), "ERR_INVALID_ARG_VALUE")
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{}))
	wantCode(t, "a second block", st.SubmitInitialHeaders(post, HeaderOptions{}), "ERR_INVALID_STATE")
	sv, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	if h, err := sv.Headers(); h.text() != postText || err != nil {
		t.Errorf("request %s, %v", h.text(), err)
	}
	covers(t, "STR-051")
	wantCode(t, "informational at a client", p.open(t).SubmitInformationalHeaders(block(":status", "103")), "ERR_INVALID_STATE")
	wantCode(t, "informational of 200", sv.SubmitInformationalHeaders(block(":status", "200")), "ERR_INVALID_ARG_VALUE")
	must(t, sv.SubmitInformationalHeaders(block(":status", "103", "link", "</a>")))
	wantCode(t, "initial of 103", sv.SubmitInitialHeaders(block(":status", "103"), HeaderOptions{}), "ERR_INVALID_ARG_VALUE")
	wantCode(t, ":method in a response", sv.SubmitInitialHeaders(block(":method", "GET"), HeaderOptions{}), "ERR_HTTP2_INVALID_PSEUDOHEADER")
	covers(t, "STR-053")
	wantCode(t, "trailers before the headers", sv.SubmitTrailingHeaders(block("a", "1")), "ERR_INVALID_STATE")
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	wantCode(t, "informational behind the final", sv.SubmitInformationalHeaders(block(":status", "103")), "ERR_INVALID_STATE")
	if h, err := st.Headers(); h.text() != "[:status 200]" || err != nil {
		t.Errorf("response %s, %v", h.text(), err)
	}
	write(t, sv, "body")
	wantCode(t, "pseudo-header field in trailers", sv.SubmitTrailingHeaders(block(":status", "200")), "ERR_HTTP2_INVALID_PSEUDOHEADER")
	must(t, sv.SubmitTrailingHeaders(block("a", "1")))
	wantCode(t, "trailers twice", sv.SubmitTrailingHeaders(block("a", "1")), "ERR_INVALID_STATE")
	if b, err := io.ReadAll(st); string(b) != "body" || err != nil || st.Trailers().text() != "[a 1]" {
		t.Errorf("%q %s %v", b, st.Trailers().text(), err)
	}
	for name, submit := range map[string]func(*Stream) error{
		"initial":       func(st *Stream) error { return st.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}) },
		"informational": func(st *Stream) error { return st.SubmitInformationalHeaders(block(":status", "103")) },
		"trailing":      func(st *Stream) error { return st.SubmitTrailingHeaders(block("a", "1")) },
	} {
		_, sv := p.request(t, post)
		if name == "trailing" {
			must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
		}
		sv.Destroy(nil)
		wantCode(t, name+" on a destroyed stream", submit(sv), "ERR_INVALID_STATE")
		_, sv = p.request(t, post)
		sv.Destroy(errors.New("boom"))
		wantCode(t, name+" on a stream destroyed with an error", submit(sv), "ERR_INVALID_STATE")
	}
}

// A block can end the message.
func TestRowTerminal(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	for _, terminal := range []bool{true, false} {
		st := p.open(t)
		must(t, st.SubmitInitialHeaders(post, HeaderOptions{Terminal: terminal}))
		sv, err := p.server.AcceptStream(testContext(t))
		must(t, err)
		_, err = sv.Headers()
		must(t, err)
		covers(t, "X-010")
		_, err = st.Write([]byte("x"))
		if terminal {
			wantCode(t, "Write behind a terminal block", err, "ERR_INVALID_STATE")
			wantCode(t, "trailers behind a terminal block", st.SubmitTrailingHeaders(block("a", "1")), "ERR_INVALID_STATE")
			if b, err := io.ReadAll(sv); len(b) != 0 || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		} else if n, err := sv.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("the body has %d bytes, %v", n, err)
		}
	}
}

// A request and its response, with everything: what HTTP/3 is to a session that speaks it.
func TestRowHTTP3(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	write(t, st, "ping")
	must(t, st.SubmitTrailingHeaders(block("sum", "1")))
	pushed, err := sv.PushStream(block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/p"), PushOptions{})
	must(t, err)
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	write(t, pushed, "pushed")
	must(t, pushed.CloseWrite())
	body, err := io.ReadAll(sv)
	must(t, err)
	write(t, sv, string(body)+" pong")
	must(t, sv.SubmitTrailingHeaders(block("sum", "2")))
	covers(t, "STR-063")
	b, err := io.ReadAll(st)
	h, _ := st.Headers()
	if string(b) != "ping pong" || err != nil || h.text() != "[:status 200]" || st.Trailers().text() != "[sum 2]" || sv.Trailers().text() != "[sum 1]" {
		t.Errorf("%s %q %s %s %v", h.text(), b, sv.Trailers().text(), st.Trailers().text(), err)
	}
	if !st.QUIC().Bidirectional() || p.client.QUIC().ALPNProtocol() != "h3" {
		t.Errorf("stream %d of protocol %q", st.ID(), p.client.QUIC().ALPNProtocol())
	}
	push, err := p.client.AcceptStream(testContext(t))
	must(t, err)
	if b, err := io.ReadAll(push); string(b) != "pushed" || err != nil {
		t.Errorf("push %q, %v", b, err)
	}
}
