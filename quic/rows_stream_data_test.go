package quic

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A reader that pauses stops the sender, in the form that waits and in the form that does not.
func TestRowBackPressure(t *testing.T) {
	inBubble(t, ListenOptions{MaxStreamDataBidiRemote: 50_000}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "STR-004")
		c, s := p.streams(t)
		done := make(chan int, 1)
		go func() { n, _ := c.Write(make([]byte, 1<<20)); done <- n }()
		settle(6 * time.Second)
		if sent, extended := c.Stats().BytesSent, s.Stats().MaxExtendedOffset; sent > 51_000 || uint64(extended) != sent {
			t.Errorf("%d bytes were sent, up to %d may be", sent, extended)
		}
		if len(done) != 0 {
			t.Error("Write did not wait")
		}
		if n := c.Unsent(); n < 16_384 || n > 65_536 {
			t.Errorf("%d bytes wait in the stream", n)
		}
		io.CopyN(io.Discard, s, 1<<20)
		if n := <-done; n != 1<<20 {
			t.Errorf("Write took %d bytes when the reader went on", n)
		}

		c, s = p.streams(t)
		drained := make(chan bool, 10)
		c.SetHooks(StreamHooks{Drained: func() error { drained <- true; return nil }})
		total := 0
		for { // until the window is full, and the buffer up to its mark
			n, err := c.TryWrite(make([]byte, 600), make([]byte, 400))
			if err != nil {
				t.Fatal(err)
			}
			total += n
			if n < 1000 {
				break
			}
			if total > 1<<20 {
				t.Fatal("TryWrite never says that the stream is full")
			}
			settle(time.Millisecond)
		}
		settle(time.Second)
		if n := c.Unsent(); n < 16_384 || n > 16_384+600 || 1+total != int(c.Stats().BytesSent)+int(n) {
			t.Errorf("TryWrite took %d bytes, of which %d wait", total, n)
		}
		if n, err := c.TryWrite([]byte("x")); n != 0 || err != nil || len(drained) != 0 {
			t.Errorf("TryWrite into a full stream: %d, %v, drained %d times", n, err, len(drained))
		}
		io.ReadFull(s, make([]byte, total))
		settle(time.Second)
		if len(drained) != 1 {
			t.Errorf("drained %d times", len(drained))
		}
		if n, err := c.TryWrite(make([]byte, 1000)); n != 1000 || err != nil {
			t.Errorf("TryWrite afterwards: %d, %v", n, err)
		}
	})
}

// Writes complete once each, in their order, and with an error if they could not be taken.
func TestRowWriteOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{MaxStreamDataBidiRemote: 10_000})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		completed := make(chan int, 10)
		const each = 60_000
		for i := range 5 {
			go func() {
				if n, err := c.Write(bytes.Repeat([]byte{byte(i)}, each)); n != each || err != nil {
					t.Errorf("write %d: %d, %v", i, n, err)
				}
				completed <- i
			}()
			synctest.Wait()
		}
		covers(t, "STR-005")
		for at := 0; at < 5*each; at += 1000 { // so slowly that no two writes complete at a time
			b := make([]byte, 1000)
			if _, err := io.ReadFull(s, b); err != nil || bytes.Count(b, []byte{byte(at / each)}) != 1000 {
				t.Fatalf("at %d: other bytes, %v", at, err)
			}
			settle(10 * time.Millisecond)
		}
		for i := range 5 {
			if got := <-completed; got != i {
				t.Errorf("write %d completes in the place of %d", got, i)
			}
		}

		c, _ = p.streams(t)
		failed := make(chan error, 2)
		for range 2 {
			go func() {
				n, err := c.Write(make([]byte, 1<<20))
				if n == 1<<20 {
					t.Error("all was taken")
				}
				failed <- err
			}()
			synctest.Wait()
		}
		boom := errors.New("boom")
		c.Destroy(boom)
		for range 2 {
			if err := within(failed); !errors.Is(err, boom) {
				t.Errorf("a write that was waiting when the stream was destroyed: %v", err)
			}
		}

		// A write that fits is complete although nothing can be acknowledged.
		c, _ = p.streams(t)
		settle(time.Second)
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		if n, err := c.Write(make([]byte, 5000)); n != 5000 || err != nil || c.acknowledged() > 1 {
			t.Errorf("%d, %v, acknowledged %d", n, err, c.acknowledged())
		}
		if n := c.Buffered(); n != 5000 {
			t.Errorf("%d bytes are kept", n)
		}
	})
}

