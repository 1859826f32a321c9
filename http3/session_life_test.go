package http3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// needsEntry is a request whose block needs the first entry of the dynamic table, and
// firstEntry what makes that.
var (
	needsEntry = frame(frameHeaders, []byte{2, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, 'a', 0x80})
	firstEntry = []byte{0x3f, 0xe1, 0x1f, 0x41, 'x', 1, 'y'}
)

const entryText = "[:method GET][:scheme https][:path /][:authority a][x y]"

// rawClient returns a client that speaks byte by byte, and the server that it speaks to.
func rawClient(t testing.TB, o Options, qo quic.ConnectOptions) *attacker {
	t.Helper()
	ctx := testContext(t)
	sessions := make(chan *Session, 1)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{
		ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, MaxDatagramFrameSize: 65535,
		Handler: func(q *quic.ServerSession) error {
			s, err := NewSession(&q.Session, o)
			sessions <- s
			return err
		},
	})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	qo.ALPN, qo.TLS = ALPN, clientTLS()
	q, err := quic.Dial(ctx, socket.Address().String(), qo)
	must(t, err)
	t.Cleanup(func() { q.Destroy(nil) })
	a := &attacker{TB: t, ctx: ctx, q: &q.Session, victim: <-sessions}
	a.another = func() {
		q, err := quic.Dial(ctx, socket.Address().String(), qo)
		must(t, err)
		defer q.Destroy(nil)
		b := &attacker{TB: t, ctx: ctx, q: &q.Session, victim: <-sessions}
		if o.Hooks.Stream == nil {
			go answerAll(b.victim)
		}
		b.run(&attack{"another session", []step{whole(get())}, fine})
	}
	if a.siegeOf = standing(besieged, t, a.q); a.attacked != nil {
		t.Cleanup(func() {
			a.leave(a.how())
			a.sing()
		})
	}
	return a
}

// hostileServer is the other way round: the session with the client at the other end, which allows so many
// unidirectional streams, is the victim.
func hostileServer(t testing.TB, streams int64) *attacker {
	t.Helper()
	ctx := testContext(t)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: streams})
	must(t, err)
	t.Cleanup(func() { q.Destroy(nil) })
	victim, err := NewSession(&q.Session, Options{})
	must(t, err)
	server, err := socket.Accept(ctx)
	must(t, err)
	return &attacker{TB: t, ctx: ctx, q: &server.Session, victim: victim}
}

// RFC 9204 §2.1.2: a block that needs an insertion waits for it, or for whatever ends the waiting.
func TestBlocked(t *testing.T) {
	for _, test := range []struct {
		name string
		ends func(a *attacker, st *Stream)
		want func(err error) bool // nil: the block is there
	}{
		{"insertion", func(a *attacker, st *Stream) { uni([]byte{streamQPACKEncoder}, firstEntry)(a) }, nil},
		{"insertion byte by byte", func(a *attacker, st *Stream) {
			uni([]byte{streamQPACKEncoder})(a)
			for _, c := range firstEntry {
				_, _ = a.last.Write([]byte{c})
			}
		}, nil},
		{"deadline", func(a *attacker, st *Stream) { _ = st.SetReadDeadline(time.Now()) }, isLate},
		{"reset", func(a *attacker, st *Stream) { resetMsg(a) }, func(err error) bool { return isCut(err, RequestCancelled) }},
		{"stop", func(a *attacker, st *Stream) { st.Stop(NoError) }, func(err error) bool { return err != nil }},
		{"destroy", func(a *attacker, st *Stream) { st.Destroy(os.ErrInvalid) }, func(err error) bool { return err != nil }},
		{"close", func(a *attacker, st *Stream) { _ = st.Close() }, func(err error) bool { return err != nil }},
		{"session's end", func(a *attacker, st *Stream) { _ = a.q.CloseWithError(uint64(NoError), "") }, func(err error) bool { return errors.Is(err, net.ErrClosed) }},
		{"session's fault", func(a *attacker, st *Stream) { ctrl(data("x"))(a) }, func(err error) bool { return errors.Is(err, &Error{ErrorCode: FrameUnexpected, Session: true}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := rawClient(t, Options{}, quic.ConnectOptions{})
			msg(needsEntry)(a)
			st, err := a.victim.AcceptStream(a.ctx)
			must(t, err)
			type result struct {
				h   Headers
				err error
			}
			done := make(chan result)
			go func() { h, err := st.Headers(); done <- result{h, err} }()
			heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 })(a)
			test.ends(a, st)
			r := <-done
			if test.want == nil && (r.err != nil || r.h.text() != entryText) || test.want != nil && !test.want(r.err) {
				t.Errorf("Headers: %s, %v", r.h.text(), r.err)
			}
			if n := a.victim.Stats().QPACKWaited; n != 1 {
				t.Errorf("%d blocks have waited", n)
			}
			if test.name == "deadline" { // it can go on
				must(t, st.SetReadDeadline(time.Time{}))
				uni([]byte{streamQPACKEncoder}, firstEntry)(a)
				if h, err := st.Headers(); h.text() != entryText || err != nil {
					t.Errorf("Headers: %s, %v", h.text(), err)
				}
			}
			if a.victim.Err() == nil {
				heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 })(a)
				if n := stillWaiting(a.victim); n > 0 {
					t.Errorf("%d streams are remembered that wait no more", n)
				}
			}
		})
	}
}

