package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// What an error has left in a file is not gone on with.
func TestRetryAfterCutError(t *testing.T) {
	status := http.StatusNotFound
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			w.Header().Set("Test-Cut", "yes")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "oops")
			status = http.StatusOK
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(digits))
	})
	path := writeFile(t, "f", "")
	c := &Client{Transport: &world{Handler: server}, Retries: 1, Wait: func(context.Context, time.Duration) error { return nil }}
	err := fetch(t, c, "https://one.example/", &Target{Path: path, Resume: FromSize})
	if data, _ := os.ReadFile(path); string(data) != digits || err != nil {
		t.Errorf("the file has %q, want %q; %v", data, digits, err)
	}
}

// A retry that goes on with a file wants the rest of what the first answer was of, and nothing of another version.
func TestRetryOfChangedFile(t *testing.T) {
	const weak, date, later = `W/"1"`, "Sun, 29 Nov 2026 08:00:00 GMT", "Sun, 29 Nov 2026 08:00:01 GMT"
	for _, tc := range []struct {
		name          string
		first, second map[string]string // fields of the answers
		deaf          bool              // the server knows no If-Range
		have          string            // before the first attempt
		asked         []string          // Range and If-Range of each attempt
		want          string
		text          string // of the error
	}{
		{"same", map[string]string{"ETag": `"1"`}, map[string]string{"ETag": `"1"`}, false, "", []string{" ", `bytes=4- "1"`}, digits, ""},
		{"further", map[string]string{"ETag": `"1"`}, map[string]string{"ETag": `"1"`}, false, "01", []string{"bytes=2- ", `bytes=4- "1"`}, digits, ""},
		{"changed", map[string]string{"ETag": `"1"`}, map[string]string{"ETag": `"2"`}, false, "", []string{" ", `bytes=4- "1"`}, digits[:4], "has changed"},
		{"changed, and deaf", map[string]string{"ETag": `"1"`}, map[string]string{"ETag": `"2"`}, true, "", []string{" ", `bytes=4- "1"`}, digits[:4], "has changed"},
		{"dated", map[string]string{"Last-Modified": date, "Date": later}, map[string]string{"Last-Modified": date}, false, "", []string{" ", "bytes=4- " + date}, digits, ""},
		{"dated, changed", map[string]string{"Last-Modified": date, "Date": later}, map[string]string{"Last-Modified": later}, false, "", []string{" ", "bytes=4- " + date}, digits[:4], "has changed"},
		// Neither is sent (RFC 9110 §13.1.5), but what differs is another version.
		{"weak", map[string]string{"ETag": weak, "Last-Modified": date, "Date": later}, map[string]string{"ETag": weak}, true, "", []string{" ", "bytes=4- "}, digits, ""},
		{"weak, changed", map[string]string{"ETag": weak}, map[string]string{"ETag": `W/"2"`}, true, "", []string{" ", "bytes=4- "}, digits[:4], "has changed"},
		{"just now", map[string]string{"Last-Modified": date, "Date": date}, map[string]string{"Last-Modified": date}, true, "", []string{" ", "bytes=4- "}, digits, ""},
		{"malformed", map[string]string{"ETag": "1", "Last-Modified": "now"}, nil, true, "", []string{" ", "bytes=4- "}, digits, ""},
		{"none", nil, nil, true, "", []string{" ", "bytes=4- "}, digits, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked []string
			server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
				fields := tc.second
				if len(asked) == 1 {
					fields = tc.first
					w.Header().Set("Test-Cut", "yes")
				}
				for name, value := range fields {
					w.Header().Set(name, value)
				}
				known := w.Header().Get("ETag") + w.Header().Get("Last-Modified")
				from := 0
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && (tc.deaf || r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == known) {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-9/10", from))
					w.WriteHeader(http.StatusPartialContent)
				} else {
					from = 0
				}
				if len(asked) > 1 {
					_, _ = io.WriteString(w, digits[from:])
					return
				}
				_, _ = io.WriteString(w, digits[from:4])
			})
			path := writeFile(t, "f", tc.have)
			c := &Client{Transport: &world{Handler: server}, Retries: 1, Wait: func(context.Context, time.Duration) error { return nil }}
			err := fetch(t, c, "https://one.example/", &Target{Path: path, Resume: FromSize})
			if !slices.Equal(asked, tc.asked) {
				t.Errorf("asked %q, want %q", asked, tc.asked)
			}
			if data, _ := os.ReadFile(path); string(data) != tc.want {
				t.Errorf("the file has %q, want %q", data, tc.want)
			}
			if tc.text != "" {
				wantCode(t, err, Range, tc.text, "leave out -C")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
