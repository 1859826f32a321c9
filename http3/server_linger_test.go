package http3

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A server leaves a client some time to read its last response before the session ends, and a
// session that has had no request none.
func TestServerLingers(t *testing.T) {
	for _, asked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := handler(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
			c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{})
			c.known()
			if asked {
				if _, body := c.ask(requestBlock("GET", "/")); body != "hello" {
					t.Fatalf("%q", body)
				}
			}
			begin := time.Now()
			must(t, s.Shutdown(t.Context()))
			if d := time.Since(begin); asked && (d < 200*time.Millisecond || d > 400*time.Millisecond) || !asked && d > 100*time.Millisecond {
				t.Errorf("with a request %v: Shutdown takes %v", asked, d)
			}
		})
	}
}
