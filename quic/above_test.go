package quic

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// The parts of a session that a protocol above needs.

// Aborted tells of a reset and of the wish that we stop, whether or not anybody reads or writes, and
// also if the hook is set later.
func TestAbortedHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		for name, abort := range map[string]func(*Stream){
			"reset": func(st *Stream) { st.Reset(7) },
			"stop":  func(st *Stream) { st.Stop(7) },
		} {
			for _, late := range []bool{false, true} {
				c, s := p.streams(t)
				var told []error
				hooks := StreamHooks{Aborted: func(err error) error { told = append(told, err); return nil }}
				if !late {
					s.SetHooks(hooks)
				}
				synctest.Wait()
				if len(told) != 0 {
					t.Errorf("%s: told before it happens", name)
				}
				abort(c)
				time.Sleep(time.Second)
				if late {
					s.SetHooks(hooks)
				}
				synctest.Wait()
				want := &StreamError{StreamID: s.ID(), ErrorCode: 7, Remote: true}
				if len(told) != 1 || !errors.Is(told[0], want) {
					t.Errorf("%s, hook set late %v: told %v", name, late, told)
				}
				s.Destroy(nil)
			}
		}
	})
}

// An error of the hook destroys the stream.
func TestAbortedHookFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		boom := errors.New("boom")
		s.SetHooks(StreamHooks{Aborted: func(error) error { return boom }})
		c.Stop(7)
		synctest.Wait()
		if err := s.Err(); !errors.Is(err, boom) {
			t.Errorf("the stream's error is %v", err)
		}
	})
}

// The protocol's codes: Close and Destroy(nil) use the first, which counts as an end in order when it
// comes from the peer; streams that come while closing are turned away with the second.
func TestProtocolCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*Session){
			"Close":          func(s *Session) { _ = s.Close() },
			"Destroy(nil)":   func(s *Session) { s.Destroy(nil) },
			"CloseWithError": func(s *Session) { _ = s.CloseWithError(0x100, "") },
		} {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			p := m.pair(ConnectOptions{})
			failed := false
			p.server.SetHooks(SessionHooks{Error: func(error) { failed = true }})
			for _, s := range []*Session{&p.client.Session, &p.server.Session} {
				s.SetErrorCodes(0x100, 0x10b)
			}
			c, s := p.streams(t)
			if _, err := c.End([]byte("whole")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if name == "Close" { // it waits for the stream
				_, _ = s.End(nil)
				_, _ = io.ReadAll(c)
			}
			end(&p.client.Session)
			if name == "Close" {
				if b, err := io.ReadAll(s); string(b) != "whole" || err != nil {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
			<-p.server.Closed()
			synctest.Wait()
			if code := p.server.CloseCode(); code.Code != 0x100 || code.Family != CloseApplication || failed {
				t.Errorf("%s: the peer is told %+v, failed %v", name, code, failed)
			}
			if name != "Close" {
				if b, err := io.ReadAll(s); string(b) != "whole" || err != nil {
					t.Errorf("%s: what came whole reads %q, %v", name, b, err)
				}
			}
			if err := p.client.Shutdown(t.Context()); !errors.Is(err, ErrInvalidState) {
				t.Errorf("%s: Shutdown afterwards: %v", name, err)
			}
			m.close()
		}
	})
}

// Streams that nobody has accepted, or that come too late, are refused with the protocol's code.
func TestRefusalCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		keep, _ := p.streams(t)
		p.server.SetErrorCodes(0x100, 0x10b)
		early, late := mustOpen(t, &p.client.Session, StreamOptions{}), (*Stream)(nil)
		early.Write([]byte("x"))
		synctest.Wait()
		p.server.Close()
		late = mustOpen(t, &p.client.Session, StreamOptions{})
		late.Write([]byte("x"))
		for name, st := range map[string]*Stream{"early": early, "late": late} {
			if _, err := io.ReadAll(st); !errors.Is(err, &StreamError{StreamID: st.ID(), ErrorCode: 0x10b, Remote: true}) {
				t.Errorf("the %s one reads %v", name, err)
			}
		}
		keep.Destroy(nil)
	})
}

// A closing session can keep unidirectional streams coming, from both ends.
func TestKeepUnidirectional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, keep := range []bool{false, true} {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			p := m.pair(ConnectOptions{})
			c, s := p.streams(t)
			var came []*Stream
			p.server.SetHooks(SessionHooks{Stream: func(st *Stream) error { came = append(came, st); return nil }})
			if keep {
				p.server.KeepUnidirectional()
			}
			p.server.Close()
			for _, half := range []bool{false, true} {
				st := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: half})
				st.Write([]byte("x"))
				if _, err := p.server.TryOpenStream(StreamOptions{HalfOpen: half}); (err == nil) != (half && keep) {
					t.Errorf("kept %v, half open %v: TryOpenStream while closing: %v", keep, half, err)
				}
				synctest.Wait()
			}
			if (len(came) == 1) != keep || keep && came[0].Bidirectional() {
				t.Errorf("kept %v: %d streams came", keep, len(came))
			}
			for _, st := range p.server.Streams() {
				st.Destroy(nil)
			}
			c.Destroy(nil)
			s.Destroy(nil)
			for _, st := range p.client.Streams() {
				st.Destroy(nil)
			}
			<-p.server.Closed()
			if _, err := p.server.TryOpenStream(StreamOptions{HalfOpen: true}); !errors.Is(err, ErrInvalidState) {
				t.Errorf("TryOpenStream on a session that is over: %v", err)
			}
			m.close()
		}
	})
}