// stillWaiting returns how many streams are woken when insertions come.
func stillWaiting(s *Session) int {
	s.fields.dmu.Lock()
	defer s.fields.dmu.Unlock()
	return len(s.fields.waits)
}

// Each block waits for its own insertions: the last may need the first.
func TestBlockedEachForItsOwn(t *testing.T) {
	for victim, hooked := range victims {
		t.Run(victim, func(t *testing.T) {
			var o Options
			if hooked {
				o.Hooks.Stream = answerWithHooks
			}
			a := rawClient(t, o, quic.ConnectOptions{})
			if !hooked {
				go answerAll(a.victim)
			}
			const most = 5
			lines := get()[len(frame(frameHeaders, []byte{0, 0})):]
			var messages [most]*quic.Stream
			for i := most - 1; i >= 0; i-- {
				a.message = nil
				whole(frame(frameHeaders, []byte{byte(i) + 2, 0}, lines, []byte{0x80}))(a)
				messages[i] = a.message
			}
			heard(func(s *Session) bool { return stillWaiting(s) == most })(a)
			for i, st := range messages {
				if i == 0 {
					uni([]byte{streamQPACKEncoder}, firstEntry)(a)
				} else {
					_, _ = a.last.Write([]byte{0}) // a Duplicate (RFC 9204 §4.3.4)
				}
				if b, err := io.ReadAll(st); !bytes.HasSuffix(b, []byte("ok")) || err != nil {
					t.Errorf("the answer is %q, %v", b, err)
				}
				if n := stillWaiting(a.victim); n != most-1-i {
					t.Errorf("%d wait, after %d insertions", n, i+1)
				}
			}
			if n := a.victim.stats.vain.Load(); n > 0 && !hooked {
				t.Errorf("%d looks at blocks that had to wait", n)
			}
		})
	}
}

// The same with hooks: the insertion makes them be told, and so does a reset.
func TestBlockedWithHooks(t *testing.T) {
	var j journal
	a := rawClient(t, Options{Hooks: SessionHooks{Stream: func(st *Stream) error {
		k := j.hooks(st, "server")
		k.Aborted = func(err error) error { j.add("server aborted"); return nil }
		st.SetHooks(k)
		return nil
	}}}, quic.ConnectOptions{})
	whole(needsEntry, data("x"))(a)
	heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 })(a)
	uni([]byte{streamQPACKEncoder}, firstEntry)(a)
	told := []string{"server initial " + entryText, "server data x", "server end"}
	j.want(t, told...)
	a.message = nil
	msg(frame(frameHeaders, []byte{3, 0, 0x80}))(a) // needs the second
	heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 })(a)
	a.message.Reset(uint64(RequestCancelled))
	j.want(t, append(told, "server aborted")...)
	heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 })(a)
}

