package http3

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkServerRequest is a short request and its response; the allocations are those of both
// ends.
func BenchmarkServerRequest(b *testing.B) {
	c := newRaw(b, handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello, world")
	}), Options{})
	h := requestBlock("GET", "/", "user-agent", "bench", "accept", "*/*")
	ctx := testContext(b)
	buf := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		st, err := c.OpenStream(ctx, StreamOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := st.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}); err != nil {
			b.Fatal(err)
		}
		if _, err := st.Headers(); err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = st.Read(buf)
		}
	}
}
