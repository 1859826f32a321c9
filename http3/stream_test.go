package http3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// narrow lets little be on its way: what is not read holds the other end up.
var narrow = quic.ListenOptions{MaxStreamDataBidiRemote: 8192}

var roomy = Options{MaxHeaderListSize: 1 << 20, MaxHeaderLength: 1 << 20}

// pattern makes bytes that are not the same anywhere.
func pattern(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%07d ", i)
	}
	return b[:n]
}

// A write that a deadline has cut short goes on where it was: frames stay whole.
func writeDeadline(t *testing.T) {
	for _, size := range []int{1000, 3000, 200_000} { // with its head in one piece, or not
		p := newPairOn(t, Options{}, Options{}, narrow, quic.ConnectOptions{}).settled(t)
		st, sv := p.request(t, post)
		var sent []byte
		for err := error(nil); err == nil; {
			var n int
			b := pattern(size)
			must(t, st.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
			n, err = st.Write(b)
			if sent = append(sent, b[:n]...); err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || n == size) {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		must(t, st.SetWriteDeadline(time.Time{}))
		go func() {
			_, _ = st.Write([]byte("more"))
			_, _ = st.Write(pattern(size)) // fills what was announced, and begins another frame
			_ = st.SubmitTrailingHeaders(block("a", "1"))
		}()
		got, err := io.ReadAll(sv)
		want := string(sent) + "more" + string(pattern(size))
		if string(got) != want || err != nil || sv.Trailers().text() != "[a 1]" {
			t.Errorf("pieces of %d: %d bytes of %d came, %v", size, len(got), len(want), err)
		}
		must(t, sv.Close())
		p.exchange(t)
	}
}

// A message whose frame was cut short and not filled must not look whole.
func TestWriteCutAndEnded(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, narrow, quic.ConnectOptions{}).settled(t)
	much := pattern(1 << 20)
	for name, end := range map[string]func(*Stream) error{
		"CloseWrite": (*Stream).CloseWrite,
		"trailers":   func(st *Stream) error { return st.SubmitTrailingHeaders(block("a", "1")) },
		"Close":      (*Stream).Close,
	} {
		st, sv := p.request(t, post)
		go func() {
			eventually(t, func() bool { return st.q.Buffered() > 8192 }) // it has begun
			_ = st.SetWriteDeadline(time.Now())
		}()
		if _, err := st.Write(much); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if err := end(st); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.ReadAll(sv); !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
			t.Errorf("%s: the peer reads %v", name, err)
		}
	}
}

// Header blocks that a deadline cuts short are as good as sent.
func TestHeaderDeadline(t *testing.T) {
	p := newPairOn(t, roomy, roomy, narrow, quic.ConnectOptions{}).settled(t)
	for _, o := range []HeaderOptions{{}, {Terminal: true}} {
		long := append(post[:4:4], block("long", string(pattern(200_000)))...)
		st := p.open(t)
		must(t, st.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
		if err := st.SubmitInitialHeaders(long, o); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("SubmitInitialHeaders: %v", err)
		}
		must(t, st.SetWriteDeadline(time.Time{}))
		go func() {
			if !o.Terminal {
				_, _ = st.Write([]byte("body"))
			}
			_ = st.CloseWrite()
		}()
		sv, err := p.server.AcceptStream(testContext(t))
		must(t, err)
		h, err := sv.Headers()
		b, rerr := io.ReadAll(sv)
		if h.text() != long.text() || err != nil || rerr != nil || (string(b) == "body") == o.Terminal {
			t.Errorf("%+v: %d bytes of header, %q, %v, %v", o, len(h.text()), b, err, rerr)
		}
	}
}

