package browser

import (
	"context"

	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// patience is how long one server's whole run may take.
const patience = 2 * time.Minute

// TestChromium opens a page by HTTP/3 alone, sends a form, reads a large body, and does
// all that again after the server was stopped and started.
func TestChromium(t *testing.T) {
	path := kit.Find(t, "chromium", "Debian's chromium")
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	for _, kind := range servers() {
		t.Run(kind.name, func(t *testing.T) {
			id, err := kit.NewIdentity(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			p := place{id: id, dir: t.TempDir()}
			if err := newFolder(p.dir); err != nil {
				t.Fatal(err)
			}
			if p.at, err = kit.FreePort(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b := open(ctx, t, path, p)
			for i, visit := range []string{"first server", "server after a restart"} {
				s, err := kind.start(ctx, t, p)
				if err != nil {
					t.Fatalf("starting the server: %v", err)
				}
				t.Run(visit, func(t *testing.T) {
					b.wantPage(t)
					b.wantUpload(t, fmt.Sprintf("bytes-%d.bin", i), s.stored)
					b.wantDownload(t)
				})
				if err := s.stop(); err != nil {
					t.Fatalf("stopping the server: %v", err)
				}
			}
		})
	}
}

// browser is a Chromium that speaks nothing but HTTP/3 with one origin.
type browser struct {
	ctx    context.Context
	origin string

	mu   sync.Mutex
	came map[string]string // path to protocol, as the network says
	bad  []string          // what the console and the network complain about
}

// open starts one with a fresh profile: without one it ignores what is said about
// QUIC and certificates here.
func open(ctx context.Context, t *testing.T, path string, p place) *browser {
	host := fmt.Sprintf("%s:%d", kit.HostName, p.at.Port())
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options,
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("origin-to-force-quic-on", host),
		chromedp.Flag("ignore-certificate-errors-spki-list", p.id.SPKI),
		chromedp.Flag("host-resolver-rules", "MAP "+kit.HostName+" 127.0.0.1"), // never ::1
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx, origin: "https://" + host, came: make(map[string]string)}
	if err := chromedp.Listen(ctx, b.notice); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	if _, err := chromedp.Call(ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Logf("Chromium says:\n%s", strings.Join(b.bad, "\n"))
		}
	})
	return b
}

func (b *browser) notice(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventResponseReceived:
		if u, err := url.Parse(ev.Response.URL); err == nil {
			b.came[u.Path] = ev.Response.Protocol
		}
	case *network.EventLoadingFailed:
		b.bad = append(b.bad, fmt.Sprintf("%s: %s", ev.Type, ev.ErrorText))
	case *runtime.EventExceptionThrown:
		b.bad = append(b.bad, ev.ExceptionDetails.Text)
	}
}

// evaluate runs a script, and waits for its promise.
func evaluate[T any](b *browser, script string) (T, error) {
	return chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// wantPage opens the page, and wants it and all of its assets to have come by HTTP/3,
// as the page sees it and as the network does.
func (b *browser) wantPage(t *testing.T) {
	b.mu.Lock()
	clear(b.came)
	b.mu.Unlock()
	if _, err := chromedp.Run(b.ctx, chromedp.Navigate(b.origin+"/")); err != nil {
		t.Fatalf("opening the page: %v", err)
	}
	protocols, err := evaluate[map[string]string](b, "protocols()")
	if err != nil {
		t.Fatalf("asking the page for its protocols: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, path := range []string{"/", "/style.css", "/script.js", "/icon.svg"} {
		if protocols[path] != "h3" || b.came[path] != "h3" {
			t.Errorf("%s came by %q as the page sees it and by %q as the network does, want h3", path, protocols[path], b.came[path])
		}
	}
}

// wantUpload sends the form, with a file that the server is asked for afterwards.
func (b *browser) wantUpload(t *testing.T, name string, stored func(string) (kit.Digest, error)) {
	got, err := evaluate[struct {
		Sum    string
		Status int
	}](b, fmt.Sprintf("upload(%q, %d)", name, uploadSize))
	if err != nil {
		t.Fatalf("uploading: %v", err)
	}
	if got.Status != 200 {
		t.Fatalf("uploading: status %d", got.Status)
	}
	d, err := stored(name)
	if want := (kit.Digest{Size: uploadSize, Sum: got.Sum}); err != nil || d != want {
		t.Errorf("uploading: the server has %+v, %v, want %+v", d, err, want)
	}
}

// wantDownload reads the large body.
func (b *browser) wantDownload(t *testing.T) {
	got, err := evaluate[struct {
		Status int
		Size   int64
		Sum    uint32
	}](b, `download("large.bin")`)
	if err != nil {
		t.Fatalf("downloading: %v", err)
	}
	if want := largeSum(); got.Status != 200 || got.Size != large.Size || got.Sum != want {
		t.Errorf("downloading: status %d, %d bytes with sum %08x, want 200, %d, %08x", got.Status, got.Size, got.Sum, large.Size, want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.came["/large.bin"] != "h3" || b.came["/in/"] != "h3" {
		t.Errorf("the transfers came by %q and %q, want h3", b.came["/in/"], b.came["/large.bin"])
	}
}
