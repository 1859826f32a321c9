package site

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// counted counts what is read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// What a form says of a file is read up to a bound; what is in its parts is not counted, also of those that are no files.
func TestFormHead(t *testing.T) {
	most := limits.Bound(t, "form-head")
	s, dir := testSite(t, Options{Upload: true}, map[string]string{})
	post := func(field, head, file int) (status, read int) {
		body := &counted{Reader: strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n" + strings.Repeat("f", field) +
			"\r\n--b\r\nX: " + strings.Repeat("x", head) + "\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n" + strings.Repeat("a", file) + "\r\n--b--\r\n")}
		return ask(s, "POST", "/", body, "Content-Type: multipart/form-data; boundary=b").Code, body.n
	}
	if status, read := post(0, 4*most, 0); status != http.StatusRequestEntityTooLarge || read > 2*most {
		t.Errorf("a header of %d bytes: status %d, %d bytes read", 4*most, status, read)
	}
	wantFiles(t, dir, nil)
	if status, _ := post(5*most, most-200, 5*most); status != http.StatusSeeOther {
		t.Errorf("a header of %d bytes: status %d", most, status)
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Size() != int64(5*most) {
		t.Errorf("what is stored: %v, %v", info, err)
	}
}

// What a client says of itself makes no long line in the log: a few bytes of a compressed field section may stand for many.
func TestLogLength(t *testing.T) {
	most := limits.Bound(t, "log-field")
	var rec *Record
	h := Log(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(r *Record) { rec = r })
	for _, c := range []struct{ in, want string }{
		{strings.Repeat("a", most), strings.Repeat("a", most)},
		{strings.Repeat("a", most+1), strings.Repeat("a", most) + "..."},
		{strings.Repeat("\xff", 16<<10), strings.Repeat("\xff", most) + "..."},
		{"a" + strings.Repeat("ö", most), "a" + strings.Repeat("ö", most/2-1) + "..."}, // no half of a character
		{strings.Repeat("\x80", most+1), strings.Repeat("\x80", most-3) + "..."},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.RequestURI = c.in, c.in
		r.Header.Set("Referer", c.in)
		r.Header.Set("User-Agent", c.in)
		h.ServeHTTP(httptest.NewRecorder(), r)
		for what, got := range map[string]string{"method": rec.Method, "target": rec.Target, "referer": rec.Referer, "agent": rec.Agent} {
			if got != c.want {
				t.Errorf("%s of %d bytes: %d in the log, from %.20q to %q, want %d", what, len(c.in), len(got), got, got[max(0, len(got)-5):], len(c.want))
			}
		}
	}
}
