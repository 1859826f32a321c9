package site

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeWriter is a response whose client takes what it is given when the test says so, within deadlines.
type pipeWriter struct {
	*httptest.ResponseRecorder
	takes    chan struct{} // a piece is taken
	write    time.Time
	deadline int
}

func (w *pipeWriter) SetWriteDeadline(t time.Time) error { w.write = t; w.deadline++; return nil }

func (w *pipeWriter) Write(p []byte) (int, error) {
	select {
	case <-w.takes:
		return w.ResponseRecorder.Write(p)
	case <-time.After(time.Until(w.write)):
		return 0, os.ErrDeadlineExceeded
	}
}

// A client that takes nothing of a file for too long is cut off; one that goes on taking it, however slowly, gets all of it.
func TestStalledReader(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20<<10) // five pieces
	for name, h := range map[string]http.HandlerFunc{
		"written": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.WriteString(w, big); err != nil {
				panic(err)
			}
		},
		"copied": func(w http.ResponseWriter, r *http.Request) {
			if _, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte(big))); err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				serve := func(every time.Duration, pieces int) (got int, took time.Duration, err error) {
					w := &pipeWriter{ResponseRecorder: httptest.NewRecorder(), takes: make(chan struct{})}
					begin, done := time.Now(), make(chan struct{})
					go func() {
						for range pieces {
							time.Sleep(every)
							select {
							case w.takes <- struct{}{}:
							case <-done:
								return
							}
						}
					}()
					defer func() {
						close(done)
						if v := recover(); v != nil {
							err, _ = v.(error)
						}
						got, took = w.Body.Len(), time.Since(begin)
					}()
					Patient(h, time.Minute).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
					return
				}
				if got, _, err := serve(25*time.Second, 1000); got != len(big) || err != nil {
					t.Errorf("a slow client gets %d bytes of %d, %v", got, len(big), err)
				}
				got, took, err := serve(time.Second, 2)
				if !errors.Is(err, os.ErrDeadlineExceeded) || got >= len(big) || took != time.Minute+2*time.Second {
					t.Errorf("a client that stops gets %d bytes, %v after %v", got, err, took)
				}
				time.Sleep(time.Hour) // until nobody takes anything any more
			})
		})
	}
}

// Without a limit there is no deadline.
func TestStalledForEver(t *testing.T) {
	w := &pipeWriter{ResponseRecorder: httptest.NewRecorder(), takes: make(chan struct{}, 1)}
	w.takes <- struct{}{}
	Patient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }), 0).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.deadline > 0 || w.Body.String() != "x" {
		t.Errorf("%d deadlines, %q", w.deadline, w.Body)
	}
}

// linkOut makes symbolic links that lead out of a folder, to what lies beside it. Windows may not let us.
func linkOut(t *testing.T, dir string) {
	t.Helper()
	above := filepath.Dir(dir)
	for name, to := range map[string]string{
		"out": "..", "link": "../secret", "above": above, "absolute": filepath.Join(above, "secret"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil && runtime.GOOS != "windows" {
			t.Fatal(err)
		}
	}
}

// Targets that are meant to confuse lead nowhere outside of the folder, for reading and for uploads.
func TestPathConfusion(t *testing.T) {
	for _, target := range []string{
		"/../secret", "/%2e%2e/secret", "/.%2e/secret", "/%2e./secret", "/dir/../../secret", "/dir/%2e%2e%2f%2e%2e%2fsecret",
		"/..%2fsecret", "/%2e%2e%2fsecret", `/..\secret`, "/..%5csecret", "/dir%5c..%5c..%5csecret", "/%2fsecret/../../secret",
		"//../secret", "/./../secret", "/dir/..;/../secret", "/..%00/secret", "/secret%00.txt", "/%252e%252e/secret",
		"/out/secret", "/link", "/absolute", "/above/secret", "/%c0%ae%c0%ae/secret", "/..%ef%bc%8fsecret",
	} {
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			s, dir := testSite(t, Options{Upload: true, Overwrite: true}, map[string]string{"dir/a": "x"})
			linkOut(t, dir)
			var body io.Reader
			if method == "PUT" {
				body = strings.NewReader("evil")
			}
			w := ask(s, method, target, body)
			if strings.Contains(w.Body.String(), "secret") && w.Code == http.StatusOK && w.Body.Len() == len("secret") {
				t.Errorf("%s %s shows what lies outside", method, target)
			}
			if method != "PUT" && w.Code < 300 {
				t.Errorf("%s %s: %d", method, target, w.Code)
			}
			if b, err := os.ReadFile(dir + "/../secret"); string(b) != "secret" || err != nil {
				t.Errorf("%s %s: the file outside is %q, %v", method, target, b, err)
			}
			if list, err := os.ReadDir(dir + "/.."); len(list) != 2 || err != nil {
				t.Errorf("%s %s: beside the folder there is %v, %v", method, target, list, err)
			}
		}
	}
}

// timedWriter is a response whose deadline is a timer for the whole exchange, as in HTTP/2 and HTTP/3.
type timedWriter struct {
	*httptest.ResponseRecorder
	timer *time.Timer
	cut   bool
}

func (w *timedWriter) SetWriteDeadline(at time.Time) error {
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.timer = nil; !at.IsZero() {
		w.timer = time.AfterFunc(time.Until(at), func() { w.cut = true })
	}
	return nil
}

// The time is for what is answered: as long as a handler reads or thinks, none runs.
func TestPatientWithUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &timedWriter{ResponseRecorder: httptest.NewRecorder()}
		Patient(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour) // the upload comes
			synctest.Wait()
			if w.cut {
				t.Error("an upload is cut off because nothing is answered yet")
			}
		}), time.Minute).ServeHTTP(w, httptest.NewRequest("PUT", "/", nil))
		if w.timer == nil {
			t.Error("what is left of the answer may take for ever")
		}
		w.timer.Stop()
	})
}
