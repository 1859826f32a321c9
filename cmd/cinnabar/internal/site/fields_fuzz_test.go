package site

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// FuzzLog: whatever a request says of itself, its line in either log is one line, printable, and says just that, or of what is
// too long the beginning.
func FuzzLog(f *testing.F) {
	f.Add("GET", "/a b?c\"", "https://x/\x1b[2J", "agent\r\n192.0.2.9 - -")
	f.Add("A\" 200", "/\u202e\u2028", "\xff", "\U000e0001\\")
	f.Add("", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, referer, agent string) {
		var rec *Record
		r := &http.Request{Method: method, RequestURI: target, URL: &url.URL{Path: "/"}, Proto: "HTTP/3.0", RemoteAddr: "192.0.2.1:5000", Header: http.Header{"Referer": {referer}, "User-Agent": {agent}}}
		Log(http.NotFoundHandler(), func(r *Record) { rec = r }).ServeHTTP(httptest.NewRecorder(), r)
		shown := map[string]string{"method": rec.Method, "target": rec.Target, "referer": rec.Referer, "agent": rec.Agent}
		for name, whole := range map[string]string{"method": method, "target": cmp.Or(target, "/"), "referer": referer, "agent": agent} {
			if !begins(shown[name], whole, maxLogged) {
				t.Fatalf("%s is %q, of %q", name, shown[name], whole)
			}
		}
		line, text := rec.Line(), rec.JSON()
		for _, s := range []string{line, text} {
			if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q is not printable", s)
			}
		}
		_, behind, ok := strings.Cut(line, "] ")
		for _, want := range []string{rec.Method + " " + rec.Target + " HTTP/3.0", dash(rec.Referer), dash(rec.Agent)} {
			behind = behind[strings.IndexByte(behind, '"'):]
			quoted, err := strconv.QuotedPrefix(behind)
			if got, _ := strconv.Unquote(quoted); !ok || err != nil || got != want {
				t.Fatalf("%q has %q, want %q; %v", line, got, want, err)
			}
			behind = behind[len(quoted):]
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		shown["remote"] = "192.0.2.1"
		for name, want := range shown {
			if s, _ := got[name].(string); s != string([]rune(want)) {
				t.Fatalf("%q has %s %q, want %q", text, name, s, want)
			}
		}
	})
}

// begins reports whether a text is the whole, or of a whole of more than most bytes its beginning with an ellipsis: up to the last
// place at or before most where a character can begin, of which the last three bytes of most are looked at.
func begins(text, whole string, most int) bool {
	if len(whole) <= most {
		return text == whole
	}
	head, cut := strings.CutSuffix(text, "...")
	n := len(head)
	if !cut || !strings.HasPrefix(whole, head) || n > most || n < most-3 {
		return false
	}
	for _, b := range []byte(whole[n+1 : most+1]) {
		if b&0xc0 != 0x80 {
			return false // it could have been cut later
		}
	}
	return n == most-3 || whole[n]&0xc0 != 0x80
}

// FuzzEncodings: what a client accepts is weighed between nothing and all, and of the files that are there it is
// given one that it wants, and no other more.
func FuzzEncodings(f *testing.F) {
	for _, s := range []string{"gzip, br", "br;q=0.5, gzip;q=0.9, identity;q=0.1", "*", "*;q=0, zstd", "identity", "gzip;q=NaN", "br;q=2;x, GZIP ; Q = 1", ""} {
		f.Add(s, s)
	}
	dir := f.TempDir()
	for _, e := range append(encodings, identity) {
		if err := os.WriteFile(filepath.Join(dir, "a.txt"+e.suffix), []byte(e.coding), 0o666); err != nil {
			f.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	s := New(root, Options{})
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/a.txt"}, Header: http.Header{"Accept-Encoding": {first, second}}}
		q := accepted(r.Header["Accept-Encoding"])
		for coding, v := range q {
			if v < 0 || v > 1000 || coding != strings.ToLower(strings.TrimSpace(coding)) {
				t.Fatalf("%q, %q: %q has %d", first, second, coding, v)
			}
		}
		best, varies := s.twin(r, "a.txt")
		for _, e := range encodings {
			want, got := q.quality(e.coding), q.quality(best.coding)
			if best == identity {
				got = q["identity"]
			}
			if !varies || want > got || want == got && want > 0 && best == identity || best != identity && got == 0 {
				t.Fatalf("%q, %q: %s with %d, and %s has %d", first, second, best.coding, got, e.coding, want)
			}
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Body.String() != best.coding || w.Header().Get("Content-Encoding") != strings.TrimPrefix(best.coding, "identity") {
			t.Fatalf("%q, %q: %d, %q, %v; want %s", first, second, w.Code, w.Body, w.Header(), best.coding)
		}
	})
}
