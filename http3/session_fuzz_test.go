package http3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// FuzzSettings: a SETTINGS frame is taken exactly if each setting is there once, is none of
// HTTP/2's and has a value that it may have; and it says the same when it is written again.
func FuzzSettings(f *testing.F) {
	f.Add(num(settingQPACKMaxTableCapacity, 4096, settingExtendedConnect, 1, settingDatagrams, 0, 0x21, 7))
	f.Add(num(0x2, 1))
	f.Add(num(0x6, 1, 0x6, 1))
	f.Add([]byte{0x40})
	f.Fuzz(func(t *testing.T, payload []byte) {
		seen, good := map[uint64]uint64{}, true
		for b := payload; len(b) > 0; {
			id, n := varint.Parse(b)
			v, m := varint.Parse(b[n:])
			if n == 0 || m == 0 {
				good = false
				break
			}
			_, twice := seen[id]
			flag := id == settingExtendedConnect || id == settingDatagrams
			good = good && !twice && id != 0 && (id < 2 || id > 5) && !(flag && v > 1)
			seen[id], b = v, b[n+m:]
		}
		var s Settings
		if f := s.parse(payload); good != (f == nil) || f != nil && f.code != SettingsError && f.code != FrameError {
			t.Fatalf("%x: %v", payload, f)
		}
		if !good {
			return
		}
		want := Settings{seen[settingQPACKMaxTableCapacity], seen[settingQPACKBlockedStreams], seen[settingMaxFieldSectionSize], seen[settingExtendedConnect] == 1, seen[settingDatagrams] == 1}
		var again Settings
		b := s.append(nil, 1)
		if _, _, head := parseFrameHead(b); s != want || again.parse(b[head:]) != nil || again != s {
			t.Fatalf("%x is %+v, want %+v; again %+v", payload, s, want, again)
		}
	})
}

// FuzzHead: a header block is taken for a request, a response or trailers only if all of it is in
// order, whatever order its other fields are in, and nothing bad can be added to it.
func FuzzHead(f *testing.F) {
	f.Add([]byte(":method\x00GET\x00:scheme\x00https\x00:authority\x00a.example:443\x00:path\x00/x?y\x00te\x00trailers\x00content-length\x003"))
	f.Add([]byte(":method\x00CONNECT\x00:authority\x00a:1\x00cookie\x00a=b"))
	f.Add([]byte(":method\x00CONNECT\x00:protocol\x00websocket\x00:scheme\x00https\x00:authority\x00a\x00:path\x00/"))
	f.Add([]byte(":status\x00200\x00content-length\x0012\x00x\x00y"))
	f.Add([]byte("host\x00b\x00:path\x00*\x00connection\x00close\x00UPPER\x00\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, plain Headers
		parts := bytes.Split(b, []byte{0})
		for i := 0; i+1 < min(len(parts), 60); i += 2 {
			h = append(h, Field{Name: string(parts[i]), Value: string(parts[i+1])})
			if !strings.HasPrefix(string(parts[i]), ":") {
				plain = append(plain, h[len(h)-1])
			}
		}
		trailers := parseTrailers(h) == nil
		if _, fault := parseResponse(append(Headers{{Name: ":status", Value: "200"}}, h...)); trailers != (fault == nil) {
			t.Fatalf("%v are trailers: %v, and behind a status %v", h, trailers, fault)
		}
		for name, parse := range map[string]func(Headers) (head, *fault){
			"request":  func(h Headers) (head, *fault) { return parseRequest(h, true) },
			"response": parseResponse,
		} {
			m, fault := parse(h)
			if fault != nil {
				if fault.session || fault.code != MessageError {
					t.Fatalf("%s %v: %+v", name, h, fault)
				}
				continue
			}
			wantSound(t, name, h, plain, &m)
			turned := slices.Clone(h)
			slices.Reverse(turned[m.fields:])
			if again, fault := parse(turned); fault != nil || again != m {
				t.Fatalf("%s %v, with fields in another order: %+v, %v", name, h, again, fault)
			}
			for _, bad := range []Field{{Name: ":path", Value: "/"}, {Name: ":status", Value: "200"}, {Name: "Upper", Value: "x"}, {Name: "", Value: "x"}, {Name: "a", Value: "b\nc: d"}, {Name: "upgrade", Value: "h2c"}} {
				if _, fault := parse(append(slices.Clone(h), bad)); fault == nil {
					t.Fatalf("%s %v with %v is taken", name, h, bad)
				}
			}
		}
	})
}