// On a stream with hooks no header block and no end waits; it goes when there is room.
func TestHooksNeverWait(t *testing.T) {
	p := newPairOn(t, roomy, roomy, narrow, quic.ConnectOptions{}).settled(t)
	long := append(post[:4:4], block("long", string(pattern(200_000)))...)
	st, drained := p.open(t), make(chan bool, 100)
	st.SetHooks(StreamHooks{Drained: func() error { drained <- true; return nil }})
	must(t, st.SubmitInitialHeaders(long, HeaderOptions{}))
	if n, err := st.TryWrite([]byte("x")); n != 0 || err != nil {
		t.Errorf("TryWrite behind a block that waits: %d, %v", n, err)
	}
	sv, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	if h, err := sv.Headers(); h.text() != long.text() || err != nil {
		t.Errorf("%d bytes of header, %v", len(h.text()), err)
	}
	<-drained
	var sent []byte
	for piece := pattern(20_000); ; {
		n, err := st.TryWrite(piece)
		must(t, err)
		if sent = append(sent, piece[:n]...); n < tryPiece {
			break
		}
	}
	must(t, st.SubmitTrailingHeaders(block("long", string(pattern(200_000)))))
	if got, err := io.ReadAll(sv); !bytes.Equal(got, sent) || err != nil || len(sv.Trailers().text()) < 200_000 {
		t.Errorf("%d bytes of %d, %v, %d bytes of trailers", len(got), len(sent), err, len(sv.Trailers().text()))
	}
}

// TryWrite and then calls that wait, without hooks.
func TestTryWriteThenWait(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, narrow, quic.ConnectOptions{}).settled(t)
	st, sv := p.request(t, post)
	var sent []byte
	for piece := pattern(tryPiece); ; {
		n, err := st.TryWrite(piece)
		must(t, err)
		if sent = append(sent, piece[:n]...); n == 0 {
			break
		}
	}
	go func() { _ = st.CloseWrite() }()
	if got, err := io.ReadAll(sv); !bytes.Equal(got, sent) || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
}

// Close waits neither for a read nor for a write.
func TestCloseWaitsForNobody(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, narrow, quic.ConnectOptions{}).settled(t)
	st, sv := p.request(t, post)
	reads, writes := make(chan error), make(chan error)
	go func() { _, err := st.Read(make([]byte, 1)); reads <- err }()
	go func() { _, err := st.Write(pattern(1 << 20)); writes <- err }()
	eventually(t, func() bool { return held(&st.in.mu) && held(&st.out.mu) && st.q.Buffered() > 8192 })
	must(t, st.Close())
	if err := <-reads; err == nil {
		t.Error("the read goes on")
	}
	if err := <-writes; err == nil {
		t.Error("the write goes on")
	}
	if _, err := io.ReadAll(sv); !errors.Is(err, &Error{ErrorCode: RequestCancelled, Remote: true}) {
		t.Errorf("the peer reads %v", err)
	}
	// What was written whole still arrives, and what was read whole is not stopped.
	st, sv = p.request(t, post)
	write(t, st, "hello")
	must(t, st.Close())
	if b, err := io.ReadAll(sv); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{Terminal: true}); err != nil && !errors.Is(err, &Error{ErrorCode: NoError, Remote: true}) {
		t.Errorf("the peer is stopped with %v", err)
	}
	st = p.open(t)
	must(t, st.Close())
	if err := st.SubmitInitialHeaders(post, HeaderOptions{}); codeOf(err) != "ERR_INVALID_STATE" {
		t.Errorf("headers behind Close: %v", err)
	}
}

// held reports whether somebody has the turn.
func held(m *turn) bool {
	if m.mu.TryLock() {
		m.mu.Unlock()
		return false
	}
	return true
}

