package site

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxFiles is how many files one form may bring.
	maxFiles = 1000
	// maxFormHead is how many bytes are read for the header of a part of a form. mime/multipart would take 10 MiB.
	maxFormHead = 16 << 10
	// maxName is how many bytes a name may have.
	maxName = 255
	// patience is how long an upload may take for a piece.
	patience = time.Minute
	// pace is how many bytes such a piece has.
	pace = 64 << 10
)

// refusal is an upload that is not taken.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// post takes the files of a form into the folder that it was sent to.
func (s *Site) post(w http.ResponseWriter, r *http.Request) {
	dir, err := s.uploadDir(r, r.URL.Path)
	if err == nil {
		err = s.postFiles(w, r, dir)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Location", (&url.URL{Path: canonical(dir, true)}).String())
	s.fail(w, r, http.StatusSeeOther, "Stored.")
}

// put stores the body under the path that it was sent to.
func (s *Site) put(w http.ResponseWriter, r *http.Request) {
	dir, file := path.Split(r.URL.Path)
	in, err := s.uploadDir(r, dir)
	if err == nil && (file == "" || sanitize(file, s.options.Hidden) != file) {
		err = refuse(http.StatusBadRequest, "%q is no name for a file here.", file)
	}
	replaced := false
	if err == nil {
		replaced, err = s.store(s.body(w, r), path.Join(in, file))
	}
	switch {
	case err != nil:
		s.refuse(w, r, err)
	case replaced:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Location", (&url.URL{Path: "/" + path.Join(in, file)}).String())
		w.WriteHeader(http.StatusCreated)
	}
}

// uploadDir returns the folder that a path names, if uploads may go there.
func (s *Site) uploadDir(r *http.Request, urlPath string) (string, error) {
	if err := s.guard.Check(r); err != nil {
		return "", refuse(http.StatusForbidden, "A page of another site sent this.")
	}
	if r.ContentLength > s.options.MaxUpload {
		return "", s.tooLarge()
	}
	name, ok := s.name(urlPath)
	if !ok {
		return "", fs.ErrNotExist
	}
	info, err := s.root.Stat(name)
	if err == nil && !info.IsDir() {
		err = refuse(http.StatusConflict, "%s is not a folder.", canonical(name, false))
	}
	return name, err
}

func (s *Site) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "More than %s at once is not taken.", size(s.options.MaxUpload))
}

// body is the request's body, which may neither grow too large nor come too slowly.
func (s *Site) body(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	in := &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w), lasting: r.ProtoMajor < 2}
	return http.MaxBytesReader(w, in, s.options.MaxUpload)
}

// patientBody gives up on a client that sends nothing, or next to nothing, for too long. What passes between two reads is the
// server's time, and not the client's.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	lasting bool          // a deadline that passes between two reads does nothing, and holds for what net/http reads in the end
	left    int           // of the piece that the time is for
	budget  time.Duration // of that time
}

func (b *patientBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.left, b.budget = pace, patience
	}
	begin := time.Now()
	_ = b.control.SetReadDeadline(begin.Add(b.budget))
	n, err := b.ReadCloser.Read(p)
	if !b.lasting {
		_ = b.control.SetReadDeadline(time.Time{}) // in HTTP/2 it would end the body whether somebody reads or not
	}
	b.left -= n
	b.budget -= time.Since(begin)
	return n, err
}

// wait lets a piece of a body be read for so long. Where there is no such thing, the session's limit has to do.
func wait(c *http.ResponseController) { _ = c.SetReadDeadline(time.Now().Add(patience)) }

// formBody lets only so much of a form be read while the header of a part is.
type formBody struct {
	io.ReadCloser
	head bool
	left int
}

