package http3

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// attack is something that a peer may not do, or may do although it is odd, and what must
// come of it.
type attack struct {
	name  string
	steps []step
	want  outcome
}

// step is something that the attacker does.
type step func(a *attacker)

// outcome is how the victim answers.
type outcome struct {
	code    ErrorCode
	session bool
	limit   bool // it counts as over a limit, as all with ExcessiveLoad does
}

func ends(code ErrorCode) outcome    { return outcome{code, true, code == ExcessiveLoad} }  // all of the session
func cuts(code ErrorCode) outcome    { return outcome{code, false, code == ExcessiveLoad} } // one message, and nothing else
func exceeds(code ErrorCode) outcome { return outcome{code, true, true} }                   // all of the session, for a limit with a code of its own

var fine = outcome{} // the message arrives, and is answered

// attacker speaks HTTP/3 byte by byte, on a session of package quic.
type attacker struct {
	testing.TB
	ctx     context.Context
	q       *quic.Session
	victim  *Session
	control *quic.Stream
	last    *quic.Stream // the latest unidirectional one
	encoder *quic.Stream // of QPACK, if it goes on
	message *quic.Stream
	result  chan error     // of the message, at a client
	unis    []*quic.Stream // the victim's that were met on the way, and are not read
	hooked  bool           // the victim has hooks
	another func()         // uses another session of the victim's
	frame   func()         // is called when the outcome is there; nil if nothing is measured

	siegeOf
}

// victims are what an attack is tried on: programs that wait, and programs with hooks.
var victims = map[string]bool{"waits": false, "hooks": true}

// scant are the limits of the victims: small, so that they are soon reached.
var scant = Options{MaxHeaderListSize: 1000, MaxHeaderPairs: 20, MaxHeaderLength: 500, QPACKBlockedStreams: 1, QPACKMaxTableCapacity: 4096, MaxPushes: 5}

// limits are those of the victim.
func (x *attack) limits() Options {
	o := scant
	if tune := tuned[x.name]; tune != nil {
		tune(&o)
	}
	return o
}

func (x *attack) onServer(t *testing.T, hooked bool) {
	ctx := testContext(t)
	sessions := make(chan *Session, 1)
	o := x.limits()
	if hooked {
		o.Hooks.Stream = answerWithHooks
	}
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: loopback.Endpoint, QLog: hooked || siege.Logs})
	must(t, err)
	defer socket.Destroy(nil)
	must(t, socket.Listen(ctx, quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, Handler: func(q *quic.ServerSession) error {
		s, err := NewSession(&q.Session, o)
		sessions <- s
		return err
	}}))
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 100})
	must(t, err)
	defer q.Destroy(nil)
	defer context.AfterFunc(ctx, func() { q.Destroy(ctx.Err()) })() // who waits for what does not come is to hear of it
	a := &attacker{TB: t, ctx: ctx, q: &q.Session, victim: <-sessions, hooked: hooked}
	a.another = func() {
		q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 100})
		must(t, err)
		defer q.Destroy(nil)
		b := &attacker{TB: t, ctx: ctx, q: &q.Session, victim: <-sessions}
		if !hooked {
			go answerAll(b.victim)
		}
		b.run(&attack{"another session", []step{whole(get())}, fine})
	}
	if !hooked {
		go answerAll(a.victim)
	}
	a.run(x)
	if x.want.session {
		return
	}
	if st := a.open(); st != nil { // others are not harmed
		if _, err := st.End(get()); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); !strings.HasSuffix(string(b), "ok") || err != nil {
			t.Errorf("another request is answered %q, %v", b, err)
		}
	}
}

func answerAll(s *Session) {
	for {
		st, err := s.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go func() {
			if _, err := st.Headers(); err != nil {
				return
			}
			if _, err := io.ReadAll(st); err == nil {
				answerPlainly(st)
			}
		}()
	}
}

func answerPlainly(st *Stream) {
	_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{})
	_, _ = st.TryWrite([]byte("ok"))
	_ = st.CloseWrite()
}

func answerWithHooks(st *Stream) error {
	st.SetHooks(StreamHooks{Readable: func() error {
		var b [1000]byte
		for {
			switch n, err := st.TryRead(b[:]); {
			case err == io.EOF:
				answerPlainly(st)
				return nil
			case err != nil, n == 0:
				return nil
			}
		}
	}})
	return nil
}

