package quic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// code returns the name that the API document has for an error.
func code(err error) string {
	var c interface{ Code() string }
	if errors.As(err, &c) {
		return c.Code()
	}
	return ""
}

// settle lets time pass in a bubble, and waits for what happens at its end.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// within returns the next error from ch, or that none comes in a minute of a bubble.
func within(ch <-chan error) error {
	select {
	case err := <-ch:
		return err
	case <-time.After(time.Minute):
		return errors.New("nothing comes")
	}
}

// mustOpen opens a stream of s.
func mustOpen(t *testing.T, s *Session, o StreamOptions) *Stream {
	t.Helper()
	st, err := s.OpenStream(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// mustAccept takes the next stream that the peer of s has opened.
func mustAccept(t *testing.T, s *Session) *Stream {
	t.Helper()
	st, err := s.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// opensWhenSecure checks that no end opens a stream before the handshake is done, and that
// those who wait get theirs then.
func opensWhenSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type result struct {
			id  int64
			err error
		}
		results := make(chan result, 2)
		early := func(s *Session) {
			if st, err := s.TryOpenStream(StreamOptions{}); st != nil || code(err) != "ERR_OPERATION_FAILED" {
				t.Errorf("TryOpenStream before the handshake is done: %v, %v", st, err)
			}
			go func() {
				st, err := s.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					results <- result{-1, err}
					return
				}
				results <- result{st.ID(), nil}
			}()
			synctest.Wait()
		}
		var served *ServerSession
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error {
			served = v
			return nil
		}})
		defer m.close()
		c, err := m.client.Connect(t.Context(), ConnectOptions{Address: memServer.Addr().String(), Port: int(memServer.Port()), TLS: clientConfig(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		early(&c.Session)
		settle(15 * time.Millisecond) // the server has the client's first flight, and answered it
		early(&served.Session)
		if len(results) != 0 {
			t.Errorf("opened before the handshake is done: %v", <-results)
		}
		settle(time.Second)
		for _, id := range []int64{0, 1} { // the client is done first
			select {
			case r := <-results:
				if r.err != nil || r.id != id {
					t.Errorf("%+v, want stream %d", r, id)
				}
			default:
				t.Errorf("stream %d was not opened when the handshake was done", id)
			}
		}
	})
}

// Streams get the numbers that RFC 9000 §2.1 gives them, and are of the kind asked for.
func TestRowOpenStreamNumbers(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		ids := func(s *Session, half bool) (ids [3]int64) {
			for i := range ids {
				ids[i] = mustOpen(t, s, StreamOptions{HalfOpen: half}).ID()
			}
			return ids
		}
		covers(t, "SES-071")
		covers(t, "STR-034")
		if got := ids(&p.client.Session, false); got != [3]int64{0, 4, 8} {
			t.Errorf("client, bidirectional: %v", got)
		}
		if got := ids(&p.server.Session, false); got != [3]int64{1, 5, 9} {
			t.Errorf("server, bidirectional: %v", got)
		}
		if got := ids(&p.client.Session, true); got != [3]int64{2, 6, 10} {
			t.Errorf("client, unidirectional: %v", got)
		}
		if got := ids(&p.server.Session, true); got != [3]int64{3, 7, 11} {
			t.Errorf("server, unidirectional: %v", got)
		}
	})
	covers(t, "SES-071")
	opensWhenSecure(t)
	inBubble(t, ListenOptions{MaxStreamsUni: 1, MaxStreamDataUni: None}, ConnectOptions{}, func(t *testing.T, p *pair) {
		first := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		opened, closed := make(chan *Stream, 1), 0
		go func() {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true, HighWaterMark: 300, Hooks: StreamHooks{
				Close: func() { closed++ },
			}})
			if err != nil {
				t.Error(err)
			}
			opened <- st
		}()
		settle(time.Second)
		covers(t, "SES-071")
		if len(opened) != 0 {
			t.Error("did not wait for credit")
		}
		first.CloseWrite()
		io.ReadAll(mustAccept(t, &p.server.Session))
		st := <-opened // with its options, although it had to wait
		if n := takes(t, st); st.ID() != 6 || n != 300 {
			t.Errorf("stream %d takes %d bytes", st.ID(), n)
		}
		st.Destroy(nil)
		settle(time.Second)
		if closed != 1 {
			t.Errorf("its Close hook ran %d times", closed)
		}
	})
}

