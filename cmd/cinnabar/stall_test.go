package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// --stall is for answers: a client that takes nothing of one is cut off, and one that pauses in the middle of what it
// sends meanwhile is not.
func TestServeStall(t *testing.T) {
	s := startServe(t, map[string]string{"big": strings.Repeat("x", 4<<20), "h3/.keep": "", "h2/.keep": ""}, "--upload", "--stall", "1s")
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	h3 := startReading(t, in, "get", "-f", "--pin", s.pin, "-T", "-", s.url+"h3/file")
	body, rest := io.Pipe()
	h2 := make(chan string, 1)
	go func() { h2 <- putOverTCP(t.Context(), s.url+"h2/file", body) }()
	_, _ = io.WriteString(out, "half")
	_, _ = io.WriteString(rest, "half")
	for _, dir := range []string{"h3", "h2"} {
		waitForFile(filepath.Join(s.dir, dir, "*.part"))
	}

	q := s.dial()
	st, err := q.OpenStream(t.Context(), quic.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(s.url, "https://"), "/")
	section := new(qpack.Encoder).AppendSection(nil, st.ID(), []qpack.Field{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host}, {Name: ":path", Value: "/big"},
	})
	if _, err := st.End(append(varint.Append([]byte{1}, uint64(len(section))), section...)); err != nil {
		t.Fatal(err)
	}
	s.waitFor(s.stdout, " cut\n") // it has taken nothing for as long as the uploads have sent nothing

	_, _ = io.WriteString(out, " and half")
	_, _ = io.WriteString(rest, " and half")
	out.Close()
	rest.Close()
	h3.want(0)
	if got := <-h2; got != "HTTP/2.0 201 Created" {
		t.Errorf("over TCP: %s", got)
	}
	for _, dir := range []string{"h3", "h2"} {
		wantFiles(t, filepath.Join(s.dir, dir), map[string]string{".keep": "", "file": "half and half"})
	}
}

// putOverTCP uploads over TCP, and returns the answer's first line or what went wrong.
func putOverTCP(ctx context.Context, url string, body io.Reader) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, body)
	if err != nil {
		return err.Error()
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Proto + " " + resp.Status
}

// waitForFile waits until there is a file whose path has a form.
func waitForFile(form string) {
	for {
		if found, err := filepath.Glob(form); err != nil || len(found) > 0 {
			return
		}
		runtime.Gosched()
	}
}