func (x *attack) onClient(t *testing.T, hooked bool) {
	ctx := testContext(t)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16})
	must(t, err)
	defer socket.Destroy(nil)
	from, err := quic.NewSocket(loopback)
	must(t, err)
	defer from.Destroy(nil)
	dial := func() *attacker {
		q, err := from.Connect(ctx, quic.ConnectOptions{
			Address: "127.0.0.1", Port: int(socket.Address().Port()), ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 100, QLog: hooked || siege.Logs,
		})
		must(t, err)
		must(t, q.Handshake(ctx))
		victim, err := NewSession(&q.Session, x.limits())
		must(t, err)
		server, err := socket.Accept(ctx)
		must(t, err)
		return &attacker{TB: t, ctx: ctx, q: &server.Session, victim: victim, hooked: hooked}
	}
	a := dial()
	defer context.AfterFunc(ctx, func() { a.victim.q.Destroy(ctx.Err()) })() // likewise
	a.another = func() {
		b := dial()
		b.message = b.ask(hooked, "GET")
		b.run(&attack{"another session", []step{whole(head200, data("ok"))}, fine})
	}
	method := "GET"
	if m, _, ok := strings.Cut(x.name, ": "); ok {
		method = m
	}
	a.message = a.ask(hooked, method)
	a.run(x)
	if !x.want.session {
		st := a.ask(hooked, "GET") // others are not harmed
		if _, err := st.End(slices.Concat(head200, data("ok"))); err != nil {
			t.Fatal(err)
		}
		if err := <-a.result; err != nil {
			t.Errorf("another request fails: %v", err)
		}
	}
}

// ask makes the victim send a request, and returns the attacker's end of it.
func (a *attacker) ask(hooked bool, method string) *quic.Stream {
	a.Helper()
	result := make(chan error, 1)
	a.result = result
	st, err := a.victim.OpenStream(a.ctx, StreamOptions{})
	must(a, err)
	if hooked {
		st.SetHooks(StreamHooks{Readable: func() error {
			var b [1000]byte
			for {
				switch n, err := st.TryRead(b[:]); {
				case err == io.EOF:
					result <- nil
					return nil
				case err != nil:
					select {
					case result <- err:
					default: // it may be told more than once
					}
					return nil
				case n == 0:
					return nil
				}
			}
		}})
	} else {
		go func() {
			_, err := st.Headers()
			if err == nil {
				_, err = io.ReadAll(st)
			}
			result <- err
		}()
	}
	h := Headers{{Name: ":method", Value: method}, {Name: ":authority", Value: "a"}}
	if method == "CONNECT" {
		h[1].Value = "a:1"
	} else {
		h = append(h, Field{Name: ":scheme", Value: "https"}, Field{Name: ":path", Value: "/"})
	}
	must(a, st.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}))
	for {
		q, err := a.q.AcceptStream(a.ctx)
		must(a, err)
		if q.Bidirectional() {
			return q
		}
		a.unis = append(a.unis, q)
	}
}

func (a *attacker) run(x *attack) {
	a.Helper()
	for _, s := range x.steps {
		s(a)
	}
	if a.control == nil && !x.want.session {
		ctrl()(a)
	}
	switch {
	case x.want.session:
		<-a.q.Closed()
		if app := (*quic.ApplicationError)(nil); !errors.As(a.q.Err(), &app) || !app.Remote || app.ErrorCode != uint64(x.want.code) {
			a.Errorf("the session ends with %v, want %v", a.q.Err(), x.want.code)
		}
		eventually(a, func() bool { return a.victim.Err() != nil })
		if err := a.victim.Err(); !errors.Is(err, &Error{ErrorCode: x.want.code, Session: true}) {
			a.Errorf("the victim's error is %v, want %v", err, x.want.code)
		}
	case a.message == nil:
	case a.result != nil:
		a.wantAtClient(x.want)
	case x.want == fine:
		if b, err := io.ReadAll(a.message); !strings.HasSuffix(string(b), "ok") || err != nil {
			a.Errorf("the answer is %q, %v (session %v)", b, err, a.q.Err())
		}
	default:
		a.wantCut(x.want.code)
	}
	if n := a.victim.Stats().LimitErrors; (n > 0) != x.want.limit {
		a.Errorf("%d errors are counted as those of limits, after %v", n, x.want)
	}
	if a.frame != nil {
		a.frame()
	}
}

// wantCut waits until the victim has reset the message.
func (a *attacker) wantCut(code ErrorCode) {
	a.Helper()
	_, err := io.ReadAll(a.message)
	if cut := (*quic.StreamError)(nil); !errors.As(err, &cut) || !cut.Remote || cut.ErrorCode != uint64(code) {
		a.Errorf("the message ends with %v, want %v (session: %v)", err, code, a.q.Err())
	}
}