// Both ends see a stream as of the same kind and from the same opener.
func TestRowStreamKinds(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		both := func(from, to *Session, half bool) (local, remote *Stream) {
			local = mustOpen(t, from, StreamOptions{HalfOpen: half})
			if _, err := local.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			return local, mustAccept(t, to)
		}
		client, server := &p.client.Session, &p.server.Session
		again, err := p.client.Socket().Connect(t.Context(), ConnectOptions{Address: memServer.Addr().String(), Port: int(memServer.Port()), TLS: clientConfig(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		covers(t, "SES-072")
		for _, half := range []bool{true, false, false} { // asked for before the handshake is done
			if st := mustOpen(t, &again.Session, StreamOptions{HalfOpen: half}); st.Unidirectional() != half || st.CanRead() == half {
				t.Errorf("stream %d, HalfOpen %v", st.ID(), half)
			}
		}
		again.Destroy(nil)

		cb, cbPeer := both(client, server, false)
		cu, cuPeer := both(client, server, true)
		sb, sbPeer := both(server, client, false)
		su, suPeer := both(server, client, true)

		covers(t, "SES-072")
		if cb.Unidirectional() || sb.Unidirectional() || !cu.Unidirectional() || !su.Unidirectional() {
			t.Error("HalfOpen does not make a stream unidirectional, or its absence does")
		}
		covers(t, "STR-023")
		if !cb.Bidirectional() || !cbPeer.Bidirectional() || !sb.Bidirectional() || !sbPeer.Bidirectional() ||
			cu.Bidirectional() || cuPeer.Bidirectional() || su.Bidirectional() || suPeer.Bidirectional() {
			t.Error("Bidirectional is wrong")
		}
		covers(t, "STR-054")
		if cb.Unidirectional() || cbPeer.Unidirectional() || sb.Unidirectional() || sbPeer.Unidirectional() ||
			!cu.Unidirectional() || !cuPeer.Unidirectional() || !su.Unidirectional() || !suPeer.Unidirectional() {
			t.Error("Unidirectional is wrong")
		}
		covers(t, "STR-026")
		if !cb.ClientInitiated() || !cbPeer.ClientInitiated() || !cu.ClientInitiated() || !cuPeer.ClientInitiated() ||
			sb.ClientInitiated() || sbPeer.ClientInitiated() || su.ClientInitiated() || suPeer.ClientInitiated() {
			t.Error("ClientInitiated is wrong")
		}
		covers(t, "STR-041")
		if cb.ServerInitiated() || cbPeer.ServerInitiated() || cu.ServerInitiated() || cuPeer.ServerInitiated() ||
			!sb.ServerInitiated() || !sbPeer.ServerInitiated() || !su.ServerInitiated() || !suPeer.ServerInitiated() {
			t.Error("ServerInitiated is wrong")
		}
		covers(t, "STR-042")
		if cb.Session() != client || sbPeer.Session() != client || cbPeer.Session() != server || su.Session() != server ||
			cb.Session().Client() != p.client || cbPeer.Session().Server() != p.server {
			t.Error("a stream belongs to another session")
		}
	})
}

// flows checks what an end of a stream can do: it reads "x" from the other end or cannot read,
// and writes "x" or cannot write.
func flows(t *testing.T, st *Stream, readable, writable bool) {
	t.Helper()
	if st.CanRead() != readable || st.CanWrite() != writable {
		t.Errorf("stream %d: readable %v, writable %v; want %v, %v", st.ID(), st.CanRead(), st.CanWrite(), readable, writable)
	}
	n, err := st.Write([]byte("x"))
	if m, tryErr := st.TryWrite(nil); writable != (tryErr == nil) || m != 0 {
		t.Errorf("stream %d: TryWrite: %d, %v", st.ID(), m, tryErr)
	}
	if writable && (n != 1 || err != nil) || !writable && (n != 0 || !errors.Is(err, net.ErrClosed)) {
		t.Errorf("stream %d, writable %v: Write: %d, %v", st.ID(), writable, n, err)
	}
	b := make([]byte, 2)
	n, err = st.Read(b)
	if readable && (string(b[:n]) != "x" || err != nil) || !readable && (n != 0 || !errors.Is(err, net.ErrClosed)) {
		t.Errorf("stream %d, readable %v: Read: %q, %v", st.ID(), readable, b[:n], err)
	}
}

// The half-open table of the API document, at both ends of both kinds of opener.
func TestRowHalfOpen(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		// Opened by the client: the client writes and the server reads.
		opened := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		covers(t, "STR-057")
		covers(t, "STR-059")
		if opened.ServerInitiated() || !opened.ClientInitiated() {
			t.Error("opened by the client, and says that it was not")
		}
		flows(t, opened, false, true)
		accepted := mustAccept(t, &p.server.Session)
		covers(t, "STR-058")
		covers(t, "STR-060")
		if accepted.ServerInitiated() || !accepted.ClientInitiated() {
			t.Error("opened by the client, and its peer says that it was not")
		}
		flows(t, accepted, true, false)

		// Opened by the server: the server writes and the client reads.
		opened = mustOpen(t, &p.server.Session, StreamOptions{HalfOpen: true})
		covers(t, "STR-056")
		covers(t, "STR-062")
		if !opened.ServerInitiated() || opened.ClientInitiated() {
			t.Error("opened by the server, and says that it was not")
		}
		flows(t, opened, false, true)
		accepted = mustAccept(t, &p.client.Session)
		covers(t, "STR-055")
		covers(t, "STR-061")
		if !accepted.ServerInitiated() || accepted.ClientInitiated() {
			t.Error("opened by the server, and its peer says that it was not")
		}
		flows(t, accepted, true, false)
	})
}