// Blocked tells of data that the limit of the stream or of the session holds back, and of
// nothing else.
func TestRowBlocked(t *testing.T) {
	blocked := func(n *int) StreamHooks { return StreamHooks{Blocked: func() error { *n++; return nil }} }
	inBubble(t, ListenOptions{MaxStreamDataBidiRemote: 10_000}, ConnectOptions{}, func(t *testing.T, p *pair) {
		covers(t, "STR-006")
		n := 0
		c := mustOpen(t, &p.client.Session, StreamOptions{Hooks: blocked(&n)})
		c.Write(make([]byte, 10_000)) // all that may be sent
		settle(time.Second)
		if n != 0 {
			t.Errorf("told %d times of a transfer that nothing stops", n)
		}
		c.TryWrite([]byte("x"))
		c.TryWrite([]byte("y")) // the same
		settle(time.Second)
		if n != 1 {
			t.Errorf("told %d times of one limit", n)
		}
		s := mustAccept(t, &p.server.Session)
		io.ReadFull(s, make([]byte, 10_002))
		settle(time.Second)
		if n != 1 {
			t.Errorf("told %d times when the limit had grown", n)
		}
		c.Write(make([]byte, s.Stats().MaxExtendedOffset-10_002+1))
		settle(time.Second)
		if n != 2 {
			t.Errorf("told %d times of the second limit", n)
		}

		late := 0 // what is so when the hooks are set is told
		c.SetHooks(blocked(&late))
		settle(time.Second)
		if late != 1 {
			t.Errorf("told %d times when the hook was set", late)
		}
	})
	inBubble(t, ListenOptions{MaxData: 10_000}, ConnectOptions{}, func(t *testing.T, p *pair) {
		var n [2]int
		a := mustOpen(t, &p.client.Session, StreamOptions{Hooks: blocked(&n[0])})
		b := mustOpen(t, &p.client.Session, StreamOptions{Hooks: blocked(&n[1])})
		a.Write(make([]byte, 10_000))
		settle(time.Second)
		if n != [2]int{} {
			t.Errorf("told %v times before the session's limit", n)
		}
		b.Write([]byte("x"))
		settle(time.Second)
		if n != [2]int{0, 1} {
			t.Errorf("told %v times at the session's limit", n)
		}
	})
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		n := 0
		for _, size := range []int{0, 1, 1000, 100_000} {
			c := mustOpen(t, &p.client.Session, StreamOptions{Hooks: blocked(&n)})
			go c.End(make([]byte, size))
			io.Copy(io.Discard, mustAccept(t, &p.server.Session))
		}
		settle(time.Second)
		if n != 0 {
			t.Errorf("told %d times of small transfers", n)
		}
	})
}

// eventReader reads a stream as a binding does that makes events of it: told by a notice, into
// memory of its own.
type eventReader struct {
	t        *testing.T
	buf      [700]byte
	got      []byte
	ends     []error
	notices  int
	spurious int // notices of nothing
}

func (r *eventReader) attach(st *Stream) {
	st.SetHooks(StreamHooks{Readable: func() error {
		r.notices++
		for first := true; ; first = false {
			there := st.Readable()
			n, err := st.TryRead(r.buf[:])
			if int64(n) != min(there, int64(len(r.buf))) {
				r.t.Errorf("read %d bytes where there were %d", n, there)
			}
			r.got = append(r.got, r.buf[:n]...)
			switch {
			case err != nil:
				r.ends = append(r.ends, err)
				return nil
			case n == 0 && first:
				r.spurious++
			}
			if n == 0 {
				return nil
			}
		}
	}})
}

// What has come before the hook is told too.
func readableLate(t *testing.T, p *pair) {
	t.Helper()
	c, s := p.streams(t)
	c.End([]byte("early"))
	settle(time.Second)
	late := &eventReader{t: t}
	late.attach(s)
	settle(time.Second)
	if string(late.got) != "early" || len(late.ends) != 1 || late.ends[0] != io.EOF {
		t.Errorf("a late hook reads %q and %v", late.got, late.ends)
	}

}

