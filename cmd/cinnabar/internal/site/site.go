// Package site serves a folder to browsers: its files with ranges, validators and
// precompressed twins, pages that list what is in it, and uploads if they are
// wanted. It is a plain http.Handler and knows nothing of what carries the requests.
package site

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Options are the choices for a Site. The zero Options are good ones.
type Options struct {
	Hidden    bool  // serve and list names that begin with a dot
	Upload    bool  // take files by PUT, and by POST from a form
	Overwrite bool  // let an upload replace a file
	MaxUpload int64 // bytes of one upload; 0 means 1 GiB
}

// Site is a handler for one folder. Nothing outside of the folder is ever
// reached: not by a name, and not by a symbolic link.
type Site struct {
	root    *os.Root
	options Options
	guard   *http.CrossOriginProtection // of uploads, against pages of other sites

	listing  chan struct{} // holds one while a page that lists a folder is made
	waiting  shares        // of requests for such a page, until it is made
	held     shares        // of bytes of such pages that their clients have not taken yet
	naming   sync.Mutex    // held while an upload that is complete gets its name
	maxFiles int           // of one form

	refused, pagesRefused atomic.Int64
}

// Stats are figures of a Site, from its beginning.
type Stats struct {
	UploadsRefused int64 // forms and files that were answered with an error
	PagesRefused   int64 // of folders, which were answered with 503 because there were too many
}

// Stats returns the site's figures.
func (s *Site) Stats() Stats {
	return Stats{UploadsRefused: s.refused.Load(), PagesRefused: s.pagesRefused.Load()}
}

// New makes a handler for a folder, which stays open as long as the handler is used.
func New(root *os.Root, o Options) *Site {
	if o.MaxUpload == 0 {
		o.MaxUpload = 1 << 30
	}
	return &Site{
		root: root, options: o, guard: http.NewCrossOriginProtection(), listing: make(chan struct{}, 1), maxFiles: maxFiles,
		waiting: shares{most: maxListings, perHost: maxListingsPerHost}, held: shares{most: maxHeld, perHost: maxHeldPerHost},
	}
}

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 && r.ContentLength != 0 {
		wait(http.NewResponseController(w)) // or net/http, which reads what nobody here wants before it answers, would for ever
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		s.get(w, fewRanges(r))
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", s.allow())
		w.WriteHeader(http.StatusNoContent)
	case s.options.Upload && r.Method == http.MethodPost:
		s.post(w, r)
	case s.options.Upload && r.Method == http.MethodPut:
		s.put(w, r)
	default:
		w.Header().Set("Allow", s.allow())
		s.fail(w, r, http.StatusMethodNotAllowed, "This site does not know what "+r.Method+" could mean here.")
	}
}

// allow lists the methods for an Allow field (RFC 9110 §10.2.1).
func (s *Site) allow() string {
	if s.options.Upload {
		return "GET, HEAD, OPTIONS, POST, PUT"
	}
	return "GET, HEAD, OPTIONS"
}

func (s *Site) get(w http.ResponseWriter, r *http.Request) {
	name, ok := s.name(r.URL.Path)
	if !ok {
		s.failOpen(w, r, fs.ErrNotExist)
		return
	}
	info, err := s.root.Stat(name)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fs.ErrNotExist // a pipe would keep us waiting
	}
	if err != nil {
		s.failOpen(w, r, err)
		return
	}
	if place := canonical(name, info.IsDir()); place != r.URL.Path {
		to := url.URL{Path: place, RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String()) // has one slash in front: it stays on this site
		s.fail(w, r, http.StatusMovedPermanently, "It is at "+place)
		return
	}
	if !info.IsDir() {
		s.file(w, r, name)
		return
	}
	index := path.Join(name, "index.html")
	if info, err := s.root.Stat(index); err == nil && info.Mode().IsRegular() {
		s.file(w, r, index)
		return
	}
	s.index(w, r, name)
}

// name returns the name within the folder that a request's path stands for, "."
// for the folder itself. It is false for a path that stands for nothing here.
func (s *Site) name(urlPath string) (string, bool) {
	name := path.Clean("/" + urlPath)[1:]
	if name == "" {
		return ".", true
	}
	if strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", false
	}
	if !s.options.Hidden && hidden(name) {
		return "", false
	}
	return name, true
}

// hidden reports whether any part of a name begins with a dot. A backslash counts as a slash: it is one
// on Windows, where a name with one would reach into hidden folders.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || strings.Contains(name, `\.`)
}

// canonical returns the one path under which a name is served, so that relative
// links lead where they should.
func canonical(name string, isDir bool) string {
	switch {
	case name == ".":
		return "/"
	case isDir:
		return "/" + name + "/"
	}
	return "/" + name
}

// failOpen answers for a name that cannot be opened. What leads out of the folder
// is not there.
func (s *Site) failOpen(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission) && r.Method != http.MethodGet && r.Method != http.MethodHead:
		s.fail(w, r, http.StatusForbidden, "The server may not write there.")
	case errors.Is(err, fs.ErrPermission):
		s.fail(w, r, http.StatusForbidden, "The server may not read it.")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		w.Header().Set("Retry-After", "1")
		s.fail(w, r, http.StatusServiceUnavailable, "Too many files are open just now.")
	default:
		s.fail(w, r, http.StatusNotFound, "There is nothing of this name.")
	}
}