// Data goes both ways on a bidirectional stream, whoever opened it, and each way has its own
// end; on a unidirectional one it goes one way.
func TestRowDataFlow(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		talk := func(from, to *Session) {
			t.Helper()
			a := mustOpen(t, from, StreamOptions{})
			a.Write([]byte("ping"))
			b := mustAccept(t, to)
			b.Write([]byte("pong"))
			a.CloseWrite()
			if got, err := io.ReadAll(b); string(got) != "ping" || err != nil {
				t.Errorf("the peer read %q, %v", got, err)
			}
			b.Write([]byte(" and more")) // this half is open as long as it likes
			b.CloseWrite()
			if got, err := io.ReadAll(a); string(got) != "pong and more" || err != nil {
				t.Errorf("the opener read %q, %v", got, err)
			}
			<-a.Closed()
			<-b.Closed()
		}
		covers(t, "STR-002")
		talk(&p.client.Session, &p.server.Session)
		talk(&p.server.Session, &p.client.Session)

		covers(t, "STR-003")
		for _, ends := range [][2]*Session{{&p.server.Session, &p.client.Session}, {&p.client.Session, &p.server.Session}} {
			a := mustOpen(t, ends[0], StreamOptions{HalfOpen: true})
			a.End([]byte("only this way"))
			b := mustAccept(t, ends[1])
			if got, err := io.ReadAll(b); string(got) != "only this way" || err != nil {
				t.Errorf("the reader read %q, %v", got, err)
			}
			if n, err := b.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("the reader wrote %d, %v", n, err)
			}
			if n, err := a.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				t.Errorf("the writer read %d, %v", n, err)
			}
		}
	})
}

// A stream is what Go's copying and connections work with.
func TestRowStreamClass(t *testing.T) {
	var _ interface {
		net.Conn
		io.ReaderFrom
		io.WriterTo
	} = (*Stream)(nil)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		want := strings.Repeat("through and back again ", 10_000)
		go func() {
			b, err := p.server.AcceptStream(t.Context())
			if err == nil {
				io.Copy(b, b) // a pipe
				b.CloseWrite()
			}
		}()
		a := mustOpen(t, &p.client.Session, StreamOptions{})
		go func() {
			io.Copy(a, struct{ io.Reader }{strings.NewReader(want)}) // by ReadFrom
			a.CloseWrite()
		}()
		covers(t, "STR-001")
		if got, err := io.ReadAll(a); string(got) != want || err != nil {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
		<-a.Closed()
		a.Destroy(nil) // over already: changes nothing
		if a.Err() != nil {
			t.Errorf("Err is %v", a.Err())
		}
		b := mustOpen(t, &p.client.Session, StreamOptions{})
		b.Destroy(nil)
		if n, err := b.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("Write after Destroy: %d, %v", n, err)
		}
	})
}

