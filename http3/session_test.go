package http3

import (
	"io"
	"slices"
	"testing"
)

var request = Headers{
	{Name: ":method", Value: "POST"},
	{Name: ":scheme", Value: "https"},
	{Name: ":authority", Value: "localhost"},
	{Name: ":path", Value: "/"},
	{Name: "x-two", Value: "a"},
	{Name: "x-two", Value: "b"},
}

// A request and its response, with bodies and trailers both ways. Either end would close if the other's control stream did
// not begin with SETTINGS, DATA came without HEADERS, the server sent MAX_PUSH_ID, or a frame of HTTP/2 came
// (RFC 9114 §3.2, §6.2.1, §7.2.1, §7.2.7, §7.2.8).
func TestExchange(t *testing.T) {
	p := newPair(t, Options{}, Options{})
	ctx := testContext(t)
	for range 5 {
		st, err := p.client.OpenStream(ctx, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		must(t, st.SubmitInitialHeaders(request, HeaderOptions{}))
		write(t, st, "hello")
		must(t, st.SubmitTrailingHeaders(Headers{{Name: "a", Value: "1"}}))

		sv, err := p.server.AcceptStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		h, err := sv.Headers()
		if err != nil || !slices.Equal(h, request) {
			t.Fatalf("request %v, %v", h, err)
		}
		if body, err := io.ReadAll(sv); string(body) != "hello" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
		if tr := sv.Trailers(); len(tr) != 1 || tr[0] != (Field{Name: "a", Value: "1"}) {
			t.Fatalf("trailers %v", tr)
		}
		must(t, sv.SubmitInformationalHeaders(Headers{{Name: ":status", Value: "103"}, {Name: "link", Value: "</a>"}}))
		must(t, sv.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}, {Name: "server", Value: "cinnabar"}}, HeaderOptions{}))
		write(t, sv, "world")
		must(t, sv.CloseWrite())
		h, err = st.Headers()
		if err != nil || h.Get(":status") != "200" || h.Get("server") != "cinnabar" {
			t.Fatalf("response %v, %v", h, err)
		}
		if body, err := io.ReadAll(st); string(body) != "world" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
	}
	must(t, p.client.Shutdown(ctx))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); err != nil || n != len(s) {
		t.Fatalf("Write: %d, %v", n, err)
	}
}
