package fetch

import (
	"net/http"
	"strings"
	"time"
)

// version is what an answer says of which version of a file it is, as far as it does.
type version struct {
	etag     string // its ETag
	modified string // its Last-Modified
	dated    bool   // modified tells versions apart (RFC 9110 §8.8.2.2)
}

// versionOf takes the version from an answer's fields.
func versionOf(h http.Header) version {
	v := version{etag: h.Get("ETag"), modified: h.Get("Last-Modified")}
	modified, err := http.ParseTime(v.modified)
	if err != nil {
		v.modified = ""
		return v
	}
	date, err := http.ParseTime(h.Get("Date"))
	v.dated = err == nil && date.Sub(modified) >= time.Second
	return v
}

// condition is the If-Range for the rest of this version, "" if there can be none (RFC 9110 §13.1.5).
func (v version) condition() string {
	switch {
	case len(v.etag) > 1 && v.etag[0] == '"' && strings.HasSuffix(v.etag, `"`):
		return v.etag
	case v.etag == "" && v.dated:
		return v.modified
	}
	return ""
}

// other reports whether an answer is of another version for sure.
func (v version) other(w version) bool {
	if v.etag != "" && w.etag != "" {
		return v.etag != w.etag
	}
	return v.modified != "" && w.modified != "" && v.modified != w.modified
}
