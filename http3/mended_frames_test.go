package http3

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A promise does not fall into a DATA frame that a deadline has cut short: it would be read as its payload.
func TestPushWithinFrame(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, quic.ListenOptions{}, quic.ConnectOptions{MaxStreamDataBidiLocal: 4096}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	much := pattern(1 << 20)
	go func() {
		eventually(t, func() bool { return sv.q.Buffered() > 8192 }) // it has begun
		_ = sv.SetWriteDeadline(time.Unix(1, 0))
	}()
	n, err := sv.Write(much)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Fatal(n, err)
	}
	must(t, sv.SetWriteDeadline(time.Time{}))
	state := (*quic.StateError)(nil)
	if _, err := sv.PushStream(getP, PushOptions{}); !errors.As(err, &state) {
		t.Errorf("a push within a frame: %v", err)
	}
	if err := sv.sendMessage(&message{length: -1, size: 1, p: much[:1]}); !errors.As(err, &state) {
		t.Errorf("a frame within a frame: %v", err)
	}
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		_, _ = sv.Write(much[n:])
		if _, err := sv.PushStream(getP, PushOptions{}); err != nil {
			t.Errorf("a push behind the frame: %v", err)
		}
		_ = sv.CloseWrite()
	}()
	if b, err := io.ReadAll(st); string(b) != string(much) || err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
