package http3

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/quic"
)

func after(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(start); d < want || d > want+time.Second {
		t.Errorf("after %v, want %v", d, want)
	}
}

// A request whose headers do not come is given up.
func TestServerReadHeaderTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			_, _ = w.Write(body)
			if err != nil {
				t.Error(err)
			}
		})
		s.ReadHeaderTimeout = 3 * time.Second
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		q, err := c.QUIC().OpenStream(t.Context(), quic.StreamOptions{})
		must(t, err)
		write(t, q, "\x01\x40") // the beginning of a HEADERS frame
		start := time.Now()
		_, err = q.Read(make([]byte, 1))
		after(t, start, 3*time.Second)
		var cut *quic.StreamError
		if !errors.As(err, &cut) || ErrorCode(cut.ErrorCode) != RequestRejected {
			t.Errorf("Read: %v", err)
		}
		// The limit is for the headers only.
		st := c.open(requestBlock("POST", "/"), StreamHooks{})
		time.Sleep(10 * time.Second)
		write(t, st, "hello")
		must(t, st.CloseWrite())
		if _, body := response(t, st); body != "hello" {
			t.Errorf("%q", body)
		}
	})
}

// ReadTimeout is for the whole request: bytes that drip do not put it off, in a body or in a header block.
func serverReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			b, err := io.ReadAll(r.Body)
			if !errors.Is(err, os.ErrDeadlineExceeded) || len(b) < 3 {
				t.Errorf("Read: %d bytes, %v", len(b), err)
			}
			after(t, start, 3*time.Second)
			w.WriteHeader(http.StatusRequestTimeout)
		})
		s.ReadTimeout = 3 * time.Second
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		st := c.open(requestBlock("POST", "/"), StreamHooks{})
		if err := drip(st, make([]byte, 60)); !isCut(err, NoError) {
			t.Errorf("the body ends with %v, want %v of the peer's", err, NoError)
		}
		h, _ := response(t, st)
		wantStatus(t, h, "408")

		q, err := c.QUIC().OpenStream(t.Context(), quic.StreamOptions{})
		must(t, err)
		start := time.Now()
		_ = drip(q, get("a", strings.Repeat("x", 60)))
		_, err = q.Read(make([]byte, 1))
		if cut := (*quic.StreamError)(nil); !errors.As(err, &cut) || ErrorCode(cut.ErrorCode) != RequestRejected {
			t.Errorf("Read: %v", err)
		}
		after(t, start, 3*time.Second)
		c.sing()
	})
}

// drip writes a byte every second, for as long as that succeeds.
func drip(w io.Writer, p []byte) error {
	for _, b := range p {
		if _, err := w.Write([]byte{b}); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	return nil
}

// A client that takes a response piece by piece, or grants a byte at a time, does not put WriteTimeout off.
func serverWriteDrip(t *testing.T) {
	for name, pace := range map[string]struct {
		window int64
		piece  int
	}{"a window of a byte": {1, 1}, "a byte at a time": {0, 1}, "a quarter of a window at a time": {0, 64 << 10}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := handler(func(w http.ResponseWriter, r *http.Request) {
					start := time.Now()
					err := error(nil)
					for err == nil && time.Since(start) < time.Minute {
						_, err = w.Write(make([]byte, 8<<10)) // more than is kept till the end
					}
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Write: %v", err)
					}
					after(t, start, 3*time.Second)
				})
				s.WriteTimeout = 3 * time.Second
				c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second, MaxStreamDataBidiLocal: pace.window})
				q, err := c.QUIC().OpenStream(t.Context(), quic.StreamOptions{})
				must(t, err)
				_, err = q.End(get())
				must(t, err)
				pieces := 0
				for ; pieces < 60; pieces++ {
					if _, err = q.Read(make([]byte, pace.piece)); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				cut := (*quic.StreamError)(nil)
				if !errors.As(err, &cut) || ErrorCode(cut.ErrorCode) != InternalError || pieces < 3 || pieces > 4 {
					t.Errorf("after %d pieces: %v", pieces, err)
				}
				c.sing()
			})
		})
	}
}

