package browser

import (
	"embed"
	"hash/adler32"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

//go:embed testdata
var testdata embed.FS

const uploadSize = 10_000_000

// large is what the page downloads as large.bin.
var large = kit.Content{Seed: 5, Size: 100_000_000}

// newFolder makes a folder with the page, something large, and a place for uploads.
func newFolder(dir string) error {
	files, err := fs.Sub(testdata, "testdata")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		return err
	}
	return large.Save(filepath.Join(dir, "large.bin"))
}

// largeSum is what the page should find.
func largeSum() uint32 {
	h := adler32.New()
	io.Copy(h, large.Reader())
	return h.Sum32()
}

// site serves a folder, and takes forms for its subfolder in, which it does not keep.
type site struct {
	http.ServeMux

	mu    sync.Mutex
	taken map[string]kit.Digest
}

func newSite(dir string) *site {
	s := &site{taken: make(map[string]kit.Digest)}
	s.Handle("GET /", http.FileServer(http.Dir(dir)))
	s.HandleFunc("POST /in/{$}", s.take)
	return s
}

// take answers a form as forms are answered, with another page to look at.
func (s *site) take(w http.ResponseWriter, r *http.Request) {
	file, head, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	d, err := kit.DigestOf(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[head.Filename] = d
	http.Redirect(w, r, "/in/", http.StatusSeeOther)
}

func (s *site) stored(name string) (kit.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[name], nil
}
