package site

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// file serves a regular file, or the precompressed twin that the client likes best.
func (s *Site) file(w http.ResponseWriter, r *http.Request, name string) {
	twin, varies := s.twin(r, name)
	f, info, err := s.open(name + twin.suffix)
	if err != nil {
		s.failOpen(w, r, err)
		return
	}
	defer f.Close()
	kind, err := s.contentType(name, twin, f)
	if err != nil {
		s.failOpen(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache") // files change: ask, and be told 304
	h.Set("ETag", etag(info, twin))
	if varies {
		h.Set("Vary", "Accept-Encoding")
	}
	if twin != identity {
		h.Set("Content-Encoding", twin.coding)
		w = &encodedWriter{w, info.Size()}
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// maxRanges is how many ranges of a file may be asked for together: each becomes a part with fields of its own, and a
// request can name thousands in a few bytes.
const maxRanges = 16

// fewRanges returns the request, without its ranges if they are too many: then it gets the whole (RFC 9110 §14.2).
func fewRanges(r *http.Request) *http.Request {
	if strings.Count(r.Header.Get("Range"), ",") < maxRanges {
		return r
	}
	r = r.WithContext(r.Context())
	r.Header = maps.Clone(r.Header)
	r.Header.Del("Range")
	return r
}

// open opens a regular file.
func (s *Site) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// etag is a strong validator (RFC 9110 §8.8.3) of one encoding of a file: what is
// written into it changes its time, which systems keep in nanoseconds.
func etag(info fs.FileInfo, e encoding) string {
	return fmt.Sprintf(`"%x-%x%s"`, info.ModTime().UnixNano(), info.Size(), e.suffix)
}

// encoding is a content coding, and the ending of the files that are in it.
type encoding struct{ coding, suffix string }

var identity = encoding{"identity", ""}

// encodings are those that files may lie in beside the plain ones, the best first.
var encodings = []encoding{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

// twin chooses between a file and those beside it that are the same in another
// encoding. varies is true if there are any.
func (s *Site) twin(r *http.Request, name string) (best encoding, varies bool) {
	best = identity
	accepts := accepted(r.Header.Values("Accept-Encoding"))
	most := accepts["identity"] // if it is not named, whatever is accepted is better
	for _, e := range encodings {
		info, err := s.root.Stat(name + e.suffix)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		varies = true
		if q := accepts.quality(e.coding); q > 0 && (q > most || q == most && best == identity) {
			best, most = e, q
		}
	}
	return best, varies
}

// qualities are the weights of an Accept-Encoding field (RFC 9110 §12.5.3), in
// thousandths.
type qualities map[string]int

// maxCodings is how many elements of the field are looked at: there are less than ten codings.
const maxCodings = 50

func accepted(fields []string) qualities {
	q := make(qualities)
	n := 0
	for item := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		if n++; n > maxCodings {
			break
		}
		coding, parameter, _ := strings.Cut(item, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding == "" {
			continue
		}
		weight := 1.0
		if name, value, ok := strings.Cut(parameter, "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || !(v >= 0 && v <= 1) {
				continue // what cannot be understood is not asked for
			}
			weight = v
		}
		q[coding] = int(weight * 1000)
	}
	return q
}

// quality is the weight of a coding, by its name or by the asterisk.
func (q qualities) quality(coding string) int {
	if v, ok := q[coding]; ok {
		return v
	}
	return q["*"]
}

// types are of endings that the system's tables lack or differ about.
var types = map[string]string{
	".avif": "image/avif", ".css": "text/css", ".csv": "text/csv", ".flac": "audio/flac", ".gif": "image/gif",
	".go": "text/plain", ".gz": "application/gzip", ".htm": "text/html", ".html": "text/html", ".ico": "image/x-icon",
	".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript", ".json": "application/json", ".log": "text/plain",
	".m3u8": "application/vnd.apple.mpegurl", ".map": "application/json", ".md": "text/markdown", ".mjs": "text/javascript",
	".mkv": "video/x-matroska", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".mpd": "application/dash+xml", ".oga": "audio/ogg",
	".ogg": "audio/ogg", ".opus": "audio/ogg", ".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png",
	".svg": "image/svg+xml", ".tar": "application/x-tar", ".ts": "video/mp2t", ".tsv": "text/tab-separated-values",
	".ttf": "font/ttf", ".txt": "text/plain", ".wasm": "application/wasm", ".wav": "audio/wav", ".webm": "video/webm",
	".webmanifest": "application/manifest+json", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
	".xhtml": "application/xhtml+xml", ".xml": "text/xml", ".yaml": "text/plain", ".yml": "text/plain", ".zip": "application/zip",
	".zst": "application/zstd",
}

// contentType returns a file's media type by its name, else by how it begins. A
// text gets a charset if it looks like UTF-8.
func (s *Site) contentType(name string, twin encoding, f *os.File) (string, error) {
	if twin != identity { // the type is the plain file's
		plain, _, err := s.open(name)
		if err != nil {
			return "", err
		}
		defer plain.Close()
		f = plain
	}
	head := make([]byte, 1024)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return typeOf(name, head[:n]), nil
}

func typeOf(name string, head []byte) string {
	ending := strings.ToLower(path.Ext(name))
	kind, ok := types[ending]
	if !ok {
		kind, _, _ = strings.Cut(mime.TypeByExtension(ending), ";")
	}
	if kind == "" {
		kind, _, _ = strings.Cut(http.DetectContentType(head), ";")
	}
	if strings.HasPrefix(kind, "text/") && looksLikeUTF8(head) {
		kind += "; charset=utf-8"
	}
	return kind
}

// looksLikeUTF8 reports whether the beginning of a text is UTF-8; the last
// character may be cut.
func looksLikeUTF8(head []byte) bool {
	for range utf8.UTFMax {
		if r, n := utf8.DecodeLastRune(head); r != utf8.RuneError || n != 1 {
			break
		}
		head = head[:len(head)-1]
	}
	return utf8.Valid(head)
}

// encodedWriter says the length of a whole file that has a Content-Encoding;
// ServeContent leaves it out, as it cannot know who compresses.
type encodedWriter struct {
	http.ResponseWriter
	size int64
}

// WriteHeader adds the length to an answer with the whole file.
func (w *encodedWriter) WriteHeader(status int) {
	if status == http.StatusOK {
		w.Header().Set("Content-Length", strconv.FormatInt(w.size, 10))
	}
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom leaves the copying to whoever carries the answer.
func (w *encodedWriter) ReadFrom(src io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, src) }

// Unwrap is for http.ResponseController.
func (w *encodedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
