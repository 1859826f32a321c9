package quic

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// ends are hooks that note the end of a stream.
func (j *journal) ends() StreamHooks {
	return StreamHooks{
		Error: func(err error) { j.add("error: %v", err) },
		Close: func() { j.add("close") },
	}
}

// The Close hook runs once, when both halves are over or the stream is cut off, and the
// figures stay.
func TestRowStreamClose(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "STR-007")
		var j journal
		c, s := p.streams(t)
		c.SetHooks(j.ends())
		ended := func(ch <-chan struct{}) bool {
			select {
			case <-ch:
				return true
			default:
				return false
			}
		}
		closed := c.Closed()
		c.End([]byte("1234"))
		io.ReadAll(s)
		settle(time.Second)
		j.want(t) // one half is over
		if ended(closed) {
			t.Error("Closed with one half open")
		}
		s.End([]byte("567"))
		io.ReadAll(c)
		settle(time.Second)
		j.want(t, "close")
		if !ended(closed) || !ended(c.Closed()) || !ended(s.Closed()) {
			t.Error("not Closed with both halves over")
		}
		if st := c.Stats(); st.BytesSent != 5 || st.BytesReceived != 3 || st.FinalSize != 3 || st.MaxAcknowledgedOffset != 5 {
			t.Errorf("afterwards: %+v", st)
		}
		p.client.CloseWithError(7, "") // changes nothing for a stream that is over
		synctest.Wait()
		j.want(t)
		if st := c.Stats(); st.BytesSent != 5 || st.BytesReceived != 3 {
			t.Errorf("after the session: %+v", st)
		}
	})
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		var j journal
		c, s := p.streams(t)
		c.SetHooks(j.ends())
		s.SetHooks(j.ends())
		boom := errors.New("boom")
		closed := c.Closed()
		p.client.Destroy(boom)
		p.client.Destroy(boom)
		synctest.Wait()
		j.want(t, "error: boom", "close")
		select {
		case <-closed:
		default:
			t.Error("not Closed with its session destroyed")
		}
		settle(time.Second)
		j.want(t, "error: quic: session closed by the peer: APPLICATION_ERROR", "close")
		if st := c.Stats(); st.BytesSent != 1 {
			t.Errorf("after the session was destroyed: %+v", st)
		}
	})
}

// The Error hook runs at most once, before Close, for a failure; Destroy without an error and
// Close are none.
func TestRowStreamError(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "STR-010")
		var j journal
		c, s := p.streams(t)
		c.SetHooks(j.ends())
		c.Destroy(errors.New("boom"))
		c.Destroy(errors.New("again"))
		s.Destroy(errors.New("the peer's"))
		settle(time.Second)
		j.want(t, "error: boom", "close")

		c, s = p.streams(t)
		c.SetHooks(j.ends())
		c.Destroy(&ApplicationError{ErrorCode: 9}) // an error, whatever it is
		s.Close()
		settle(time.Second)
		j.want(t, "error: quic: session closed here: application code 0x9", "close")

		c, s = p.streams(t)
		c.SetHooks(j.ends())
		c.Destroy(nil)
		s.Close()
		settle(time.Second)
		j.want(t, "close")

		c, s = p.streams(t)
		c.SetHooks(j.ends())
		s.SetHooks(j.ends())
		c.Close()
		s.Close() // each asks the other to stop as well
		settle(time.Second)
		j.want(t, "close", "close")

		c, s = p.streams(t)
		c.SetHooks(j.ends())
		s.Reset(5)
		c.Read(make([]byte, 1))
		c.CloseWrite()
		io.ReadAll(s)
		settle(time.Second)
		j.want(t, "error: quic: stream 16 was cut off by the peer with code 0x5", "close")
	})
}

// Close ends both halves without loss of what was written.
func TestRowStreamCloseDelivers(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		want := bytes.Repeat([]byte("0123456789"), 100_000)
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(want)
			if err == nil {
				err = c.Close()
			}
			wrote <- err
		}()
		covers(t, "STR-027")
		if b, err := io.ReadAll(s); !bytes.Equal(b, want) || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("Write and Close: %v", err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close: %d, %v", n, err)
		}
		closed := c.Closed()
		if err := c.Close(); err != nil {
			t.Errorf("Close while the first is pending: %v", err)
		}
		select {
		case <-closed:
			t.Error("closed, although the peer has not ended its side")
		default:
		}
		settle(time.Second)
		if _, err := s.Write([]byte("x")); !errors.As(err, new(*StreamError)) {
			t.Errorf("the peer writes on: %v", err)
		}
		<-closed
		<-c.Closed()
		if c.Err() != nil {
			t.Errorf("it ended with %v", c.Err())
		}

		c, _ = p.streams(t)
		c.Close()
		boom := errors.New("boom")
		p.client.Destroy(boom)
		<-c.Closed()
		if c.Err() != boom {
			t.Errorf("a Close that the session does not live to finish: %v", c.Err())
		}
	})
}

