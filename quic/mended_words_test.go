package quic

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// wantLate checks the error of a call that comes too late for its half of a stream.
func wantLate(t *testing.T, err error, text string) {
	t.Helper()
	var late *StateError
	if !errors.As(err, &late) || !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) || late.Code() != CodeInvalidState || err.Error() != text {
		t.Errorf("%v (%T), want a StateError %q", err, err, text)
	}
}

// Calls on a half of a stream that is closed, or that there is not, fail with a
// StateError that tells which it is.
func TestHalvesThatAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		st, _ := p.streams(t)
		read := make(chan error)
		go func() {
			_, err := st.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		st.CloseRead()
		const readClosed, writeClosed = "quic: Stream.Read: read side is closed", "quic: Stream.Write: write side is closed"
		wantLate(t, <-read, readClosed)
		_, err := st.Read(make([]byte, 1))
		wantLate(t, err, readClosed)
		if err := st.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Errorf("CloseWrite again: %v", err)
		}
		_, err = st.Write([]byte("x"))
		wantLate(t, err, writeClosed)
		_, err = st.TryWrite([]byte("x"))
		wantLate(t, err, writeClosed)

		half, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
		if err != nil {
			t.Fatal(err)
		}
		half.Write([]byte("x"))
		_, err = half.Read(make([]byte, 1))
		wantLate(t, err, "quic: Stream.Read: the stream is only written here")
		far, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = far.Write([]byte("x"))
		wantLate(t, err, "quic: Stream.Write: the stream is only read here")
		wantLate(t, far.CloseWrite(), "quic: Stream.CloseWrite: the stream is only read here")
		wantLate(t, far.SendFile("nowhere", SendOptions{}), "quic: Stream.SendFile: the stream is only read here")

		far.SetDeadline(time.Now())
		var coded interface{ Code() string }
		if _, err = far.Read(make([]byte, 1)); !errors.As(err, &coded) || coded.Code() != "ETIMEDOUT" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
	})
}

// A handshake that takes too long names the peer, the time and whether there was an answer.
func TestHandshakeTimeoutText(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     ConnectOptions
		deaf  bool // the server hears nothing at all
		after time.Duration
		text  string
	}{
		{"silence", ConnectOptions{}, true, 10 * time.Second, "quic: no answer from 10.0.0.1:4433 within 10s"},
		{"silence, a time of our own", ConnectOptions{HandshakeTimeout: 3 * time.Second}, true, 3 * time.Second, "quic: no answer from 10.0.0.1:4433 within 3s"},
		{"idle first", ConnectOptions{IdleTimeout: 5 * time.Second}, true, 5 * time.Second, "quic: no answer from 10.0.0.1:4433 within 5s"},
		{"half an answer", ConnectOptions{IdleTimeout: None}, false, 10 * time.Second, "quic: handshake with 10.0.0.1:4433 not complete after 10s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				heard := 0
				lose := func(d *dgram.Datagram) bool {
					if d.Path.Local != memServer {
						return false
					}
					heard++
					return test.deaf || heard > 1
				}
				m := newMemNet(t, udp.NetworkOptions{Filter: lose}, SocketOptions{}, ListenOptions{})
				defer m.close()
				c := m.connect(test.o)
				err := c.Handshake(t.Context())
				var late *HandshakeTimeoutError
				if !errors.As(err, &late) || late.Remote != memServer || late.After != test.after || late.Heard == test.deaf || err.Error() != test.text {
					t.Errorf("%v: %+v", err, late)
				}
			})
		})
	}
	var zero HandshakeTimeoutError
	if s := zero.Error(); s != "quic: session closed: handshake timeout" || !zero.Timeout() {
		t.Error(s)
	}
}

// A Dial whose context ends first names the address, and is the context's error.
func TestDialNamesAddress(t *testing.T) {
	hole, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	address := hole.LocalAddr().String()
	ctx, cancel := context.WithCancelCause(testContext(t))
	cancel(nil)
	ctx2, cancel2 := context.WithTimeout(testContext(t), time.Millisecond)
	defer cancel2()
	for want, ctx := range map[error]context.Context{context.Canceled: ctx, context.DeadlineExceeded: ctx2} {
		_, err := Dial(ctx, address, ConnectOptions{TLS: clientConfig()})
		var coded interface{ Code() string }
		if !errors.Is(err, want) || !errors.As(err, &coded) || !strings.HasPrefix(err.Error(), "quic: Dial: ") || !strings.Contains(err.Error(), address+": context ") {
			t.Errorf("%v, want %v with %s", err, want, address)
		}
	}
}
