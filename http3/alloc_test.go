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

// A body that is written allocates less than once a page.
func TestBodyAllocations(t *testing.T) {
	page := make([]byte, 64<<10)
	const pages = 32
	client, server := newPair(t, Options{}, Options{}).request(t, get200)
	must(t, server.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{}))
	_, err := client.Headers()
	must(t, err)
	go io.Copy(io.Discard, client)

	addr, _ := startServer(t, handler(func(w http.ResponseWriter, r *http.Request) {
		for range pages {
			_, _ = w.Write(page)
		}
	}), loopback)
	tr := &Transport{TLSClientConfig: clientTLS()}
	t.Cleanup(func() { _ = tr.Close() })
	r := newRequest(t, "GET", "https://"+addr.String()+"/", nil)

	for _, test := range []struct {
		name string
		most float64
		all  func() error
	}{
		{"Stream", 10, func() (err error) {
			for i := 0; i < pages && err == nil; i++ {
				_, err = server.Write(page)
			}
			return err
		}},
		{"ResponseWriter", 65, func() error { // with what a request takes
			resp, err := tr.RoundTrip(r)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			return err
		}},
	} {
		for range 50 { // fills pools
			must(t, test.all())
		}
		if n := testing.AllocsPerRun(100, func() { must(t, test.all()) }); n > test.most {
			t.Errorf("%s: %v allocations for %d bytes", test.name, n, pages*len(page))
		}
	}
}
