//go:build !race

package http3

import (
	"io"
	"net/http"
	"testing"
)

// A request and its response allocate, at both ends together, what their http types are made of, a
// stream on each floor at each end, and next to nothing else.
func TestRequestAllocations(t *testing.T) {
	body := make([]byte, 1024)
	contentType, length := []string{"application/octet-stream"}, []string{"1024"}
	addr, _ := startServer(t, handler(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = contentType, length
		_, _ = w.Write(body)
	}), loopback)
	tr := &Transport{TLSClientConfig: clientTLS()}
	t.Cleanup(func() { _ = tr.Close() })
	r := newRequest(t, "GET", "https://"+addr.String()+"/some/where", nil)
	buf := make([]byte, 2048)
	one := func() {
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err != io.EOF {
			t.Fatal(err)
		}
	}
	for range 200 { // fills pools, and QPACK's tables
		one()
	}
	if n := testing.AllocsPerRun(500, one); n > 27 {
		t.Errorf("%v allocations a request", n)
	}
}
