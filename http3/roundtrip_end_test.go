package http3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// active returns how many requests the one session of a Transport has.
func active(t testing.TB, tr *Transport) int {
	c := onlyConn(t, tr)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return c.active
}

// A response that can have no body is there with its headers, although its stream does not end. The end has a while to
// come, whatever becomes of the request's context.
func TestRoundTripBodilessWithoutEnd(t *testing.T) {
	patience := time.Duration(limits.Bound(t, "http3-end-patience"))
	for _, c := range []struct {
		method, status string
		ends           bool
	}{{"HEAD", "200", false}, {"GET", "204", false}, {"GET", "304", false}, {"HEAD", "200", true}, {"GET", "204", true}} {
		t.Run(c.method+" "+c.status, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				aborted := make(chan error, 1)
				s, tr := newMemRaw(t, func(st *Stream) {
					_, _ = st.Headers()
					must(t, st.SubmitInitialHeaders(Headers{{Name: ":status", Value: c.status}}, HeaderOptions{}))
					select {
					case <-end:
						aborted <- st.SubmitTrailingHeaders(Headers{{Name: "x", Value: "y"}})
					case <-st.Closed():
						aborted <- st.Err()
					}
				})
				ctx, cancel := context.WithCancel(testContext(t))
				start := time.Now()
				resp, err := tr.RoundTrip(newRequest(t, c.method, s.url, nil).WithContext(ctx))
				must(t, err)
				cancel()
				if took := time.Since(start); took > time.Second || resp.Body != http.NoBody {
					t.Errorf("after %v, with %T", took, resp.Body)
				}
				synctest.Wait()
				time.Sleep(patience / 2)
				if n := active(t, tr); n != 1 {
					t.Errorf("%d requests", n)
				}
				var want uint64
				if c.ends {
					close(end)
					must(t, <-aborted)
				} else if err, want = <-aborted, 1; !errors.Is(err, &Error{ErrorCode: RequestCancelled, Remote: true}) {
					t.Errorf("the server is told %v", err)
				}
				if !c.ends {
					after(t, start, patience)
				}
				synctest.Wait()
				if n, errs := active(t, tr), onlyConn(t, tr).s.Stats().LimitErrors; n != 0 || errs != want || resp.Trailer != nil {
					t.Errorf("%d requests, %d limits, trailers %v", n, errs, resp.Trailer)
				}
			})
		})
	}
}

// While the request has not ended, such a response has a body that is empty, and whose Close ends it.
func TestRoundTripBodilessDuringUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tr := newMemRaw(t, func(st *Stream) {
			_, _ = st.Headers()
			must(t, st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "204"}}, HeaderOptions{}))
		})
		pr, _ := io.Pipe()
		body := newBody(pr)
		resp, err := tr.RoundTrip(newRequest(t, "POST", s.url, body))
		must(t, err)
		time.Sleep(time.Hour / 100) // it is for the program to say how long that goes on
		if p, err := io.ReadAll(resp.Body); len(p) > 0 || err != nil || active(t, tr) != 1 {
			t.Errorf("%q, %v, %d requests", p, err, active(t, tr))
		}
		must(t, resp.Body.Close())
		<-body.closed
		synctest.Wait()
		if n := active(t, tr); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// A success to CONNECT opens a tunnel, whatever its status (RFC 9110 §9.3.6).
func TestRoundTripConnectNoContent(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = st.Headers()
		_ = st.SubmitInitialHeaders(Headers{{Name: ":status", Value: "204"}}, HeaderOptions{})
		st.out.bodiless = false
		_, _ = io.WriteString(st, "hello")
		_ = st.CloseWrite()
	})
	if _, body := fetch(t, tr, newRequest(t, "CONNECT", s.url, nil)); body != "hello" {
		t.Errorf("%q", body)
	}
}