func (a *attacker) wantAtClient(want outcome) {
	a.Helper()
	err := <-a.result
	if want == fine {
		if err != nil {
			a.Errorf("the response fails: %v", err)
		}
	} else if !errors.Is(err, &Error{ErrorCode: want.code}) {
		a.Errorf("the response fails with %v, want %v", err, want.code)
	}
}

// open opens a stream for a message; nil if the victim is gone.
func (a *attacker) open() *quic.Stream {
	a.look()
	st, err := a.q.OpenStream(a.ctx, quic.StreamOptions{})
	if err != nil {
		if a.q.Err() == nil {
			a.Fatal(err)
		}
		return nil
	}
	return st
}

// uni opens a unidirectional stream that begins with these bytes.
func uni(b ...[]byte) step {
	return func(a *attacker) {
		st, err := a.q.OpenStream(a.ctx, quic.StreamOptions{HalfOpen: true})
		if err != nil {
			if a.q.Err() == nil {
				a.Fatal(err)
			}
			return // the victim has had enough
		}
		a.last = st
		_, _ = st.Write(slices.Concat(b...))
	}
}

// ctrl writes to the control stream, which begins with SETTINGS.
func ctrl(b ...[]byte) step {
	return func(a *attacker) {
		if a.control == nil {
			uni([]byte{streamControl}, frame(frameSettings))(a)
			a.control = a.last
		}
		_, _ = a.control.Write(slices.Concat(b...))
	}
}

// settings begins the control stream with these.
func settings(v ...uint64) step {
	return func(a *attacker) {
		uni([]byte{streamControl}, frame(frameSettings, num(v...)))(a)
		a.control = a.last
	}
}

// msg writes to the stream of the message.
func msg(b ...[]byte) step {
	return func(a *attacker) {
		if a.message == nil {
			a.message = a.open()
		}
		_, _ = a.message.Write(slices.Concat(b...))
	}
}

// whole is msg, and the end of the stream.
func whole(b ...[]byte) step {
	return func(a *attacker) {
		msg(b...)(a)
		_ = a.message.CloseWrite()
	}
}

func closeLast(a *attacker) { _ = a.last.CloseWrite() }
func resetLast(a *attacker) { a.last.Reset(uint64(NoError)) }
func resetMsg(a *attacker)  { a.message.Reset(uint64(RequestCancelled)) }

// stopPeer asks the victim to stop its unidirectional stream of a type.
func stopPeer(kind byte) step {
	return func(a *attacker) {
		for {
			for len(a.unis) == 0 {
				st, err := a.q.AcceptStream(a.ctx)
				must(a, err)
				if st.Unidirectional() {
					a.unis = append(a.unis, st)
				}
			}
			st, head := a.unis[0], make([]byte, 1)
			a.unis = a.unis[1:]
			_, err := io.ReadFull(st, head)
			must(a, err)
			if head[0] == kind {
				st.Stop(uint64(NoError))
				return
			}
		}
	}
}

// times repeats steps.
func times(n int, steps ...step) step {
	return func(a *attacker) {
		for range n {
			for _, s := range steps {
				s(a)
			}
			a.look()
		}
	}
}

// heard waits until the victim's session is such.
func heard(ok func(s *Session) bool) step {
	return func(a *attacker) { eventually(a, func() bool { return ok(a.victim) }) }
}

func num(v ...uint64) (b []byte) {
	for _, v := range v {
		b = varint.Append(b, v)
	}
	return b
}

func frame(t frameType, payload ...[]byte) []byte {
	p := slices.Concat(payload...)
	return append(appendFrameHead(nil, t, len(p)), p...)
}

// lie is the head of a frame that claims to be longer than anything.
func lie(t frameType) []byte { return append(num(uint64(t)), num(varint.Max)...) }

func data(s string) []byte { return frame(frameData, []byte(s)) }

// section encodes fields, given as names and values in turn.
func section(kv ...string) []byte {
	var e qpack.Encoder
	var h Headers
	for i := 0; i < len(kv); i += 2 {
		h = append(h, Field{Name: kv[i], Value: kv[i+1]})
	}
	return e.AppendSection(nil, 0, h)
}

func fields(kv ...string) []byte { return frame(frameHeaders, section(kv...)) }

var getFields = []string{":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/"}

// get is the header block of a request, and more fields.
func get(kv ...string) []byte { return fields(slices.Concat(getFields, kv)...) }

var head200 = fields(":status", "200")

func promised(id uint64, kv ...string) []byte {
	if kv == nil {
		kv = getFields
	}
	return frame(framePushPromise, num(id), section(kv...))
}

// isCut reports whether the peer has cut a stream off with a code.
func isCut(err error, code ErrorCode) bool {
	return errors.Is(err, &Error{ErrorCode: code, Remote: true})
}
