package quic

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// inBubble runs a test on a pair of sessions over the in-memory network.
func inBubble(t *testing.T, lo ListenOptions, co ConnectOptions, f func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 100 * time.Microsecond}, SocketOptions{}, lo)
		defer m.close()
		f(t, m.pair(co))
	})
}

func TestStreamIdentity(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		for _, s := range []*Session{&p.client.Session, &p.server.Session} {
			for _, half := range []bool{false, true} {
				st, err := s.OpenStream(t.Context(), StreamOptions{HalfOpen: half})
				if err != nil {
					t.Fatal(err)
				}
				client := s.Client() != nil
				want := int64(0)
				if !client {
					want |= 1
				}
				if half {
					want |= 2
				}
				if st.ID() != want || st.Unidirectional() != half || st.Bidirectional() == half ||
					st.ClientInitiated() != client || st.ServerInitiated() == client || !st.Local() ||
					!st.CanWrite() || st.CanRead() == half || st.Session() != s {
					t.Errorf("stream %d of client %v, half %v", st.ID(), client, half)
				}
				st.End(nil)
			}
		}
		for _, s := range []*Session{&p.client.Session, &p.server.Session} {
			for range 2 {
				st, err := s.AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if st.Local() || !st.CanRead() || st.CanWrite() != st.Bidirectional() || st.ClientInitiated() != (s.Client() == nil) {
					t.Errorf("accepted stream %d", st.ID())
				}
				if b, err := io.ReadAll(st); len(b) != 0 || err != nil {
					t.Errorf("an empty stream reads %q, %v", b, err)
				}
				if !st.CanWrite() {
					if _, err := st.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
						t.Errorf("Write on a stream that only reads: %v", err)
					}
				}
			}
		}
	})
}

// Each side ends by itself (RFC 9000 §4.5).
func TestHalfClose(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		c.Write([]byte("one"))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Errorf("CloseWrite again: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after CloseWrite: %v", err)
		}
		if b, err := io.ReadAll(s); string(b) != "one" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		s.End([]byte("two"))
		if b, err := io.ReadAll(c); string(b) != "two" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		<-c.Closed()
		<-s.Closed()
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read after the end: %v", err)
		}
		cs, ss := c.Stats(), s.Stats()
		if cs.BytesSent != 4 || cs.BytesReceived != 3 || cs.FinalSize != 3 || cs.MaxAcknowledgedOffset != 4 || cs.MaxReceivedOffset != 3 {
			t.Errorf("client %+v", cs)
		}
		if ss.BytesSent != 3 || ss.BytesReceived != 4 || ss.FinalSize != 4 || ss.BytesRead != 4 || ss.Duration == 0 {
			t.Errorf("server %+v", ss)
		}
	})
}

func TestResetAndStop(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		read := make(chan error)
		go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
		synctest.Wait()
		c.Reset(5)
		if err := <-read; !errors.Is(err, &StreamError{0, 5, true}) {
			t.Errorf("a read that waits: %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, &StreamError{0, 5, true}) {
			t.Errorf("another read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, &StreamError{0, 5, false}) {
			t.Errorf("Write after Reset: %v", err)
		}
		// The other direction is as it was.
		s.Write([]byte("still"))
		if n, err := io.ReadFull(c, make([]byte, 5)); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		write := make(chan error)
		go func() { _, err := s.Write(make([]byte, 10<<20)); write <- err }()
		synctest.Wait()
		c.Stop(6)
		if err := <-write; !errors.Is(err, &StreamError{0, 6, true}) {
			t.Errorf("a write that waits: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Stop: %v", err)
		}
		<-c.Closed()
		<-s.Closed()
		if err := s.Err(); !errors.Is(err, &StreamError{0, 6, true}) && !errors.Is(err, &StreamError{0, 5, true}) {
			t.Errorf("Err is %v", err)
		}
	})
}