// What a stream is destroyed with is what its calls and hooks report, and the peer is told a code.
func TestDestroy(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	boom := errors.New("boom")
	for _, test := range []struct {
		err  error
		code ErrorCode
	}{
		{nil, RequestCancelled},
		{boom, InternalError},
		{&Error{ErrorCode: ConnectError}, ConnectError},
	} {
		st, sv := p.request(t, post)
		told := make(chan error, 1)
		st.SetHooks(StreamHooks{Error: func(err error) { told <- err }, Close: func() { close(told) }})
		st.Destroy(test.err)
		if _, err := sv.Read(make([]byte, 1)); !errors.Is(err, &Error{ErrorCode: test.code, Remote: true}) {
			t.Errorf("Destroy(%v): the peer reads %v", test.err, err)
		}
		sv.Destroy(nil)
		hook := <-told
		_, rerr := st.Read(make([]byte, 1))
		_, werr := st.Write([]byte("x"))
		if test.err == nil {
			if hook != nil || rerr == nil || werr == nil {
				t.Errorf("Destroy(nil): hook %v, Read %v, Write %v", hook, rerr, werr)
			}
			continue
		}
		for what, err := range map[string]error{"the hook": hook, "Read": rerr, "Write": werr, "Err": st.Err()} {
			if !errors.Is(err, test.err) {
				t.Errorf("Destroy(%v): %s says %v", test.err, what, err)
			}
		}
		if !errors.Is(rerr, net.ErrClosed) && test.err == boom {
			t.Errorf("Read's %v is not net.ErrClosed", rerr)
		}
	}
}

// A body is as long as its Content-Length says.
func TestContentLength(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	five := append(post[:4:4], block("content-length", "5")...)
	st, sv := p.request(t, five)
	if _, err := st.Write([]byte("123456")); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Write of too much: %v", err)
	}
	if _, err := st.TryWrite([]byte("123456")); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("TryWrite of too much: %v", err)
	}
	write(t, st, "12345")
	must(t, st.CloseWrite())
	if b, err := io.ReadAll(sv); string(b) != "12345" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	st, sv = p.request(t, five)
	write(t, st, "1234")
	if err := st.CloseWrite(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("CloseWrite of too little: %v", err)
	}
	if _, err := io.ReadAll(sv); !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
		t.Errorf("the peer reads %v", err)
	}
	head := append(block(":method", "HEAD"), post[:3]...)
	st, sv = p.request(t, head)
	must(t, sv.SubmitInitialHeaders(block(":status", "200", "content-length", "5"), HeaderOptions{}))
	if _, err := sv.Write([]byte("12345")); err != http.ErrBodyNotAllowed {
		t.Errorf("a body for HEAD: %v", err)
	}
	must(t, sv.CloseWrite())
	if b, err := io.ReadAll(st); len(b) != 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A read of nothing does not wait; a read deadline counts for header blocks too.
func readDeadline(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	st, sv := p.request(t, post)
	if n, err := st.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil): %d, %v", n, err)
	}
	must(t, st.SetReadDeadline(time.Now().Add(-time.Second)))
	if _, err := st.Headers(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Headers: %v", err)
	}
	must(t, st.SetDeadline(time.Time{}))
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	write(t, sv, "x")
	if h, err := st.Headers(); h.Get(":status") != "200" || err != nil {
		t.Errorf("Headers: %v, %v", h, err)
	}
	if n, err := st.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}
	must(t, st.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if _, err := st.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	p.exchange(t)
}

// A frame takes memory as it comes, and not as it says.
func TestNoMemoryForPromises(t *testing.T) {
	p := newPair(t, roomy, Options{}).settled(t)
	raw, err := p.client.q.OpenStream(testContext(t), quic.StreamOptions{})
	must(t, err)
	b := appendFrameHead(nil, frameHeaders, roomy.MaxHeaderLength)
	_, err = raw.Write(append(b, 0, 0))
	must(t, err)
	sv, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	for {
		if n, err := sv.TryRead(make([]byte, 1)); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if len(sv.in.section) > 0 {
			break
		}
	}
	if n := cap(sv.in.section); n > 4096 {
		t.Errorf("%d bytes are kept for 2", n)
	}
}

// Cookies and others that come in crumbs are joined in order.
func TestJoined(t *testing.T) {
	h := block("priority", "u=1", "a", "x", "priority", "i")
	if v := h.joined("priority", 6); v != "u=1, i" || h.joined("priority", 5) != "" || h.joined("b", 6) != "" {
		t.Errorf("joined as %q", v)
	}
	if n := h.size(); n != uint64(len(strings.Join([]string{"priority", "u=1", "a", "x", "priority", "i"}, ""))+3*32) {
		t.Errorf("%d bytes", n)
	}
}