// Close does not wait for a lasting stream.
func TestLasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		lasting := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		lasting.SetLasting()
		lasting.SetLasting() // once is enough
		other := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		p.client.Close()
		time.Sleep(time.Second)
		if p.client.Destroyed() {
			t.Fatal("the session is over before its other stream is")
		}
		other.CloseWrite()
		time.Sleep(time.Second)
		if !p.client.Destroyed() || lasting.Err() == nil {
			t.Error("the session waits for the lasting stream")
		}
		p = m.pair(ConnectOptions{})
		last := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		p.client.Close()
		time.Sleep(time.Second)
		last.SetLasting() // which was the only one
		time.Sleep(time.Second)
		if !p.client.Destroyed() {
			t.Error("the session waits for a stream that became lasting")
		}
	})
}

// Streams and PeerStreams tell what there is and what may be.
func TestStreamsOfSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsBidi: 3, MaxStreamsUni: 2})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if b, u := p.server.PeerStreams(false), p.server.PeerStreams(true); b != 3 || u != 2 {
			t.Errorf("%d and %d are allowed, want 3 and 2", b, u)
		}
		var pairs [][2]*Stream
		for range 3 {
			c, s := p.streams(t)
			pairs = append(pairs, [2]*Stream{c, s})
		}
		ids := func(s *Session) (list []int64) {
			for _, st := range s.Streams() {
				list = append(list, st.ID())
			}
			slices.Sort(list)
			return list
		}
		if got := ids(&p.server.Session); !slices.Equal(got, []int64{0, 4, 8}) {
			t.Errorf("there are %v", got)
		}
		for _, st := range pairs[1] {
			st.Destroy(nil)
		}
		time.Sleep(time.Second)
		if got := ids(&p.server.Session); !slices.Equal(got, []int64{0, 8}) {
			t.Errorf("there are %v", got)
		}
		for _, st := range append(pairs[0][:], pairs[2][:]...) {
			st.Destroy(nil)
		}
		time.Sleep(time.Second)
		if n := p.server.PeerStreams(false); n <= 3 {
			t.Errorf("%d are allowed after three have ended", n)
		}
	})
}

// Post runs in turn with the hooks, in order, without locks, and never within itself.
func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		s := &p.client.Session
		s.SetHooks(SessionHooks{Close: func() { j.add("close") }})
		posted := make(chan struct{})
		s.Post(func() {
			<-posted
			j.add("first")
			s.Post(func() { j.add("third"); _ = s.Stats() })
			j.add("first ends")
		})
		s.Post(func() { j.add("second"); panic("boom") }) // which is nobody's business
		close(posted)
		j.want(t, "first", "first ends", "second", "third")
		s.Post(func() { s.Destroy(nil); j.add("destroyed") })
		j.want(t, "destroyed", "close")
	})
}

// What has come on unidirectional streams that are kept can be read after an end in order, whole or not,
// and then the end is told; after any other end it is lost.
func TestKeepUnidirectionalBehindTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, want := range map[uint64]string{0: "part", 7: ""} {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			p := m.pair(ConnectOptions{})
			p.server.KeepUnidirectional()
			uni := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
			uni.Write([]byte("part"))
			st := mustAccept(t, &p.server.Session)
			bidi, other := p.streams(t)
			bidi.Write([]byte("part"))
			time.Sleep(time.Second)
			p.client.CloseWithError(code, "")
			<-p.server.Closed()
			b, err := io.ReadAll(st)
			if string(b) != want || !errors.Is(err, p.server.Err()) {
				t.Errorf("code %d: %q, %v", code, b, err)
			}
			if b, err := io.ReadAll(other); len(b) != 0 || err == nil {
				t.Errorf("code %d: a stream of the other kind reads %q, %v", code, b, err)
			}
			m.close()
		}
	})
}

// What is posted behind the Close hook is called all the same, and in turn.
func TestPostBehindTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		var j journal
		p.client.SetHooks(SessionHooks{Close: func() { j.add("closed") }})
		p.client.Destroy(nil)
		p.client.Post(func() { j.add("posted") })
		synctest.Wait()
		time.Sleep(time.Minute) // the session is forgotten
		p.client.Post(func() { j.add("posted again") })
		synctest.Wait()
		j.want(t, "closed", "posted", "posted again")
	})
}