// What came before an orderly end is not lost to a block that waits, also if nobody has read the
// insertions yet, or knows the stream that they are on.
func TestBlockedAtOrderlyEnd(t *testing.T) {
	for _, known := range []bool{false, true} {
		held, hold := make(chan struct{}), make(chan struct{})
		a := rawClient(t, Options{Hooks: SessionHooks{Settings: func(Settings) error {
			close(held)
			<-hold
			return nil
		}}}, quic.ConnectOptions{})
		if known {
			uni([]byte{streamQPACKEncoder})(a)
			heard(func(s *Session) bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.opened[streamQPACKEncoder]
			})(a)
		}
		encoder := a.last
		whole(needsEntry)(a)
		st, err := a.victim.AcceptStream(a.ctx)
		must(t, err)
		done := make(chan error, 1)
		go func() {
			h, err := st.Headers()
			if err == nil && h.text() != entryText {
				t.Errorf("Headers: %s", h.text())
			}
			done <- err
		}()
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 })(a)
		before := a.victim.q.Stats().StreamBytesReceived
		ctrl()(a)
		<-held // no hook runs until the session is over
		if known {
			_, _ = encoder.Write(firstEntry)
		} else {
			uni([]byte{streamQPACKEncoder}, firstEntry)(a)
		}
		heard(func(s *Session) bool { return s.q.Stats().StreamBytesReceived >= before+uint64(2+len(firstEntry)) })(a)
		must(t, a.q.CloseWithError(uint64(NoError), ""))
		<-a.victim.q.Closed()
		close(hold)
		must(t, <-done)
	}
}

// RFC 9114 §5.2: what the server has not taken is rejected, what it has is answered.
func TestGoAwayOfServer(t *testing.T) {
	goAway := make(chan int64, 1)
	p := newPair(t, Options{}, Options{Hooks: SessionHooks{GoAway: func(id int64) error { goAway <- id; return nil }}}).settled(t)
	st, sv := p.request(t, post)
	p.server.GoAway()
	p.server.GoAway() // a second says nothing new
	if id := <-goAway; id != 4 {
		t.Errorf("GOAWAY %d", id)
	}
	for _, open := range []func() (*Stream, error){
		func() (*Stream, error) { return p.client.OpenStream(testContext(t), StreamOptions{}) },
		func() (*Stream, error) { return p.client.TryOpenStream(StreamOptions{}) },
	} {
		_, err := open()
		wantCode(t, "a request behind GOAWAY", err, "ERR_INVALID_STATE")
		if !errors.Is(err, errGoAway) {
			t.Errorf("%v does not say why", err)
		}
	}
	answerPlainly(sv)
	if b, err := io.ReadAll(st); string(b) != "ok" || err != nil {
		t.Errorf("the request before is answered %q, %v", b, err)
	}

	a := rawClient(t, Options{}, quic.ConnectOptions{})
	ctrl()(a)
	a.victim.GoAway()
	whole(get())(a) // it has not heard of it
	a.wantCut(RequestRejected)
}

