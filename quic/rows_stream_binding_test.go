package quic

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A program that lives on one thread, as a JavaScript binding does, uses all of the
// package without a call that waits: Dispatch brings every hook and handler to that thread, in
// order, and the objects carry what belongs to them there.
func TestOneThread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := make(chan func(), 1000)
		dispatch := func(f func()) { work <- f }
		on, inside := 0, false // the thread's own: the race detector sees whoever else touches them
		enter := func() func() {
			if inside {
				t.Error("two hooks at a time")
			}
			inside = true
			on++
			return func() { inside = false }
		}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Dispatch: dispatch}, ListenOptions{Handler: func(v *ServerSession) error {
			defer enter()()
			v.Value = "of this session"
			v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
				if st.Session().Value != "of this session" || v.Socket().Value != "of the socket" {
					t.Error("a Value is not there")
				}
				echoOnNotices(st, enter)
				return nil
			}})
			return nil
		}})
		defer m.close()
		m.server.Value = "of the socket"
		want := make([]byte, 400_000)
		for i := range want {
			want[i] = byte(i >> 9)
		}
		got := make(chan []byte, 1)
		c := m.connect(ConnectOptions{})
		go func() {
			st, err := c.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Error(err)
			}
			go st.End(want)
			b, err := io.ReadAll(st)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		for back := false; !back; {
			select {
			case f := <-work:
				f()
			case b := <-got:
				if back = true; string(b) != string(want) {
					t.Errorf("%d bytes came back", len(b))
				}
			}
		}
		if on < 3 {
			t.Errorf("the thread was used %d times", on)
		}
		m.close()
		for synctest.Wait(); len(work) > 0; synctest.Wait() {
			(<-work)()
		}
	})
}

// echoOnNotices sends back what comes, without a call that waits. What is on its way is in the
// stream's Value.
func echoOnNotices(st *Stream, enter func() func()) {
	type state struct{ out []byte }
	st.Value = &state{}
	buf := make([]byte, 1000)
	pump := func() error {
		defer enter()()
		for {
			n, err := st.TryRead(buf)
			v := st.Value.(*state)
			v.out = append(v.out, buf[:n]...)
			m, werr := st.TryWrite(v.out[:len(v.out)/2], v.out[len(v.out)/2:])
			v.out = v.out[m:]
			switch {
			case err == io.EOF && len(v.out) == 0:
				return st.CloseWrite()
			case err == io.EOF || n == 0:
				return werr
			case err != nil:
				return err
			}
		}
	}
	st.SetHooks(StreamHooks{Readable: pump, Drained: pump})
}
