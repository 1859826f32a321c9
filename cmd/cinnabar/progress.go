package main

import (
	"cmp"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a transfer is, if there is a terminal to show it on.
type progress struct{ bar *progressbar.ProgressBar }

func newProgress(w io.Writer, what string, total int64) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return showProgress(w, what, total)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// showProgress shows a bar wherever w leads.
func showProgress(w io.Writer, what string, total int64) *progress {
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// add tells of n more bytes.
func (p *progress) add(n int) {
	if p.bar != nil {
		p.bar.Add(n)
	}
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear()
		p.bar.Exit()
	}
}

// getProgress is one bar for all that get transfers. A nil one shows nothing.
type getProgress struct {
	*progress
	mu    sync.Mutex
	total int64 // bytes to come, as far as that is known; negative if it is not
}

// newGetProgress shows a bar where it disturbs nothing: not on a terminal that shows
// the answer, too.
func newGetProgress(c *getCommand, a *app, p *plan) *getProgress {
	bar := &progress{}
	what := plural(len(p.items), "URL")
	if len(p.items) == 1 {
		what = cmp.Or(p.items[0].target.Path, p.items[0].url.Redacted())
	}
	switch {
	case c.Silent:
	case c.Progress:
		bar = showProgress(a.stderr, what, -1)
	case !p.stdout || !isTerminal(a.stdout):
		bar = newProgress(a.stderr, what, -1)
	}
	if bar.bar == nil {
		return nil
	}
	bar.bar.RenderBlank()
	return &getProgress{progress: bar}
}

// Expect adds to what is to come.
func (p *getProgress) Expect(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes < 0 || p.total < 0 {
		p.total = -1
		p.bar.ChangeMax64(-1)
		return
	}
	p.total += bytes
	p.bar.ChangeMax64(p.total + 1) // one more, as a full bar would be over, and there may be another URL
}

// Add tells of n more bytes.
func (p *getProgress) Add(n int) { p.add(n) }

// end removes the bar.
func (p *getProgress) end() {
	if p != nil {
		p.progress.end()
	}
}