// OpenStream and TryOpenStream fail on sessions that are closing or over.
func TestRowOpenStreamRefused(t *testing.T) {
	inBubble(t, ListenOptions{MaxStreamsUni: None}, ConnectOptions{MaxStreamsUni: None}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		covers(t, "SES-077")
		_, err := p.client.TryOpenStream(StreamOptions{HalfOpen: true})
		if !errors.Is(err, ErrOperationFailed) || code(err) != "ERR_OPERATION_FAILED" || !strings.Contains(err.Error(), "allowed by the peer") {
			t.Errorf("TryOpenStream without credit: %v", err)
		}
		if st, err := p.client.TryOpenStream(StreamOptions{}); err != nil {
			t.Errorf("TryOpenStream of the other kind: %v", err)
		} else {
			st.Reset(0)
			st.Stop(0)
		}

		waiting := make(chan error)
		go func() {
			_, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			waiting <- err
		}()
		synctest.Wait()
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		covers(t, "SES-076")
		if err := <-waiting; !errors.Is(err, ErrInvalidState) {
			t.Errorf("an OpenStream that waits for credit when the session closes: %v", err)
		}
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{}); code(err) != "ERR_INVALID_STATE" || !strings.Contains(err.Error(), "closing") {
			t.Errorf("OpenStream of a closing session: %v", err)
		}
		if _, err := p.client.TryOpenStream(StreamOptions{}); code(err) != "ERR_INVALID_STATE" {
			t.Errorf("TryOpenStream of a closing session: %v", err)
		}
		if _, err := c.Write([]byte("still open")); err != nil {
			t.Errorf("a stream of a closing session: %v", err)
		}

		go func() {
			_, err := p.server.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			waiting <- err
		}()
		synctest.Wait()
		p.server.Destroy(nil)
		covers(t, "SES-075")
		if err := within(waiting); code(err) != "ERR_OPERATION_FAILED" || !errors.Is(err, ErrOperationFailed) {
			t.Errorf("an OpenStream that waits for credit when the session is destroyed: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.server.OpenStream(ctx, StreamOptions{}); code(err) != "ERR_INVALID_STATE" || !errors.Is(err, net.ErrClosed) {
			t.Errorf("OpenStream of a destroyed session: %v", err)
		}
		if _, err := p.server.TryOpenStream(StreamOptions{}); code(err) != "ERR_INVALID_STATE" {
			t.Errorf("TryOpenStream of a destroyed session: %v", err)
		}
		<-s.Closed()
	})
}

// Credit for one stream is for one stream.
func TestRowOpenStreamBlocked(t *testing.T) {
	inBubble(t, ListenOptions{MaxStreamsUni: 1}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "SES-077")
		if _, err := p.client.TryOpenStream(StreamOptions{HalfOpen: true}); err != nil {
			t.Fatalf("the first stream: %v", err)
		}
		if _, err := p.client.TryOpenStream(StreamOptions{HalfOpen: true}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("the second stream: %v", err)
		}
	})
}

