package browser

import (
	"embed"
	"encoding/json"
	"hash/adler32"
	"io"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

//go:embed testdata
var testdata embed.FS

const (
	uploadSize   = 10_000_000
	downloadSize = 100_000_000
	downloadSeed = 5
)

// newSite serves the page, takes its form, and has something large.
func newSite() http.Handler {
	files, err := fs.Sub(testdata, "testdata")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	m := http.NewServeMux()
	m.Handle("GET /", http.FileServerFS(files))
	m.HandleFunc("POST /upload", takeForm)
	m.HandleFunc("GET /large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(downloadSize))
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, large().Reader())
	})
	return m
}

func large() kit.Content { return kit.Content{Seed: downloadSeed, Size: downloadSize} }

// largeSum is what the page should find.
func largeSum() uint32 {
	h := adler32.New()
	io.Copy(h, large().Reader())
	return h.Sum32()
}

// received is the answer to a form.
type received struct {
	Note string     `json:"note"`
	Name string     `json:"name"`
	File kit.Digest `json:"file"`
}

func takeForm(w http.ResponseWriter, r *http.Request) {
	file, head, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	digest, err := kit.DigestOf(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(received{r.FormValue("note"), head.Filename, digest})
}