func TestGoAwayAtClient(t *testing.T) {
	a := hostileServer(t, 10)
	first, second := a.ask(false, "GET"), a.ask(false, "GET")
	result := a.result
	ctrl(frame(frameGoAway, num(4)))(a)
	if err := <-result; !errors.Is(err, &Error{ErrorCode: RequestRejected, Remote: true}) {
		t.Errorf("the request that was not taken fails with %v", err)
	}
	if _, err := second.Read(make([]byte, 100)); err == nil {
		_, err = io.ReadAll(second)
		if cut := (*quic.StreamError)(nil); err != nil && (!errors.As(err, &cut) || cut.ErrorCode != uint64(RequestCancelled)) {
			t.Errorf("it ends at the server with %v", err)
		}
	}
	_, err := first.End(slices.Concat(head200, data("ok")))
	must(t, err)
	must(t, a.victim.Close())
	<-a.victim.q.Closed()

	a = hostileServer(t, 10)
	first = a.ask(false, "GET")
	ctrl(frame(frameGoAway, num(400)))(a) // it would still take some, and gets none (RFC 9114 §5.2)
	eventually(t, a.victim.leaving)
	if _, err := a.victim.TryOpenStream(StreamOptions{}); !errors.Is(err, errGoAway) {
		t.Errorf("a request below the GOAWAY's: %v", err)
	}
	_, err = first.End(slices.Concat(head200, data("ok")))
	must(t, err)
	must(t, a.victim.Close())
	<-a.victim.q.Closed()
}

// Shutdown waits for the streams in flight; what a peer says about itself meanwhile is heard.
func TestShutdown(t *testing.T) {
	a := rawClient(t, Options{}, quic.ConnectOptions{})
	msg(get())(a)
	st, err := a.victim.AcceptStream(a.ctx)
	must(t, err)
	done := make(chan error)
	go func() { done <- a.victim.Shutdown(a.ctx) }()
	eventually(t, a.victim.q.Closing)
	ctrl(frame(frameMaxPushID, num(9)))(a) // critical streams may come as late as that
	heard(func(s *Session) bool { return s.has(streamControl) })(a)
	uni([]byte{streamQPACKEncoder}, firstEntry)(a)
	uni([]byte{streamQPACKDecoder})(a)
	heard(func(s *Session) bool { return s.has(streamQPACKDecoder) && s.Stats().QPACKInserted == 1 })(a)
	if pushed, err := st.PushStream(getP, PushOptions{}); err != nil {
		t.Errorf("a push while closing: %v", err)
	} else {
		answerPlainly(pushed)
	}
	late := a.open()
	_, _ = late.Write(get())
	if _, err := io.ReadAll(late); !errors.Is(wrap(err), &Error{ErrorCode: RequestRejected, Remote: true}) {
		t.Errorf("a late request fails with %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown returns %v before the request is answered", err)
	default:
	}
	_ = a.message.CloseWrite()
	_, err = io.ReadAll(st)
	must(t, err)
	answerPlainly(st)
	_, _ = io.ReadAll(a.message)
	for uni := 0; uni < 3; { // control, decoder and the push
		q, err := a.q.AcceptStream(a.ctx)
		if err != nil {
			break
		}
		uni++
		go func() { _, _ = io.Copy(io.Discard, q) }()
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	<-a.q.Closed()
	if err := wrap(a.q.Err()); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
	if err := a.victim.Close(); codeOf(err) != "ERR_INVALID_STATE" {
		t.Errorf("Close of a session that is over: %v", err)
	}
	if _, err := a.victim.AcceptStream(a.ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("AcceptStream of a session that is over: %v", err)
	}
	if _, err := NewSession(a.q, Options{}); codeOf(err) != "ERR_INVALID_STATE" {
		t.Errorf("NewSession on a session that is over: %v", err)
	}

	p := newPair(t, Options{}, Options{}).settled(t)
	cut, _ := p.request(t, post)
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := p.client.Shutdown(ctx); err != context.Canceled {
		t.Errorf("Shutdown with a context that is over: %v", err)
	}
	if _, err := cut.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a stream that was cut off reads %v", err)
	}
}

// RFC 9114 §6.2: three unidirectional streams are needed; with less the control stream must go, and
// the tables are done without.
func TestFewUnidirectionalStreams(t *testing.T) {
	for _, n := range []int64{quic.None, 1, 2, 3} {
		a := rawClient(t, Options{}, quic.ConnectOptions{MaxStreamsUni: n})
		if n == quic.None {
			<-a.q.Closed()
			if err := wrap(a.q.Err()); !errors.Is(err, &Error{ErrorCode: GeneralProtocolError, Remote: true, Session: true}) {
				t.Errorf("with none the session ends with %v", err)
			}
			continue
		}
		go answerAll(a.victim)
		uni([]byte{streamControl}, frame(frameSettings, num(1, 4096, 7, 10)))(a)
		for range 3 {
			a.message = nil
			whole(get("x-long-name", "a value that pays"))(a)
			if b, err := io.ReadAll(a.message); len(b) == 0 || err != nil {
				t.Errorf("with %d: %q, %v", n, b, err)
			}
		}
	}
}