// wantSound looks at a block that was taken with other eyes.
func wantSound(t *testing.T, name string, h, plain Headers, m *head) {
	for _, f := range plain {
		if !httpguts.ValidHeaderFieldName(f.Name) || strings.ToLower(f.Name) != f.Name || strings.ContainsAny(f.Value, "\r\n\x00") {
			t.Fatalf("%s with field %v", name, f)
		}
	}
	others := len(plain)
	if name == "request" { // which alone may have it
		plain = slices.DeleteFunc(slices.Clone(plain), func(f Field) bool { return f.Name == "te" })
	}
	if others != len(h)-m.fields || parseTrailers(plain) != nil {
		t.Fatalf("%s %v: the other fields begin at %d", name, h, m.fields)
	}
	if name == "response" {
		if m.status < 100 || m.status > 599 || m.method != "" {
			t.Fatalf("%v is %+v", h, m)
		}
		return
	}
	if !httpguts.ValidHeaderFieldName(m.method) || strings.ContainsAny(m.authority+m.path+m.scheme, "\r\n\x00") {
		t.Fatalf("%v is %+v", h, m)
	}
	if web := strings.EqualFold(m.scheme, "https"); web && (m.authority == "" || strings.ContainsAny(m.authority, "/@?#\\ ") || m.path != "*" && !strings.HasPrefix(m.path, "/")) {
		t.Fatalf("%v is %+v", h, m)
	}
}

// FuzzSession: a peer that says anything on any stream, at a server and at a client: either the
// session goes on and a good message is answered on it, or it ends with a code of HTTP/3's and the
// next one is not harmed.
func FuzzSession(f *testing.F) {
	servers, clients := fuzzListener(f, true), fuzzListener(f, false)
	good := slices.Concat(get(), data("x"))
	f.Add(true, []byte{3, 5, 1, 2, 3, 4, 5})
	for _, server := range []bool{true, false} {
		f.Add(server, append([]byte{0, 3}, frame(frameGoAway, num(4))...))
		f.Add(server, append([]byte{1, byte(len(firstEntry))}, firstEntry...))
		f.Add(server, append([]byte{3, byte(len(good))}, good...))
		f.Add(server, append([]byte{3, byte(len(head200))}, head200...))
		f.Add(server, append([]byte{5, 2, 0x21, 9, 8, 3}, 0, 'a', 'b', 6, 0, 2, 1, 0x84))
		f.Add(server, append([]byte{0, 4}, frame(frameMaxPushID, num(100))...))
		f.Add(server, append([]byte{7, 20, streamPush, 0}, head200...))
	}
	f.Fuzz(func(t *testing.T, server bool, b []byte) {
		if len(b) > 1000 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		l := clients
		if server {
			l = servers
		}
		s := l.begin(ctx, t)
		defer s.end()
		for len(b) > 1 && s.q.Err() == nil {
			n := min(int(b[1]), len(b)-2)
			s.say(b[0]%9, b[2:2+n])
			b = b[2+n:]
		}
		s.judge()
	})
}

// fuzzed is a listener whose sessions, or whose clients, are victims.
type fuzzed struct {
	server   bool
	socket   *quic.Socket
	sessions chan *Session // the victims, at a server
}

func fuzzListener(f *testing.F, server bool) *fuzzed {
	l := &fuzzed{server: server, sessions: make(chan *Session, 1)}
	o := quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, MaxDatagramFrameSize: 65535}
	if server {
		o.Handler = func(q *quic.ServerSession) error {
			s, err := NewSession(&q.Session, Options{Datagrams: true, Hooks: SessionHooks{Stream: answerWithHooks}})
			l.sessions <- s
			return err
		}
	}
	socket, err := quic.Listen(context.Background(), "127.0.0.1:0", o)
	must(f, err)
	f.Cleanup(func() { socket.Destroy(nil) })
	l.socket = socket
	return l
}

// talk is a session with a victim at its other end.
type talk struct {
	*testing.T
	ctx    context.Context
	q      *quic.Session // ours
	victim *Session
	unis   map[byte]*quic.Stream
	bidis  map[byte]*quic.Stream
	end    func()
}

// begin makes a session. A client that is a victim asks for something, so that there are streams
// to answer on.
func (l *fuzzed) begin(ctx context.Context, t *testing.T) *talk {
	t.Helper()
	s := &talk{T: t, ctx: ctx, unis: map[byte]*quic.Stream{}, bidis: map[byte]*quic.Stream{}}
	c, err := quic.Dial(ctx, l.socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 100, MaxDatagramFrameSize: 65535})
	must(t, err)
	if l.server {
		s.q, s.victim, s.end = &c.Session, <-l.sessions, func() { c.Destroy(nil) }
		return s
	}
	s.victim, err = NewSession(&c.Session, Options{Datagrams: true, MaxPushes: 5})
	must(t, err)
	server, err := l.socket.Accept(ctx)
	must(t, err)
	s.q, s.end = &server.Session, func() { c.Destroy(nil); server.Destroy(nil) }
	for n := range byte(2) {
		s.bidis[n] = s.ask()
	}
	return s
}

