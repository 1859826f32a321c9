package quic

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// What was destroyed with the program's own error reports that error, and is
// closed all the same: loops over connections ask for net.ErrClosed.
func TestDestroyedIsClosed(t *testing.T) {
	mine := errors.New("mine")
	check := func(t *testing.T, what string, err error) {
		t.Helper()
		if !errors.Is(err, mine) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		first, _ := p.streams(t)
		second, _ := p.streams(t)
		first.Destroy(mine)
		_, err := first.Write([]byte("x"))
		check(t, "Write to a stream that was destroyed", err)
		p.client.Destroy(mine)
		if err := p.client.Err(); err != mine {
			t.Errorf("Err: %v", err)
		}
		_, err = second.Read(make([]byte, 1))
		check(t, "Read", err)
		_, err = second.Write([]byte("x"))
		check(t, "Write", err)
		_, err = p.client.OpenStream(t.Context(), StreamOptions{})
		check(t, "OpenStream", err)
		m.server.Destroy(mine)
		_, err = m.server.Accept(t.Context())
		check(t, "Accept", err)
	})
}

// A deadline that has passed does not hide that the session is over.
func TestEndBeatsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		st, _ := p.streams(t)
		_ = st.SetDeadline(time.Unix(1, 0))
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before the end: %v", err)
		}
		_ = p.server.CloseWithError(7, "enough")
		synctest.Wait()
		want := &ApplicationError{ErrorCode: 7, Reason: "enough", Remote: true}
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("Read: %v", err)
		}
		if _, err := st.Write([]byte("x")); !errors.Is(err, want) {
			t.Errorf("Write: %v", err)
		}
		_ = st.SetDeadline(time.Time{})
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("Read without a deadline: %v", err)
		}
	})
}

// A side that has ended, or that the peer has stopped, says that and not that a deadline has passed: with more time nothing
// could be written either.
func TestWriteDeadlineOfEndedSide(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	for name, end := range map[string]func(st, peer *Stream){
		"ended": func(st, _ *Stream) {
			if err := st.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		},
		"stopped": func(st, peer *Stream) {
			peer.Stop(7)
			if _, err := st.Write(make([]byte, 1<<20)); err == nil {
				t.Fatal("all is written to who has asked for no more")
			}
		},
	} {
		st, peer := p.streams(t)
		end(st, peer)
		if err := st.SetWriteDeadline(time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := st.TryWrite(nil); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