// Close again is nothing new while the first is under way, and an error when the stream is gone.
func TestRowStreamCloseAgain(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "STR-028")
		c, s := p.streams(t)
		for range 3 {
			if err := c.Close(); err != nil {
				t.Errorf("Close under way: %v", err)
			}
		}
		s.Close()
		<-c.Closed()
		if err := c.Close(); code(err) != "ERR_INVALID_STATE" || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close after the end: %v", err)
		}

		c, s = p.streams(t)
		boom := errors.New("boom")
		c.Destroy(boom)
		s.Close()
		<-c.Closed()
		if err := c.Close(); code(err) != "ERR_INVALID_STATE" || !errors.Is(err, boom) {
			t.Errorf("Close of a destroyed stream: %v", err)
		}

		c, _ = p.streams(t)
		p.client.Destroy(nil)
		if err := c.Close(); code(err) != "ERR_INVALID_STATE" {
			t.Errorf("Close of a stream of a destroyed session: %v", err)
		}
	})
}

// A reset is told apart from an end, with its code; a stream that is over is detached.
func TestRowResetReceived(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "X-015")
		c, s := p.streams(t)
		if n, ok := s.ResetReceived(); ok || n != 0 || s.Detached() {
			t.Errorf("at first: %d, %v, detached %v", n, ok, s.Detached())
		}
		c.Write([]byte("cut short"))
		synctest.Wait()
		c.Reset(77)
		settle(time.Second)
		if n, ok := s.ResetReceived(); !ok || n != 77 {
			t.Errorf("reset: %d, %v", n, ok)
		}
		if _, ok := c.ResetReceived(); ok {
			t.Error("its sender received one too")
		}
		if b, err := io.ReadAll(s); !errors.Is(err, &StreamError{c.ID(), 77, true}) {
			t.Errorf("reading: %q, %v", b, err)
		}
		if s.Detached() {
			t.Error("detached with one side open")
		}
		s.CloseWrite()
		io.ReadAll(c)
		settle(time.Second)
		if !s.Detached() || !c.Detached() {
			t.Error("not detached when both sides are over")
		}
		if n, ok := s.ResetReceived(); !ok || n != 77 {
			t.Errorf("afterwards: %d, %v", n, ok)
		}

		c, s = p.streams(t)
		c.CloseWrite()
		io.ReadAll(s)
		if _, ok := s.ResetReceived(); ok {
			t.Error("an end counts as a reset")
		}
		c, zero := p.streams(t)
		c.Reset(0)
		settle(time.Second)
		if n, ok := zero.ResetReceived(); !ok || n != 0 {
			t.Errorf("reset with 0: %d, %v", n, ok)
		}
		p.server.Destroy(nil)
		if !s.Detached() {
			t.Error("not detached when the session is over")
		}
	})
}

// A stream's figures, and that they stay.
func TestRowStreamStats(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		settle(time.Second)
		c := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		if st := c.Stats(); st != (StreamStats{}) {
			t.Errorf("at first: %+v", st)
		}
		settle(3 * time.Second)
		covers(t, "STR-032")
		if d := c.Stats().Duration; d != 3*time.Second {
			t.Errorf("Duration is %v", d)
		}
		c.Write([]byte("abcdefghijklm"))
		s := mustAccept(t, &p.server.Session)
		settle(time.Second)
		covers(t, "STR-033")
		if n := s.Stats().FinalSize; n != 0 {
			t.Errorf("FinalSize before the end is %d", n)
		}
		covers(t, "STR-024")
		if n := s.Stats().BytesReceived; n != 13 {
			t.Errorf("BytesReceived is %d", n)
		}
		if n := c.Stats().BytesReceived; n != 0 {
			t.Errorf("BytesReceived of the writer is %d", n)
		}
		covers(t, "STR-025")
		if n := c.Stats().BytesSent; n != 13 {
			t.Errorf("BytesSent is %d", n)
		}
		covers(t, "STR-035")
		if n := c.Stats().MaxAcknowledgedOffset; n != 13 {
			t.Errorf("MaxAcknowledgedOffset is %d", n)
		}
		covers(t, "STR-037")
		if n := s.Stats().MaxReceivedOffset; n != 13 {
			t.Errorf("MaxReceivedOffset is %d", n)
		}
		c.End([]byte("nopqrstuvwxyz"))
		settle(time.Second)
		if st := s.Stats(); st.FinalSize != 26 || st.BytesRead != 0 {
			t.Errorf("before anything is read: %+v", st)
		}
		io.ReadAll(s)
		settle(time.Second)
		cs, ss := c.Stats(), s.Stats()
		settle(time.Minute)
		covers(t, "STR-032")
		if c.Stats().Duration != cs.Duration || cs.Duration < 4*time.Second || cs.Duration > 6*time.Second {
			t.Errorf("Duration is %v, and later %v", cs.Duration, c.Stats().Duration)
		}
		p.client.Destroy(nil)
		p.server.Destroy(nil)
		covers(t, "STR-024")
		covers(t, "STR-025")
		covers(t, "STR-033")
		if c.Stats() != cs || s.Stats() != ss {
			t.Error("the figures change after the end")
		}
		if cs.BytesSent != 26 || cs.MaxAcknowledgedOffset != 26 || cs.FinalSize != 0 || cs.BytesReceived != 0 {
			t.Errorf("writer: %+v", cs)
		}
		if ss.BytesReceived != 26 || ss.FinalSize != 26 || ss.MaxReceivedOffset != 26 || ss.BytesRead != 26 || ss.BytesSent != 0 {
			t.Errorf("reader: %+v", ss)
		}
	})
}