// OpenStream before the end of the handshake waits for it, or for the session's end.
func TestRowOpenStreamPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 50 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{})
		covers(t, "SES-078")
		if _, err := c.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) || c.HandshakeComplete() {
			t.Errorf("TryOpenStream before the handshake: %v", err)
		}
		st := mustOpen(t, &c.Session, StreamOptions{})
		if st.ID() != 0 || !c.HandshakeComplete() {
			t.Errorf("stream %d, handshake complete %v", st.ID(), c.HandshakeComplete())
		}

		m.net.SetFilter(func(*dgram.Datagram) bool { return true }) // nobody hears the next one
		c = m.connect(ConnectOptions{})
		failed := make(chan error)
		go func() {
			_, err := c.OpenStream(t.Context(), StreamOptions{})
			failed <- err
		}()
		synctest.Wait()
		select {
		case err := <-failed:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		boom := errors.New("boom")
		c.Destroy(boom)
		if err := <-failed; code(err) != "ERR_OPERATION_FAILED" || !errors.Is(err, boom) {
			t.Errorf("when the session is destroyed: %v", err)
		}

		c = m.connect(ConnectOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { synctest.Wait(); cancel() }()
		if _, err := c.OpenStream(ctx, StreamOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("when the context ends: %v", err)
		}

		// A server knows the client's limits from its first message, and waits all the same.
		type opened struct {
			st   *Stream
			done bool // the handshake was, by then
			err  error
		}
		result := make(chan opened, 1)
		waiting := make(chan bool, 1)
		m.net.SetFilter(nil)
		m.server.Destroy(nil)
		m.server = m.socketAt(memServer, SocketOptions{})
		err := m.server.Listen(t.Context(), ListenOptions{TLS: serverConfig(), Handler: func(s *ServerSession) error {
			go func() {
				st, err := s.OpenStream(t.Context(), StreamOptions{})
				result <- opened{st, s.HandshakeComplete(), err}
			}()
			time.Sleep(time.Millisecond)
			waiting <- len(result) == 0 && s.MaxStreams().Bidi > 0 && !s.HandshakeComplete()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		c = m.connect(ConnectOptions{})
		if !<-waiting {
			t.Error("a server's OpenStream before the end of the handshake does not wait")
		}
		if o := <-result; o.err != nil || o.st.ID() != 1 || !o.done {
			t.Errorf("a server's OpenStream: %v, handshake complete %v", o.err, o.done)
		}
		c.Destroy(nil)
	})
}

// The peer's streams are told once each, also those that bring nothing but their end; our own
// are not told.
func TestRowStreamHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []int64
		var server *ServerSession
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error {
			server = v
			v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
				told = append(told, st.ID())
				go io.Copy(io.Discard, st)
				return nil
			}})
			return nil
		}})
		defer m.close()
		c := m.connect(ConnectOptions{})
		empty := mustOpen(t, &c.Session, StreamOptions{})
		empty.CloseWrite() // no byte, only an end
		synctest.Wait()
		covers(t, "SES-023")
		if len(told) != 1 || told[0] != 0 {
			t.Fatalf("after an empty stream the hook was told of %v", told)
		}
		st := mustOpen(t, &c.Session, StreamOptions{HalfOpen: true})
		for range 3 {
			st.Write(bytes.Repeat([]byte("x"), 5000))
			synctest.Wait()
		}
		mustOpen(t, &server.Session, StreamOptions{}).Write([]byte("ours"))
		synctest.Wait()
		if len(told) != 2 || told[1] != 2 {
			t.Errorf("the hook was told of %v, want each of the peer's once", told)
		}
		if _, err := server.AcceptStream(t.Context()); code(err) != "ERR_INVALID_STATE" {
			t.Errorf("AcceptStream beside a hook: %v", err)
		}
		// The same without a hook.
		got := mustAccept(t, &c.Session)
		if b := make([]byte, 4); got.ID() != 1 {
			t.Errorf("accepted stream %d", got.ID())
		} else if _, err := io.ReadFull(got, b); string(b) != "ours" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		mustOpen(t, &server.Session, StreamOptions{HalfOpen: true}).CloseWrite()
		if got := mustAccept(t, &c.Session); got.ID() != 3 {
			t.Errorf("accepted stream %d", got.ID())
		} else if n, err := got.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("an empty stream reads %d, %v", n, err)
		}
		// A client's hook is told of those that wait for it, and of those that come.
		var clientTold []int64
		mustOpen(t, &server.Session, StreamOptions{}).Write([]byte("5"))
		synctest.Wait()
		c.SetHooks(SessionHooks{Stream: func(st *Stream) error { clientTold = append(clientTold, st.ID()); return nil }})
		synctest.Wait()
		mustOpen(t, &server.Session, StreamOptions{HalfOpen: true}).Write([]byte("7"))
		mustOpen(t, &c.Session, StreamOptions{}).Write([]byte("not told"))
		synctest.Wait()
		if !slices.Equal(clientTold, []int64{5, 7}) {
			t.Errorf("the client's hook was told of %v, want 5 and 7", clientTold)
		}
	})
}

// A stream that nobody reads does not hold up the others, nor does a packet of its that is lost.
func TestRowMultiplexing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent int
		var lost atomic.Int32
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: func(d *dgram.Datagram) bool {
			if sent++; sent > 40 && sent%10 == 0 {
				lost.Add(1)
				return true
			}
			return false
		}}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		stalled := mustOpen(t, &p.client.Session, StreamOptions{})
		go stalled.Write(make([]byte, 10<<20)) // as much as its window holds; nobody reads it
		unread := mustAccept(t, &p.server.Session)
		const streams, each = 20, 300_000
		for i := range streams {
			st := mustOpen(t, &p.client.Session, StreamOptions{})
			go func() {
				st.Write(bytes.Repeat([]byte{byte(i)}, each))
				st.CloseWrite()
			}()
		}
		done := make(chan int)
		for range streams {
			st := mustAccept(t, &p.server.Session)
			go func() {
				b, err := io.ReadAll(st)
				if len(b) != each || err != nil || bytes.Count(b, b[:1]) != each {
					t.Errorf("stream %d: %d bytes, %v", st.ID(), len(b), err)
				}
				done <- int(b[0])
			}()
		}
		seen := make(map[int]bool)
		for range streams {
			seen[<-done] = true
		}
		covers(t, "SES-105")
		if len(seen) != streams {
			t.Errorf("%d streams of %d came", len(seen), streams)
		}
		if n := unread.Readable(); n != 256<<10 {
			t.Errorf("%d bytes of the stalled stream wait, want its window", n)
		}
		if lost.Load() == 0 || p.client.Stats().PacketsLost == 0 {
			t.Error("nothing was lost")
		}
	})
}