// WriteTimeout ends a response in the middle, whether the handler waits for the client, or
// for something else; it can be moved.
func serverWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			switch r.URL.Path {
			case "/write":
				_, err := w.Write(make([]byte, 10<<20))
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Write: %v", err)
				}
			case "/wait":
				<-r.Context().Done()
			case "/moved":
				_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
				time.Sleep(5 * time.Second)
				_, _ = io.WriteString(w, "hello")
				return
			}
			after(t, start, 3*time.Second)
			if n, err := io.WriteString(w, "x"); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %d, %v", n, err)
			}
		})
		s.WriteTimeout = 3 * time.Second
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		for _, path := range []string{"/write", "/wait"} {
			start := time.Now()
			st := c.open(requestBlock("GET", path), StreamHooks{})
			time.Sleep(5 * time.Second)
			_, err := st.Headers()
			if err == nil {
				_, err = io.Copy(io.Discard, st)
			}
			if !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
				t.Errorf("%s: %v", path, err)
			}
			after(t, start, 5*time.Second)
		}
		c.sing()
		if _, body := c.ask(requestBlock("GET", "/moved")); body != "hello" {
			t.Errorf("%q", body)
		}
	})
}

// A session without requests ends after IdleTimeout, although its client keeps it alive.
func TestServerIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Minute) })
		s.IdleTimeout = 10 * time.Second
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		time.Sleep(5 * time.Second)
		start := time.Now()
		h, _ := c.ask(requestBlock("GET", "/"))
		wantStatus(t, h, "200")
		after(t, start, time.Minute)
		start = time.Now()
		<-c.QUIC().Closed()
		after(t, start, 10*time.Second)
		if err := c.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
			t.Errorf("the session ends with %v", err)
		}
	})
}

// A client that leaves a stream half open, or does not take its response, has no more than a while beyond IdleTimeout.
func TestServerIdleTimeoutHeld(t *testing.T) {
	const idle = 10 * time.Second
	patience := time.Duration(limits.Bound(t, "http3-close-patience"))
	for _, how := range []string{"half a type", "no credit"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := handler(func(w http.ResponseWriter, r *http.Request) { write(t, w, strings.Repeat("x", 10_000)) })
				s.IdleTimeout = idle
				c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second, MaxStreamDataBidiLocal: 5_000})
				start := time.Now()
				if st := c.request(requestBlock("GET", "/"), StreamHooks{}); how == "half a type" {
					halfType(t, c.Session)
					_, _ = response(t, st)
				}
				synctest.Wait()
				var victim *Session
				s.mu.Lock()
				for h := range s.sessions {
					if h.q.RemoteAddress() == memClient {
						victim = h
					}
				}
				s.mu.Unlock()
				select {
				case <-c.QUIC().Closed():
				case <-time.After(time.Hour):
					t.Fatal("the session is there after an hour")
				}
				after(t, start, idle+patience)
				synctest.Wait()
				if err := c.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
					t.Errorf("the session ends with %v", err)
				}
				if n := victim.Stats().LimitErrors; n != 1 {
					t.Errorf("%d errors are counted", n)
				}
			})
		})
	}
}

// A handler that takes its time does not lose its session, also when both ends are silent.
func TestServerKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) { time.Sleep(5 * time.Minute) })
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{})
		h, _ := c.ask(requestBlock("GET", "/"))
		wantStatus(t, h, "200")
		start := time.Now()
		<-c.QUIC().Closed()
		after(t, start, 10*time.Second) // the client's own idle timeout
	})
}

// Nor does it where the server has an idle timeout, which is that of QUIC then, too: the session has been watched for that
// only before the request.
func TestServerKeepsAliveWithIdleTimeout(t *testing.T) {
	for _, idle := range []time.Duration{500 * time.Millisecond, 3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := handler(func(w http.ResponseWriter, r *http.Request) { time.Sleep(5 * time.Minute) })
			s.IdleTimeout = idle
			c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{})
			if _, err := c.request(requestBlock("GET", "/"), StreamHooks{}).Headers(); err != nil {
				t.Errorf("idle timeout %v: %v", idle, err)
			}
		})
	}
}