func (b *formBody) Read(p []byte) (int, error) {
	if !b.head {
		return b.ReadCloser.Read(p)
	}
	if b.left == 0 && len(p) > 0 {
		return 0, refuse(http.StatusRequestEntityTooLarge, "The form says more than %s of one of its parts.", size(maxFormHead))
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// postFiles stores every file of a form. What was stored before one that fails stays.
func (s *Site) postFiles(w http.ResponseWriter, r *http.Request, dir string) error {
	in := &formBody{ReadCloser: s.body(w, r)}
	r.Body = in
	form, err := r.MultipartReader()
	if err != nil {
		return refuse(http.StatusUnsupportedMediaType, "Send a form as multipart/form-data, or a file with PUT.")
	}
	for stored := 0; ; {
		in.head, in.left = true, maxFormHead
		part, err := form.NextPart()
		in.head = false
		if err == io.EOF && stored > 0 {
			return nil
		}
		if err == io.EOF {
			return refuse(http.StatusBadRequest, "No file was in the form.")
		}
		if err != nil {
			return &sourceError{err}
		}
		if part.FileName() == "" {
			if _, err := io.Copy(io.Discard, part); err != nil { // or it would count as the next one's header
				return &sourceError{err}
			}
			continue
		}
		if stored++; stored > s.maxFiles {
			return refuse(http.StatusRequestEntityTooLarge, "More than %d files at once are not taken.", s.maxFiles)
		}
		if _, err := s.store(part, path.Join(dir, sanitize(part.FileName(), s.options.Hidden))); err != nil {
			return err
		}
	}
}

// sourceError is an upload that did not come whole.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// source makes errors of reading known as such.
type source struct{ io.Reader }

func (r source) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
	}
	return n, err
}

// store writes a file, which gets its name when it is complete.
func (s *Site) store(src io.Reader, name string) (replaced bool, err error) {
	if replaced, err = s.clash(name); err != nil {
		return false, err
	}
	temp := path.Join(path.Dir(name), ".cinnabar-"+rand.Text()+".part")
	f, err := s.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(f, source{src})
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.publish(temp, name)
	}
	if err != nil {
		s.root.Remove(temp)
	}
	return replaced, err
}

// publish never replaces a file unless it may: a link fails where a rename would
// not. Where there are no links, a look just before has to do.
func (s *Site) publish(temp, name string) error {
	s.naming.Lock() // or a file and its twin, which come together, would not see each other
	defer s.naming.Unlock()
	if _, err := s.clash(name); err != nil {
		return err
	}
	if !s.options.Overwrite && s.root.Link(temp, name) == nil {
		return s.root.Remove(temp)
	}
	if _, err := s.clash(name); err != nil {
		return err
	}
	return s.root.Rename(temp, name)
}

// clash refuses a name that is in use, that of a precompressed twin by which a file would look
// replaced, and that of a file whose twin is there already, and reports whether a file may be replaced.
func (s *Site) clash(name string) (replaces bool, err error) {
	for _, e := range encodings {
		if _, err := s.root.Lstat(name + e.suffix); err == nil && !s.options.Overwrite {
			if _, err := s.root.Lstat(name); errors.Is(err, fs.ErrNotExist) { // or it is said below that it is there
				return false, refuse(http.StatusConflict, "%s would be served in its place.", path.Base(name+e.suffix))
			}
		}
		if plain, is := strings.CutSuffix(name, e.suffix); is && !s.options.Overwrite {
			if _, err := s.root.Lstat(plain); err == nil {
				return false, refuse(http.StatusConflict, "It would be served in place of %s, which is not replaced.", path.Base(plain))
			}
		}
	}
	info, err := s.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !s.options.Overwrite || !info.Mode().IsRegular():
		return false, refuse(http.StatusConflict, "%s is there already; it was not replaced.", path.Base(name))
	}
	return true, nil
}

// refuse answers an upload that was not stored, and counts it.
func (s *Site) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.refused.Add(1)
	s.failUpload(w, r, err)
}

// failUpload says why an upload was not stored.
func (s *Site) failUpload(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal
	var large *http.MaxBytesError
	var cut *sourceError
	switch {
	case errors.As(err, &refused):
		s.fail(w, r, refused.status, refused.text)
	case errors.As(err, &large):
		s.failUpload(w, r, s.tooLarge())
	case errors.As(err, &cut):
		s.fail(w, r, http.StatusBadRequest, "The upload did not come whole.")
	case errors.Is(err, syscall.ENOSPC):
		s.fail(w, r, http.StatusInsufficientStorage, "The disk is full.")
	default:
		s.failOpen(w, r, err)
	}
}

// sanitize makes a name of what a client calls a file: of one part, printable, not
// hidden unless it may be, and not too long.
func sanitize(name string, hiddenToo bool) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`/:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeft(name, "-")
	if !hiddenToo {
		name = strings.TrimLeft(name, ".-")
	}
	if ending := path.Ext(name); len(name) > maxName {
		if len(ending) > maxName/4 {
			ending = ""
		}
		name = strings.ToValidUTF8(name[:maxName-len(ending)], "") + ending
	}
	if name = strings.TrimRight(name, ". "); name == "" || name == ".." || !filepath.IsLocal(name) {
		return "upload"
	}
	return name
}
