package site

import (
	"io"
	"net/http"
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
