package h3

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// docroot is a directory of files, and what is in them.
type docroot struct {
	dir   string
	large map[string]kit.Content // by path
	small map[string]kit.Digest
}

const manyFiles = 100

func newDocroot(dir string) (*docroot, error) {
	r := &docroot{
		dir: dir,
		large: map[string]kit.Content{
			"/big.bin":  {Seed: 1, Size: 50 << 20},
			"/slow.bin": {Seed: 2, Size: 10 << 20},
			"/rank.bin": {Seed: 6, Size: 4 << 20},
		},
		small: make(map[string]kit.Digest),
	}
	if err := os.Mkdir(filepath.Join(dir, "n"), 0o755); err != nil {
		return nil, err
	}
	files := map[string]kit.Content{
		"/small.txt": {Seed: 3, Size: 1_234},
		"/empty.txt": {},
	}
	for i := range uint64(manyFiles) {
		files[numbered(int(i))] = kit.Content{Seed: 100 + i, Size: int64(1 + 97*i)}
	}
	for path, c := range files {
		r.small[path] = c.Digest()
		if err := c.Save(filepath.Join(dir, path)); err != nil {
			return nil, err
		}
	}
	for path, c := range r.large {
		if err := c.Save(filepath.Join(dir, path)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// numbered is the path of one of many small files.
func numbered(i int) string { return fmt.Sprintf("/n/%03d", i) }

// site serves a docroot and what else the cases need; testdata/server.py has the same.
type site struct {
	http.ServeMux
	root *docroot
	// asked gets a value for every request that has come to /early, as far as there is room.
	asked chan struct{}

	mu       sync.Mutex
	gathered map[string]chan struct{} // closed when all are there
	arrivals map[string]int
	clients  map[string]int // requests by address
}

func newSite(root *docroot) *site {
	s := &site{
		root:     root,
		asked:    make(chan struct{}, 16),
		gathered: make(map[string]chan struct{}),
		arrivals: make(map[string]int),
		clients:  make(map[string]int),
	}
	files := http.FileServer(http.Dir(root.dir))
	s.Handle("GET /", files)
	s.HandleFunc("POST /echo", echo)
	s.HandleFunc("POST /sum", sum)
	s.HandleFunc("GET /headers", headers)
	s.HandleFunc("GET /early", s.early)
	s.HandleFunc("GET /hints", hints)
	s.HandleFunc("GET /push", s.push)
	s.HandleFunc("GET /together/{count}/{name}", s.together)
	s.HandleFunc("CONNECT /tunnel", tunnel)
	return s
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.clients[r.RemoteAddr]++
	s.mu.Unlock()
	s.ServeMux.ServeHTTP(w, r)
}

// addresses is how many addresses requests have come from.
func (s *site) addresses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// echo sends back what comes while it comes, and afterwards its sum and the request's
// trailer in trailers.
func echo(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex() // for a proxy's HTTP/1.1; it is the nature of HTTP/3
	w.Header().Set("Trailer", "X-Sum, X-Back")
	w.WriteHeader(http.StatusOK)
	h := sha256.New()
	if err := copyFlushing(io.MultiWriter(h, w), r.Body, c); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Sum", hex.EncodeToString(h.Sum(nil)))
	if back := r.Trailer.Get("X-Trailer"); back != "" {
		w.Header().Set("X-Back", back)
	}
}

// sum tells what has come.
func sum(w http.ResponseWriter, r *http.Request) {
	d, err := kit.DigestOf(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(d)
}

// headers tells the request's header, with a long field of its own.
func headers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Long", "abcdefghabcdefghabcdefghabcdefghabcdefghabcdefghabcdefghabcdefgh")
	json.NewEncoder(w).Encode(r.Header)
}

// early tells whether the request came before the handshake was complete.
func (s *site) early(w http.ResponseWriter, r *http.Request) {
	text := "late"
	if !r.TLS.HandshakeComplete {
		text = "early"
	}
	select {
	case s.asked <- struct{}{}:
	default:
	}
	io.WriteString(w, text)
}

func hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	io.WriteString(w, "hinted")
}

// push pushes two files.
func (s *site) push(w http.ResponseWriter, r *http.Request) {
	p, ok := w.(http.Pusher)
	if !ok {
		http.Error(w, "no pushes here", http.StatusNotImplemented)
		return
	}
	for _, path := range []string{"/small.txt", "/n/001"} {
		if err := p.Push(path, nil); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	io.WriteString(w, "pushed two")
}

// together answers when as many requests as the path says are here.
func (s *site) together(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("count")
	count, _ := strconv.Atoi(key)
	s.mu.Lock()
	all, ok := s.gathered[key]
	if !ok {
		all = make(chan struct{})
		s.gathered[key] = all
	}
	if s.arrivals[key]++; s.arrivals[key] == count {
		close(all)
	}
	s.mu.Unlock()
	select {
	case <-all:
		http.ServeFile(w, r, filepath.Join(s.root.dir, "n", r.PathValue("name")))
	case <-r.Context().Done():
	}
}

// tunnel sends back what comes through it.
func tunnel(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	c.Flush()
	if err := copyFlushing(w, r.Body, c); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// copyFlushing copies piece by piece, each of which leaves at once.
func copyFlushing(w io.Writer, r io.Reader, c *http.ResponseController) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		c.Flush()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