// Offsets and counts with a hole in the data, and what is sent twice counted once.
func TestRowStreamStatsHoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lose atomic.Bool
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: func(d *dgram.Datagram) bool { return lose.Load() }}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		settle(time.Second)
		lose.Store(true)
		c.Write(make([]byte, 1000))
		synctest.Wait()
		settle(1100 * time.Microsecond) // it has gone by the filter
		lose.Store(false)
		covers(t, "STR-025")
		if n := c.Stats().BytesSent; n != 1001 || c.Buffered() != 1000 {
			t.Errorf("BytesSent is %d with %d bytes on the way", n, c.Buffered())
		}
		covers(t, "STR-035")
		if n := c.Stats().MaxAcknowledgedOffset; n != 1 {
			t.Errorf("acknowledged up to %d, although what was sent is lost", n)
		}
		c.Write(make([]byte, 1000))
		synctest.Wait()
		settle(1100 * time.Microsecond)
		covers(t, "STR-037")
		covers(t, "STR-024")
		if st := s.Stats(); st.MaxReceivedOffset != 2001 || st.BytesReceived != 1001 {
			t.Errorf("the receiver of the second half: %+v", st)
		}
		settle(1000 * time.Microsecond)
		covers(t, "STR-035")
		if n, prefix := c.Stats().MaxAcknowledgedOffset, c.acknowledged(); n != 2001 || prefix != 1 {
			t.Errorf("acknowledged up to %d, without a hole up to %d", n, prefix)
		}
		settle(time.Second)
		covers(t, "STR-025")
		if n := c.Stats().BytesSent; n != 2001 || p.client.Stats().StreamBytesResent < 1000 {
			t.Errorf("BytesSent is %d, and %d were sent again", n, p.client.Stats().StreamBytesResent)
		}
		if st := s.Stats(); st.MaxReceivedOffset != 2001 || st.BytesReceived != 2001 {
			t.Errorf("the receiver of all: %+v", st)
		}
		if n := c.Stats().MaxAcknowledgedOffset; n != 2001 {
			t.Errorf("acknowledged in the end up to %d", n)
		}
		if st := c.Stats(); st.BytesReceived != 0 || st.MaxReceivedOffset != 0 || s.Stats().BytesSent != 0 {
			t.Errorf("the way back, where nothing went: %+v", st)
		}
		c.CloseWrite()
		s.CloseWrite()
		io.ReadAll(s)
		io.ReadAll(c)
		for _, over := range []func(){func() { settle(time.Second) }, func() { p.client.Destroy(nil); p.server.Destroy(nil) }} {
			over()
			covers(t, "STR-025")
			if n := c.Stats().BytesSent; n != 2001 || !c.Detached() {
				t.Errorf("BytesSent after the end is %d", n)
			}
			covers(t, "STR-024")
			covers(t, "STR-037")
			if st := s.Stats(); st.BytesReceived != 2001 || st.MaxReceivedOffset != 2001 || !s.Detached() {
				t.Errorf("the receiver after the end: %+v", st)
			}
		}
	})
}

// How far the peer may send is the window at first, and more as data is read.
func TestRowMaxExtendedOffset(t *testing.T) {
	inBubble(t, ListenOptions{MaxStreamDataBidiRemote: 30_000, MaxStreamDataUni: 20_000}, ConnectOptions{MaxStreamDataBidiLocal: 10_000},
		func(t *testing.T, p *pair) {
			c, s := p.streams(t)
			covers(t, "STR-036")
			if n := c.Stats().MaxExtendedOffset; n != 10_000 {
				t.Errorf("of a stream of ours: %d", n)
			}
			if n := s.Stats().MaxExtendedOffset; n != 30_000 {
				t.Errorf("of a stream of the peer's: %d", n)
			}
			uni := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
			if n := uni.Stats().MaxExtendedOffset; n != 0 {
				t.Errorf("of a stream that only writes: %d", n)
			}
			uni.Write([]byte("x"))
			if n := mustAccept(t, &p.server.Session).Stats().MaxExtendedOffset; n != 20_000 {
				t.Errorf("of a stream that only reads: %d", n)
			}
			go c.Write(make([]byte, 25_000))
			settle(time.Second)
			if n := s.Stats().MaxExtendedOffset; n != 30_000 {
				t.Errorf("before anything is read: %d", n)
			}
			io.ReadFull(s, make([]byte, 25_000))
			if n := s.Stats().MaxExtendedOffset; n < 55_000 {
				t.Errorf("after 25,001 bytes were read: %d", n)
			}
		})
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		if n := mustOpen(t, &p.client.Session, StreamOptions{}).Stats().MaxExtendedOffset; n != 256<<10 {
			t.Errorf("by default: %d", n)
		}
	})
}
