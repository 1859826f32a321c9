package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// output is a log that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// The runner checks first that a case which nobody knows is refused with 127.
func TestUnknownCase(t *testing.T) {
	for _, role := range []string{"client", "server"} {
		for _, name := range []string{fmt.Sprintf("%x", rand.Uint64()), "", "versionnegotiation"} {
			env := map[string]string{"ROLE": role, "TESTCASE": name, "REQUESTS": "https://server4:443/x"}
			if code := run(t.Context(), nil, func(k string) string { return env[k] }, t.Output()); code != exitUnsupported {
				t.Errorf("%s %q: exit code %d, want 127", role, name, code)
			}
		}
	}
	if code := run(t.Context(), nil, func(string) string { return "" }, t.Output()); code != exitFailed {
		t.Errorf("without a role: exit code %d, want 1", code)
	}
}

// serverOf is the server's name of a case where it differs from the client's.
var serverOf = map[string]string{"keyupdate": "transfer"}

// Every case works between the two roles of the program.
func TestCases(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(clientCases)) {
		t.Run(name, func(t *testing.T) { playCase(t, name) })
	}
	// And with peers that speak HTTP/3 only.
	for _, name := range []string{"transfer", "multiconnect", "resumption", "zerortt", "retry"} {
		t.Run(name+" over HTTP/3", func(t *testing.T) { playCase(t, name, "-http3") })
	}
}

func playCase(t *testing.T, name string, args ...string) {
	t.Parallel()
	w := newSite(t)
	w.args = args
	server := name
	if s, ok := serverOf[name]; ok {
		server = s
	}
	done := w.serve(server)
	if code := w.fetch(name, 3); code != exitDone {
		t.Fatalf("the client's exit code is %d", code)
	}
	w.stop()
	if code := <-done; code != exitDone {
		t.Errorf("the server's exit code is %d", code)
	}
	w.check(3)
}

// A file that does not exist is a failure.
func TestMissingFile(t *testing.T) {
	w := newSite(t)
	w.serve("transfer")
	if err := os.Remove(filepath.Join(w.dir, "www", "file0")); err != nil {
		t.Fatal(err)
	}
	if code := w.fetch("transfer", 1); code != exitFailed {
		t.Errorf("exit code %d, want 1", code)
	}
}

// site is the folders of both ends, and where the server is.
type site struct {
	t    *testing.T
	dir  string
	port uint16
	args []string // of both ends
	ctx  context.Context
	stop context.CancelFunc
	log  output
}

func newSite(t *testing.T) *site {
	w := &site{t: t, dir: t.TempDir()}
	w.ctx, w.stop = context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(w.stop)
	for _, name := range []string{"www", "downloads", "certs", "qlog-client", "qlog-server"} {
		if err := os.Mkdir(filepath.Join(w.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	id, err := kit.NewIdentity(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{id.CertFile: "cert.pem", id.KeyFile: "priv.key"} {
		if err := os.Rename(from, filepath.Join(w.dir, "certs", to)); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := os.ReadFile(filepath.Join(w.dir, "certs", "cert.pem"))
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "certs", "ca.pem"), cert, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := (kit.Content{Seed: uint64(i), Size: 100_000}).Save(w.file("www", i)); err != nil {
			t.Fatal(err)
		}
	}
	at, err := kit.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	w.port = at.Port()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

func (w *site) file(folder string, i int) string {
	return filepath.Join(w.dir, folder, fmt.Sprintf("file%d", i))
}

func (w *site) run(ctx context.Context, role, testcase, requests string, args ...string) int {
	env := map[string]string{
		"ROLE": role, "TESTCASE": testcase, "REQUESTS": requests,
		"SSLKEYLOGFILE": filepath.Join(w.dir, role+".keys"), "QLOGDIR": filepath.Join(w.dir, "qlog-"+role),
	}
	args = append(append(args, w.args...), "-www", filepath.Join(w.dir, "www"), "-downloads", filepath.Join(w.dir, "downloads"), "-certs", filepath.Join(w.dir, "certs"))
	return run(ctx, args, func(k string) string { return env[k] }, &w.log)
}

// serve starts the server.
func (w *site) serve(testcase string) <-chan int {
	done := make(chan int, 1)
	second, err := kit.FreePort()
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		done <- w.run(w.ctx, "server", testcase, "", "-listen", fmt.Sprintf("127.0.0.1:%d", w.port),
			"-second", second.String(), "-preferred", second.String())
	}()
	return done
}

// fetch lets the client fetch the first n files.
func (w *site) fetch(testcase string, n int) int {
	var urls []string
	for i := range n {
		urls = append(urls, fmt.Sprintf("https://%s:%d/file%d", kit.HostName, w.port, i))
	}
	return w.run(w.ctx, "client", testcase, strings.Join(urls, " "))
}

// check compares the files, and looks whether both ends have written keys and qlogs.
func (w *site) check(n int) {
	for i := range n {
		want, _ := os.ReadFile(w.file("www", i))
		got, err := os.ReadFile(w.file("downloads", i))
		if err != nil || !bytes.Equal(got, want) {
			w.t.Errorf("file %d: %d bytes, want %d (%v)", i, len(got), len(want), err)
		}
	}
	for _, role := range []string{"client", "server"} {
		keys, err := os.ReadFile(filepath.Join(w.dir, role+".keys"))
		if err != nil || !strings.Contains(string(keys), "\nSERVER_HANDSHAKE_TRAFFIC_SECRET ") {
			w.t.Errorf("%s: the key log is %q (%v)", role, keys, err)
		}
		logs, err := os.ReadDir(filepath.Join(w.dir, "qlog-"+role))
		if err != nil || len(logs) == 0 {
			w.t.Errorf("%s: no qlog (%v)", role, err)
		}
	}
}
