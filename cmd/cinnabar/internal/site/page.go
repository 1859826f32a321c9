package site

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// pagePolicy lets a page do no more than it does: no script, no picture, this one style.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// page is what a page of our own shows: a folder, or with a text what went wrong.
type page struct {
	Title    string
	Style    template.CSS
	Crumbs   []crumb
	Protocol string
	HTTP3    bool
	Carrier  string

	Heading, Text string

	Columns []column
	Rows    []row
	Summary string
	Upload  bool
}

// crumb is a folder on the way to where we are; the last one has no address if it
// is none to go to.
type crumb struct{ Name, Href string }

// fail answers with a status and a sentence: as a page for those who read HTML.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	for _, field := range []string{"ETag", "Content-Encoding", "Content-Length"} {
		w.Header().Del(field)
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, text, status)
		return
	}
	send(w, r, status, render(r, &page{
		Heading: fmt.Sprintf("%d %s", status, http.StatusText(status)), Text: text,
	}))
}

// render fills in what all pages have, and makes the page.
func render(r *http.Request, p *page) []byte {
	p.Title, p.Crumbs = r.Host+r.URL.Path, crumbs(r)
	p.Style = template.CSS(pageCSS)
	p.Protocol, p.HTTP3 = protocol(r), r.ProtoMajor == 3
	p.Carrier = carrier(r)
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p); err != nil {
		panic("BUG: " + err.Error())
	}
	return body.Bytes()
}

// send answers with a page.
func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	pageFields(h)
	if status == http.StatusOK {
		h.Set("ETag", fmt.Sprintf(`"%.16x"`, sha256.Sum256(body)))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// pageFields are those that all pages have.
func pageFields(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
}

// What a page leads to of a path: each link says again what is before it, so that a page for a path of a
// hundred thousand folders would have as many times its length.
const (
	maxCrumbs    = 32   // folders
	maxCrumbPath = 1024 // bytes
)

// crumbs leads from the host to the path of a request. A path that is long, or deep, is only named.
func crumbs(r *http.Request) []crumb {
	list := []crumb{{r.Host + "/", "/"}}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if len(path) > maxCrumbPath || strings.Count(path, "/") > maxCrumbs {
		return append(list, crumb{path, ""})
	}
	href := "/"
	for part := range strings.SplitAfterSeq(path, "/") {
		if part == "" {
			continue
		}
		name, isDir := strings.CutSuffix(part, "/")
		href += url.PathEscape(name)
		if isDir {
			href += "/"
		}
		list = append(list, crumb{part, href})
	}
	return list
}

// protocol names the version of HTTP as its RFC does.
func protocol(r *http.Request) string {
	if r.ProtoMajor >= 2 {
		return fmt.Sprintf("HTTP/%d", r.ProtoMajor)
	}
	return r.Proto
}

// carrier says what the request came over.
func carrier(r *http.Request) string {
	text := "over TCP"
	if r.ProtoMajor == 3 {
		text = "over QUIC"
	}
	if r.TLS != nil {
		text += " with " + tls.VersionName(r.TLS.Version)
		if r.TLS.CurveID != 0 {
			text += ", " + r.TLS.CurveID.String()
		}
	}
	return text
}