// What was written before Close arrives; what comes is dropped.
func TestCloseDelivers(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		want := bytes.Repeat([]byte("0123456789"), 1000)
		go func() {
			c.Write(want)
			c.Close()
		}()
		if b, err := io.ReadAll(s); !bytes.Equal(b, want) || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		waits := 0
		for {
			if _, err := s.Write(make([]byte, 1000)); err != nil {
				if !errors.As(err, new(*StreamError)) {
					t.Errorf("Write to a closed stream: %v", err)
				}
				break
			}
			if waits++; waits > 10_000 {
				t.Fatal("writes go on")
			}
			time.Sleep(time.Millisecond)
		}
		<-c.Closed()
		if err := c.Close(); !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close again: %v", err)
		}
		if ctx := c.Context(); ctx.Err() == nil {
			t.Error("context of a stream that is over")
		}
	})
}

// Writes of several goroutines follow one another, each whole.
func TestConcurrentWrites(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		const writers, each = 8, 200_000
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				if n, err := c.Write(bytes.Repeat([]byte{byte(i)}, each)); n != each || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			})
		}
		go func() { wg.Wait(); c.CloseWrite() }()
		b, err := io.ReadAll(s)
		if len(b) != writers*each || err != nil {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		for ; len(b) > 0; b = b[each:] {
			if n := bytes.Count(b[:each], b[:1]); n != each {
				t.Fatalf("a write of %d is only %d bytes long", b[0], n)
			}
		}
	})
}

func TestCopy(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		want := bytes.Repeat([]byte("abcdefghij"), 100_000)
		go func() {
			if n, err := io.Copy(c, struct{ io.Reader }{bytes.NewReader(want)}); n != int64(len(want)) || err != nil {
				t.Errorf("ReadFrom: %d, %v", n, err)
			}
			c.CloseWrite()
		}()
		var got bytes.Buffer
		if n, err := s.WriteTo(&got); n != int64(len(want)) || err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("WriteTo: %d, %v", n, err)
		}
	})
}

// A receiver that does not read stops the sender, and goes on when it does.
func TestBackPressure(t *testing.T) {
	lo := ListenOptions{MaxStreamDataBidiRemote: 50_000}
	inBubble(t, lo, ConnectOptions{HighWaterMark: 1000}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		done := make(chan int)
		go func() { n, _ := c.Write(make([]byte, 1<<20)); done <- n }()
		time.Sleep(time.Second)
		if sent := c.Stats().BytesSent; sent != 50_000 {
			t.Errorf("%d bytes were sent, want 50,000", sent)
		}
		if n := p.client.Stats().BlockCount; n == 0 {
			t.Error("no blocking was counted")
		}
		if _, err := io.CopyN(io.Discard, s, 1<<20); err != nil {
			t.Error(err)
		}
		if n := <-done; n != 1<<20 {
			t.Errorf("wrote %d", n)
		}
	})
}

// The high water mark is what a stream takes without sending.
func TestHighWaterMark(t *testing.T) {
	lo := ListenOptions{MaxStreamDataBidiRemote: None}
	inBubble(t, lo, ConnectOptions{}, func(t *testing.T, p *pair) {
		for _, test := range []struct{ mark, first int }{{0, 16_384}, {5000, 5000}, {100_000, 65_536}} {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{HighWaterMark: test.mark})
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for range 100 {
				n, err := st.TryWrite(make([]byte, 1000))
				if err != nil {
					t.Fatal(err)
				}
				total += n
			}
			if total < test.first || total > test.first+1000 {
				t.Errorf("mark %d: took %d", test.mark, total)
			}
		}
	})
}

func TestContextsEnd(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, _ := p.streams(t)
		stream, session := c.Context(), p.client.Context()
		boom := errors.New("boom")
		p.client.Destroy(boom)
		<-stream.Done()
		<-session.Done()
		if p.client.Err() != boom || c.Err() != boom {
			t.Errorf("%v, %v", p.client.Err(), c.Err())
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, boom) {
			t.Errorf("Read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, boom) {
			t.Errorf("Write: %v", err)
		}
		<-p.server.Closed()
		if err := p.server.Err(); !errors.Is(err, &TransportError{ErrorCode: 0xc, Remote: true}) {
			t.Errorf("the peer sees %v", err)
		}
	})
}
