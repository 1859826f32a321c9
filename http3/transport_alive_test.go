package http3

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A session is kept alive for a request that takes long, and not for those that do not; without any
// it goes to sleep.
func TestTransportKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, handler(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				time.Sleep(10 * time.Minute)
			}
		}))
		socket, err := quic.NewSocket(m.at(memClient))
		must(t, err)
		tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{ServerName: "localhost"}, Socket: socket}
		t.Cleanup(func() {
			_ = tr.Close()
			socket.Destroy(nil)
		})
		kept := func() (n, of int) {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			for c := range tr.all {
				if c.kept {
					n++
				}
			}
			return n, len(tr.all)
		}
		get := func(path string) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+memServer.String()+path, nil) // no deadline
			must(t, err)
			fetch(t, tr, r)
		}
		get("/")
		time.Sleep(2 * watchEvery)
		if n, of := kept(); n != 0 || of != 1 {
			t.Errorf("after a short request %d of %d sessions are kept alive", n, of)
		}
		go func() {
			time.Sleep(2 * watchEvery)
			if n, of := kept(); n != 1 || of != 1 {
				t.Errorf("during a long request %d of %d sessions are kept alive", n, of)
			}
		}()
		get("/long")
		time.Sleep(2 * watchEvery)
		if n, of := kept(); n != 0 || of != 1 {
			t.Errorf("after it %d of %d sessions are kept alive", n, of)
		}
		time.Sleep(10 * time.Minute)
		if _, of := kept(); of != 0 {
			t.Errorf("%d sessions are left that nobody uses", of)
		}
	})
}