// What a binding makes 'readable', 'data' and 'end' from: a notice, and reads into its own
// memory that do not wait.
func TestRowReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		r := &eventReader{t: t}
		c, s := p.streams(t)
		r.attach(s)
		settle(time.Second)
		r.notices, r.spurious = 0, 0

		covers(t, "STR-011")
		c.Write([]byte("one"))
		settle(time.Second)
		if string(r.got) != "one" || r.notices != 1 {
			t.Errorf("%q after %d notices", r.got, r.notices)
		}
		covers(t, "STR-008")
		var want []byte
		for i := range 50_000 {
			want = append(want, byte(i), byte(i>>8))
		}
		r.got = nil
		c.Write(want)
		settle(time.Second)
		if !bytes.Equal(r.got, want) || len(r.ends) != 0 {
			t.Errorf("%d bytes came, and %v", len(r.got), r.ends)
		}
		if n, err := s.TryRead(r.buf[:]); n != 0 || err != nil {
			t.Errorf("a read when all is read: %d, %v", n, err)
		}
		if r.spurious > 1 {
			t.Errorf("%d notices of nothing", r.spurious)
		}
		covers(t, "STR-009")
		covers(t, "STR-011")
		r.notices = 0
		c.CloseWrite()
		settle(time.Second)
		if len(r.ends) != 1 || r.ends[0] != io.EOF || r.notices != 1 {
			t.Errorf("the end is told as %v, with %d notices", r.ends, r.notices)
		}
		if _, reset := s.ResetReceived(); reset {
			t.Error("an end reads as a reset")
		}

		covers(t, "STR-009")
		c, s = p.streams(t)
		r.got, r.ends = nil, nil
		r.attach(s)
		c.Write([]byte("truncated"))
		settle(time.Second)
		c.Reset(33)
		settle(time.Second)
		if n, reset := s.ResetReceived(); len(r.ends) != 1 || !errors.Is(r.ends[0], &StreamError{c.ID(), 33, true}) || !reset || n != 33 {
			t.Errorf("a reset is told as %v", r.ends)
		}

		readableLate(t, p)
		covers(t, "STR-011")

		// The opener of a unidirectional stream hears nothing and reads nothing.
		c = mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		r.notices = 0
		c.SetHooks(StreamHooks{Readable: func() error { r.notices++; return nil }})
		c.End([]byte("x"))
		io.ReadAll(mustAccept(t, &p.server.Session))
		settle(time.Second)
		covers(t, "STR-008")
		covers(t, "STR-009")
		if n, err := c.TryRead(r.buf[:]); n != 0 || !errors.Is(err, net.ErrClosed) || err == io.EOF || r.notices != 0 {
			t.Errorf("the writer read %d, %v, after %d notices", n, err, r.notices)
		}
	})
}

// The acknowledged offset is told as it grows, and what is kept shrinks with it.
func TestAcknowledgedNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		var offsets []int64
		c := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true, Hooks: StreamHooks{
			Acknowledged: func(offset int64) error { offsets = append(offsets, offset); return nil },
		}})
		for i := range int64(3) {
			c.Write(make([]byte, 1000))
			if n := c.Buffered(); n != 1000 {
				t.Errorf("%d bytes are kept of the piece just written", n)
			}
			settle(time.Second)
			if int64(len(offsets)) != i+1 || offsets[i] != 1000*(i+1) || c.Buffered() != 0 {
				t.Fatalf("after piece %d: told %v, %d bytes are kept", i, offsets, c.Buffered())
			}
		}
		c.CloseWrite()
		settle(time.Second)
		if len(offsets) != 4 || offsets[3] != 3000 {
			t.Errorf("with the end: told %v", offsets)
		}
	})
}

// takes returns how many bytes a stream that cannot send takes, in pieces of 100.
func takes(t *testing.T, st *Stream) (total int) {
	t.Helper()
	for {
		n, err := st.TryWrite(make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return total
		}
		total += n
	}
}

// What a stream takes before it refuses more is set for the session at either end, and for a
// stream.
func TestRowHighWaterMark(t *testing.T) {
	refused := func(err error, option string) {
		t.Helper()
		var o *OptionError
		if !errors.As(err, &o) || o.Code() != "ERR_OUT_OF_RANGE" || o.Option != option || o.Value != -2 || !strings.Contains(err.Error(), option) {
			t.Errorf("%s below None: %v", option, err)
		}
	}
	for _, test := range []struct{ option, want int }{{0, 16_400}, {5000, 5000}, {1, 100}, {None, 100}, {math.MaxInt, 65_536}} {
		inBubble(t, ListenOptions{MaxStreamDataBidiRemote: None}, ConnectOptions{HighWaterMark: test.option}, func(t *testing.T, p *pair) {
			covers(t, "CON-011")
			if n := takes(t, mustOpen(t, &p.client.Session, StreamOptions{})); n != test.want {
				t.Errorf("ConnectOptions.HighWaterMark %d: took %d bytes, want %d", test.option, n, test.want)
			}
		})
		inBubble(t, ListenOptions{HighWaterMark: test.option}, ConnectOptions{MaxStreamDataBidiRemote: None, MaxStreamDataBidiLocal: None}, func(t *testing.T, p *pair) {
			covers(t, "LIS-012")
			if n := takes(t, mustOpen(t, &p.server.Session, StreamOptions{})); n != test.want {
				t.Errorf("ListenOptions.HighWaterMark %d: took %d bytes, want %d", test.option, n, test.want)
			}
			mustOpen(t, &p.client.Session, StreamOptions{}).CloseWrite()
			if n := takes(t, mustAccept(t, &p.server.Session)); n != test.want {
				t.Errorf("ListenOptions.HighWaterMark %d: a stream of the client's took %d bytes, want %d", test.option, n, test.want)
			}
		})
		inBubble(t, ListenOptions{MaxStreamDataBidiRemote: None}, ConnectOptions{}, func(t *testing.T, p *pair) {
			covers(t, "SES-073")
			st, err := p.client.TryOpenStream(StreamOptions{HighWaterMark: test.option})
			if err != nil {
				t.Fatal(err)
			}
			if n := takes(t, st); n != test.want {
				t.Errorf("StreamOptions.HighWaterMark %d: took %d bytes, want %d", test.option, n, test.want)
			}
		})
	}
	inBubble(t, ListenOptions{MaxStreamDataBidiRemote: None}, ConnectOptions{HighWaterMark: 3000}, func(t *testing.T, p *pair) {
		covers(t, "SES-073")
		_, err := p.client.OpenStream(t.Context(), StreamOptions{HighWaterMark: -2})
		refused(err, "StreamOptions.HighWaterMark")
		_, err = p.client.TryOpenStream(StreamOptions{HighWaterMark: -2})
		refused(err, "StreamOptions.HighWaterMark")
		if st := mustOpen(t, &p.client.Session, StreamOptions{HighWaterMark: 700}); st.ID() != 0 || takes(t, st) != 700 {
			t.Errorf("stream %d, or a mark that is not its own", st.ID())
		}
		covers(t, "CON-011")
		_, err = p.client.Socket().Connect(t.Context(), ConnectOptions{Port: 1, ALPN: "test", HighWaterMark: -2})
		refused(err, "ConnectOptions.HighWaterMark")
		covers(t, "LIS-012")
		refused(p.client.Socket().Listen(t.Context(), ListenOptions{TLS: serverConfig(), HighWaterMark: -2}), "ListenOptions.HighWaterMark")
	})
}

