package http3

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// newPairOn is newPair with options for the transport.
func newPairOn(t testing.TB, so, co Options, lo quic.ListenOptions, qo quic.ConnectOptions) *pair {
	t.Helper()
	ctx := testContext(t)
	sessions := make(chan *Session, 1)
	lo.ALPN, lo.TLS, lo.MaxStreamsUni = ALPN, serverTLS(), 16
	lo.Handler = func(q *quic.ServerSession) error {
		s, err := NewSession(&q.Session, so)
		sessions <- s
		return err
	}
	socket, err := quic.Listen(ctx, "127.0.0.1:0", lo)
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	qo.ALPN, qo.TLS = ALPN, clientTLS()
	if qo.MaxStreamsUni == 0 {
		qo.MaxStreamsUni = 103
	}
	dial := func() *pair {
		t.Helper()
		q, err := quic.Dial(ctx, socket.Address().String(), qo)
		must(t, err)
		t.Cleanup(func() { q.Destroy(nil) })
		c, err := NewSession(&q.Session, co)
		must(t, err)
		return &pair{c, <-sessions}
	}
	p := dial()
	canary(t, func() { dial().exchange(t) })
	watch(t, p.client.q)
	return p
}

// exchange has the client ask, and the server answer.
func (p *pair) exchange(t testing.TB) {
	t.Helper()
	client, server := p.request(t, block(getFields...))
	must(t, client.CloseWrite())
	answerPlainly(server)
	if _, body := response(t, client); body != "ok" {
		t.Errorf("the answer is %q", body)
	}
}

// settled waits until both ends know the other's settings.
func (p *pair) settled(t testing.TB) *pair {
	t.Helper()
	for _, s := range []*Session{p.client, p.server} {
		_, err := s.Settings(testContext(t))
		must(t, err)
	}
	return p
}

// request makes the client send a request, and returns both ends of its stream when its
// headers are there.
func (p *pair) request(t testing.TB, h Headers) (client, server *Stream) {
	t.Helper()
	client = p.open(t)
	must(t, client.SubmitInitialHeaders(h, HeaderOptions{}))
	server, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	_, err = server.Headers()
	must(t, err)
	return client, server
}

func (p *pair) open(t testing.TB) *Stream {
	t.Helper()
	st, err := p.client.OpenStream(testContext(t), StreamOptions{})
	must(t, err)
	return st
}

// block makes a header block of names and values in turn.
func block(kv ...string) (h Headers) {
	for i := 0; i < len(kv); i += 2 {
		h = append(h, Field{Name: kv[i], Value: kv[i+1]})
	}
	return h
}

func (h Headers) text() string {
	var b strings.Builder
	for _, f := range h {
		fmt.Fprintf(&b, "[%s %s]", f.Name, f.Value)
	}
	return b.String()
}

// journal collects what hooks say, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) told() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// want waits until so many lines are there, and compares them.
func (j *journal) want(t testing.TB, lines ...string) {
	t.Helper()
	eventually(t, func() bool { return len(j.told()) >= len(lines) })
	if got := j.told(); !slices.Equal(got, lines) {
		t.Errorf("hooks say\n%q, want\n%q", got, lines)
	}
}

// hooks are those of a stream, which read everything.
func (j *journal) hooks(st *Stream, name string) StreamHooks {
	block := func(kind string) func(Headers) error {
		return func(h Headers) error { j.add("%s %s %s", name, kind, h.text()); return nil }
	}
	return StreamHooks{
		InformationalHeaders: block("informational"),
		InitialHeaders:       block("initial"),
		TrailingHeaders:      block("trailing"),
		PushHeaders: func(h Headers, id int64) error {
			j.add("%s push %d %s", name, id, h.text())
			return nil
		},
		Readable: func() error {
			for {
				var b [100]byte
				n, err := st.TryRead(b[:])
				if n > 0 {
					j.add("%s data %s", name, b[:n])
				}
				if err == io.EOF {
					j.add("%s end", name)
				}
				if err != nil || n == 0 {
					return nil
				}
			}
		},
		Error: func(err error) { j.add("%s error %v", name, err) },
		Close: func() { j.add("%s close", name) },
	}
}

func codeOf(err error) string {
	if e := (interface{ Code() string })(nil); errors.As(err, &e) {
		return e.Code()
	}
	return ""
}

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	if codeOf(err) != code {
		t.Errorf("%s: %v, whose code is %q; want %s", what, err, codeOf(err), code)
	}
}