// A client that does not know the protocol yet hears of it when it does: from its session, or from
// NewSession if that is slower than the handshake.
func TestALPNDecidedLate(t *testing.T) {
	ctx := testContext(t)
	for _, protocol := range []string{"echo", ALPN} {
		gate := make(chan struct{}) // the handshake waits for it
		socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{
			ALPN: protocol, TLS: serverTLS(), MaxStreamsUni: 3,
			ClientHelloHandler: func(context.Context, *quic.ServerSession, quic.ClientHello) (*securecontext.Context, error) {
				<-gate
				return nil, nil
			},
			Handler: func(q *quic.ServerSession) error {
				if protocol == ALPN {
					_, err := NewSession(&q.Session, Options{})
					return err
				}
				return nil
			},
		})
		must(t, err)
		defer socket.Destroy(nil)
		from, err := quic.NewSocket(quic.SocketOptions{})
		must(t, err)
		defer from.Destroy(nil)
		o := clientTLS()
		o.NextProtos = []string{"echo", ALPN}
		check := func(when string, start func(q *quic.ClientSession) (*Session, error)) {
			t.Helper()
			q, err := from.Connect(ctx, quic.ConnectOptions{Address: "127.0.0.1", Port: int(socket.Address().Port()), TLS: o, ServerName: "localhost", MaxStreamsUni: 3})
			must(t, err)
			s, err := start(q)
			if err == nil {
				_, err = s.Settings(ctx)
			}
			if protocol == ALPN && err != nil || protocol != ALPN && codeOf(err) != "ERR_INVALID_STATE" {
				t.Errorf("the server speaks %s, NewSession comes %s: %v", protocol, when, err)
			}
			q.Destroy(nil)
		}
		check("before", func(q *quic.ClientSession) (*Session, error) {
			s, err := NewSession(&q.Session, Options{})
			must(t, err)
			gate <- struct{}{}
			return s, err
		})
		check("behind", func(q *quic.ClientSession) (*Session, error) {
			gate <- struct{}{}
			must(t, q.Handshake(ctx))
			return NewSession(&q.Session, Options{})
		})
		close(gate)
		for range 30 {
			check("meanwhile", func(q *quic.ClientSession) (*Session, error) { return NewSession(&q.Session, Options{}) })
		}
	}
}

