package http3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// script makes a message of bytes, and says what must come of it.
type script struct {
	wire     []byte
	body     []byte
	trailers bool
	cuts     bool // its Content-Length is not true
}

// newScript reads one frame or choice from each byte.
func newScript(choices []byte) (s script) {
	var length []string
	if len(choices) > 0 && choices[0]&1 != 0 {
		length = []string{"content-length", strconv.Itoa(int(choices[0] >> 1))}
	}
	s.wire = get(length...)
	for _, c := range choices[min(1, len(choices)):] {
		switch n := int(c >> 2); c & 3 {
		case 0:
			s.wire = append(s.wire, frame(frameType(0x21+0x1f*n), bytes.Repeat([]byte{c}, 40*n))...)
		case 1, 2:
			p := bytes.Repeat([]byte{c}, n)
			s.wire, s.body = append(s.wire, frame(frameData, p)...), append(s.body, p...)
		case 3:
			p := bytes.Repeat([]byte{c}, 100*n)
			s.wire, s.body = append(s.wire, frame(frameData, p)...), append(s.body, p...)
		}
	}
	if s.trailers = len(choices)%3 == 2; s.trailers {
		s.wire = append(s.wire, fields("a", "1")...)
	}
	s.cuts = length != nil && length[1] != strconv.Itoa(len(s.body))
	return s
}

// A message is read the same in whatever pieces it comes, whoever reads, and as it was meant.
func FuzzMessage(f *testing.F) {
	a := rawClient(f, Options{}, quic.ConnectOptions{})
	a.ctx = context.Background() // a test's is over in a minute
	ctrl()(a)
	f.Add([]byte{}, byte(0), byte(0))
	f.Add([]byte{0, 9, 4, 17}, byte(1), byte(1))
	f.Add([]byte{7, 9, 6, 255, 255}, byte(60), byte(100))
	f.Add([]byte{11, 13, 8}, byte(3), byte(3))
	f.Fuzz(func(t *testing.T, choices []byte, piece, room byte) {
		s := newScript(choices[:min(len(choices), 50)])
		a.victim.useful.refill()
		st, err := a.q.OpenStream(a.ctx, quic.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Destroy(nil)
		go func() {
			for b := s.wire; len(b) > 0; {
				n := min(len(b), 1+int(piece)*3)
				_, _ = st.Write(b[:n])
				b = b[n:]
			}
			_ = st.CloseWrite()
		}()
		sv, err := a.victim.AcceptStream(a.ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer sv.Destroy(nil)
		read := sv.Read
		if room%2 == 1 {
			read = sv.hookedRead()
		}
		var body []byte
		for b := make([]byte, 1+int(room)*7); err == nil; {
			var n int
			n, err = read(b)
			body = append(body, b[:n]...)
		}
		switch {
		case s.cuts && !errors.Is(err, &Error{ErrorCode: MessageError}):
			t.Errorf("%d bytes come with %v", len(body), err)
		case !s.cuts && (err != io.EOF || !bytes.Equal(body, s.body) || (sv.Trailers() != nil) != s.trailers):
			t.Errorf("%d bytes of %d, trailers %v, %v", len(body), len(s.body), sv.Trailers(), err)
		}
	})
}

// hookedRead returns a read that waits for the Readable hook.
func (st *Stream) hookedRead() func(p []byte) (int, error) {
	readable := make(chan bool, 1)
	st.SetHooks(StreamHooks{Readable: func() error {
		select {
		case readable <- true:
		default:
		}
		return nil
	}})
	return func(p []byte) (int, error) {
		for {
			if n, err := st.TryRead(p); n > 0 || err != nil {
				return n, err
			}
			<-readable
		}
	}
}