// ask makes a client that is a victim send a request, and returns our end of it.
func (s *talk) ask() *quic.Stream {
	s.Helper()
	st, err := s.victim.OpenStream(s.ctx, StreamOptions{})
	if err == nil {
		err = st.SubmitInitialHeaders(Headers{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}}, HeaderOptions{Terminal: true})
	}
	if err != nil {
		return nil
	}
	for {
		q, err := s.q.AcceptStream(s.ctx)
		if err != nil {
			return nil
		}
		if q.Bidirectional() && q.ID() == st.ID() {
			return q
		}
	}
}

// say says something: on one of the critical streams, on a message's, on a stream of any type, or
// in a datagram.
func (s *talk) say(where byte, p []byte) {
	switch where {
	case 0, 1, 2:
		kind := []byte{streamControl, streamQPACKEncoder, streamQPACKDecoder}[where]
		if s.unis[kind] == nil {
			if s.uni(kind, []byte{kind}); kind == streamControl {
				s.uni(kind, frame(frameSettings, num(settingDatagrams, 1)))
			}
		}
		s.uni(kind, p)
	case 3, 4:
		s.bidi(where-3, p)
	case 5:
		s.uni(9, p)
	case 6:
		_, _ = s.q.SendDatagram(p)
	case 7: // on a stream of its own
		delete(s.unis, 10)
		s.uni(10, p)
		if st := s.unis[10]; st != nil {
			_ = st.CloseWrite()
		}
	case 8:
		if st := s.bidis[0]; st != nil {
			_ = st.CloseWrite()
		}
	}
}

func (s *talk) uni(n byte, p []byte) {
	if s.unis[n] == nil {
		st, err := s.q.TryOpenStream(quic.StreamOptions{HalfOpen: true})
		if err != nil {
			return
		}
		s.unis[n] = st
	}
	_, _ = s.unis[n].Write(p)
}

func (s *talk) bidi(n byte, p []byte) {
	if s.bidis[n] == nil && !s.victim.server {
		return
	}
	if s.bidis[n] == nil {
		st, err := s.q.TryOpenStream(quic.StreamOptions{})
		if err != nil {
			return
		}
		s.bidis[n] = st
	}
	_, _ = s.bidis[n].Write(p)
}

// judge waits for a good message, or for the end of the session.
func (s *talk) judge() {
	s.Helper()
	if s.unis[streamControl] == nil {
		s.say(0, nil)
	}
	var err error
	if s.victim.server {
		err = s.asServer()
	} else {
		err = s.asClient()
	}
	if err == nil {
		return
	}
	var app *quic.ApplicationError
	select {
	case <-s.q.Closed():
	case <-s.ctx.Done():
		s.Fatalf("a good message fails, and the session goes on: %v", err)
	}
	ended := s.q.Err()
	if !errors.As(ended, &app) || !app.Remote || codeNames[ErrorCode(app.ErrorCode)] == "" || ErrorCode(app.ErrorCode) == InternalError {
		s.Fatalf("the session ends with %v, a good message with %v", ended, err)
	}
}

// asServer asks a server that is the victim.
func (s *talk) asServer() error {
	st, err := s.q.OpenStream(s.ctx, quic.StreamOptions{})
	if err != nil {
		return err
	}
	if _, err := st.End(get()); err != nil {
		return err
	}
	b, err := io.ReadAll(st)
	if err == nil && !strings.HasSuffix(string(b), "ok") {
		s.Fatalf("a good request is answered %v", b)
	}
	return err
}

// asClient answers a client that is the victim. If that was told that the server takes nothing more, it
// opens no stream, or cancels what it has opened a moment before.
func (s *talk) asClient() error {
	err := s.answerClient()
	if s.victim.leaving() && s.q.Err() == nil {
		return nil
	}
	return err
}

func (s *talk) answerClient() error {
	st, err := s.victim.OpenStream(s.ctx, StreamOptions{})
	if err != nil {
		return err
	}
	st.Destroy(nil)
	q := s.ask()
	if q == nil {
		return errors.New("no request comes")
	}
	_, err = q.End(slices.Concat(head200, data("ok")))
	return err
}