// RFC 9114 §6.2, when the handshake is complete before there is a Session.
func TestNoUnidirectionalStreamsLate(t *testing.T) {
	ctx := testContext(t)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: quic.None})
	must(t, err)
	defer socket.Destroy(nil)
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS()})
	must(t, err)
	defer q.Destroy(nil)
	s, err := NewSession(&q.Session, Options{})
	must(t, err)
	if _, err := s.Settings(ctx); !errors.Is(err, &Error{ErrorCode: GeneralProtocolError, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
}

// In 0-RTT a client's control stream and its request go before the handshake (RFC 9114 §7.2.4.2).
func TestEarlyData(t *testing.T) {
	ctx := testContext(t)
	sessions := make(chan *Session, 2)
	gate := make(chan struct{}, 2) // the handshake waits for it
	gate <- struct{}{}
	hello := func(context.Context, *quic.ServerSession, quic.ClientHello) (*securecontext.Context, error) {
		<-gate
		return nil, nil
	}
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 3, ClientHelloHandler: hello, Handler: func(q *quic.ServerSession) error {
		s, err := NewSession(&q.Session, Options{})
		sessions <- s
		return err
	}})
	must(t, err)
	defer socket.Destroy(nil)
	from, err := quic.NewSocket(quic.SocketOptions{})
	must(t, err)
	defer from.Destroy(nil)
	cache := clientTLS()
	cache.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	o := quic.ConnectOptions{Address: "127.0.0.1", Port: int(socket.Address().Port()), ALPN: ALPN, TLS: cache, ServerName: "localhost", MaxStreamsUni: 3}
	tickets := make(chan [2][]byte, 10)
	o.Hooks.SessionTicket = func(ticket, params []byte) error { tickets <- [2][]byte{ticket, params}; return nil }
	q, err := from.Connect(ctx, o)
	must(t, err)
	_, err = NewSession(&q.Session, Options{})
	must(t, err)
	ticket := <-tickets
	<-sessions
	must(t, q.CloseWithError(uint64(NoError), ""))
	o.SessionTicket, o.RemoteTransportParams = ticket[0], ticket[1]
	if q, err = from.Connect(ctx, o); err != nil {
		t.Fatal(err)
	}
	s, err := NewSession(&q.Session, Options{})
	must(t, err)
	if !s.started() && !q.HandshakeComplete() { // which may have won the race
		t.Error("the control stream waits for the handshake")
	}
	st, err := s.TryOpenStream(StreamOptions{})
	must(t, err)
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{Terminal: true}))
	gate <- struct{}{}
	server := <-sessions
	sv, err := server.AcceptStream(ctx)
	must(t, err)
	if h, err := sv.Headers(); h.text() != postText || err != nil {
		t.Errorf("%s, %v", h.text(), err)
	}
	_, err = server.Settings(ctx)
	must(t, err)
	answerPlainly(sv)
	if b, err := io.ReadAll(st); string(b) != "ok" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// Everything at once, from several goroutines, for the race detector.
func TestAllAtOnce(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams).settled(t)
	go answerAll(p.server)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				st, err := p.client.OpenStream(testContext(t), StreamOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				var both sync.WaitGroup
				both.Go(func() {
					_ = st.SubmitInitialHeaders(post, HeaderOptions{})
					_, _ = st.Write(pattern(3000))
					_, _ = st.SendDatagram([]byte("x"))
					_ = st.SubmitTrailingHeaders(block("a", "1"))
				})
				both.Go(func() {
					switch (i + j) % 6 {
					case 0:
						_ = st.Close()
					case 1:
						st.Destroy(nil)
					case 2:
						_ = st.SetDeadline(time.Now())
						_ = st.SetDeadline(time.Time{})
					case 3:
						_ = st.UpdatePriority(Priority{Urgency: j % 8})
					case 4:
						st.SetHooks(StreamHooks{Readable: func() error { _, _ = st.TryRead(make([]byte, 10)); return nil }})
					}
				})
				if b, err := io.ReadAll(st); err == nil && len(b) != 0 && string(b) != "ok" {
					t.Errorf("%q", b)
				}
				both.Wait()
				st.Destroy(nil)
			}
		})
	}
	all.Wait()
	must(t, p.client.Shutdown(testContext(t)))
}

// A peer that closes in order just behind a response has said all that the response needs.
func TestOrderlyEndBehindBlock(t *testing.T) {
	a := hostileServer(t, 10)
	a.q.SetErrorCodes(uint64(NoError), 0)
	a.message = a.ask(false, "GET")
	gate := make(chan bool)
	a.victim.q.Post(func() { <-gate }) // hooks are slow
	uni([]byte{streamQPACKEncoder}, firstEntry)(a)
	whole(frame(frameHeaders, []byte{2, 0, 0xd9, 0x80}), data("ok"))(a)
	eventually(t, func() bool { return a.last.Buffered()+a.message.Buffered() == 0 }) // the client has it all
	must(t, a.q.CloseWithError(uint64(NoError), ""))
	<-a.victim.q.Closed()
	close(gate)
	if err := <-a.result; err != nil {
		t.Errorf("the response fails: %v", err)
	}
}