// jsDefaults is what a JavaScript binding keeps in the Value of a session or a stream: the text
// encoding is its own affair, and the engine carries bytes.
type jsDefaults struct{ encoding string }

// writeText writes a string as the stream's encoding, or else its session's, has it.
func writeText(st *Stream, text string) (int, error) {
	b, ok := st.Value.(*jsDefaults)
	if !ok {
		b = st.Session().Value.(*jsDefaults)
	}
	switch b.encoding {
	case "utf16le":
		var out []byte
		for _, u := range utf16.Encode([]rune(text)) {
			out = append(out, byte(u), byte(u>>8))
		}
		return st.TryWrite(out)
	case "utf8":
		return st.TryWrite([]byte(text))
	}
	return 0, &OptionError{Option: "encoding", Value: b.encoding, Want: "utf8 or utf16le", code: CodeInvalidArgValue}
}

// A binding finds its default encoding in the Value of what it writes to, and its bytes arrive
// as they are.
func TestRowDefaultEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error {
			v.Value = &jsDefaults{"utf16le"}
			v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
				if _, err := writeText(st, "hé"); err != nil {
					return err
				}
				return st.CloseWrite()
			}})
			return nil
		}})
		defer m.close()
		c := m.connect(ConnectOptions{})
		c.Value = &jsDefaults{"utf8"}
		st := mustOpen(t, &c.Session, StreamOptions{})
		st.CloseWrite()
		covers(t, "LIS-008")
		if b, err := io.ReadAll(st); string(b) != "h\x00\xe9\x00" || err != nil {
			t.Errorf("the server's text came as %q, %v", b, err)
		}
	})
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		text := func(value any) string {
			t.Helper()
			st := mustOpen(t, &p.client.Session, StreamOptions{})
			st.Value = value
			if _, err := writeText(st, "hé"); err != nil {
				t.Fatal(err)
			}
			st.CloseWrite()
			b, err := io.ReadAll(mustAccept(t, &p.server.Session))
			if err != nil {
				t.Error(err)
			}
			return string(b)
		}
		covers(t, "CON-008")
		p.client.Value = &jsDefaults{"utf16le"}
		if got := text(nil); got != "h\x00\xe9\x00" {
			t.Errorf("with the session's encoding: %q", got)
		}
		p.client.Value = &jsDefaults{"utf8"}
		if got := text(nil); got != "h\xc3\xa9" {
			t.Errorf("with the session's other encoding: %q", got)
		}
		covers(t, "SES-074")
		if got := text(&jsDefaults{"utf16le"}); got != "h\x00\xe9\x00" {
			t.Errorf("with the stream's encoding: %q", got)
		}
		st := mustOpen(t, &p.client.Session, StreamOptions{})
		for _, unknown := range []string{"", "zebra"} {
			p.client.Value = &jsDefaults{unknown}
			if n, err := writeText(st, "hé"); n != 0 || code(err) != "ERR_INVALID_ARG_VALUE" || !strings.Contains(err.Error(), "encoding") {
				t.Errorf("with the session's encoding %q: %d, %v", unknown, n, err)
			}
		}
	})
}
