package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
)

type getCommand struct {
	URLs []string `arg:"" name:"url" help:"What to fetch; https:// may be left out."`

	Output     []string `short:"o" sep:"none" placeholder:"FILE" group:"output" help:"Write to this file; - is standard output. Give it once for each URL."`
	RemoteName bool     `short:"O" group:"output" help:"Write each URL to a file named like its last part."`
	ContinueAt string   `short:"C" placeholder:"OFFSET" group:"output" help:"Go on from this byte; - is where the file ends."`
	Include    bool     `short:"i" group:"output" help:"Write the header fields of the answer, too."`
	Fail       bool     `short:"f" group:"output" help:"Write nothing of answers with a status of 400 or more, and exit with 22."`
	Compressed bool     `group:"output" help:"Ask for a compressed answer, and unpack it."`
	Parallel   int      `default:"8" placeholder:"N" group:"output" help:"Fetch so many URLs at once (${default}), if all go to files."`

	Request    string   `short:"X" placeholder:"METHOD" group:"request" help:"Use this method."`
	Head       bool     `short:"I" group:"request" help:"Ask for the header fields only, and show them."`
	Header     []string `short:"H" sep:"none" placeholder:"FIELD" group:"request" help:"Send \"Name: value\"; \"Name;\" sends an empty field, \"Name:\" sends none."`
	Data       []string `short:"d" sep:"none" placeholder:"DATA" group:"request" help:"POST this form; @FILE is a file without its line ends, @- standard input. Several are joined by &."`
	DataBinary []string `sep:"none" placeholder:"DATA" group:"request" help:"POST this as it is; @FILE is a file."`
	JSON       string   `name:"json" placeholder:"DATA" group:"request" help:"POST this JSON; @FILE is a file."`
	UploadFile string   `short:"T" placeholder:"FILE" group:"request" help:"PUT this file; - is standard input."`
	User       string   `short:"u" placeholder:"NAME:PASSWORD" group:"request" help:"Show this name and password to the URL's host."`
	UserAgent  *string  `short:"A" placeholder:"NAME" group:"request" help:"Call yourself this."`
	Location   bool     `short:"L" group:"request" help:"Follow redirects."`
	MaxRedirs  int      `default:"10" placeholder:"N" group:"request" help:"How many at most (${default}); -1 is any number."`

	CACert         string       `name:"cacert" xor:"trust" placeholder:"FILE" group:"connection" help:"Trust the certificates in this PEM file instead of the system's."`
	Pin            *fingerprint `xor:"trust" placeholder:"FINGERPRINT" group:"connection" help:"Trust the one key that has this fingerprint (serve prints it)."`
	Insecure       bool         `short:"k" xor:"trust" group:"connection" help:"Trust whoever answers: no protection against somebody in between."`
	Fallback       bool         `group:"connection" help:"Use HTTP/2 or HTTP/1.1 where HTTP/3 is not to be had."`
	Resolve        []string     `sep:"none" placeholder:"HOST:PORT:ADDRESS" group:"connection" help:"Look for this host and port at this address; the host * is every other name."`
	dialVersions   `embed:"" group:"connection"`
	ConnectTimeout seconds `placeholder:"SECONDS" group:"connection" help:"How long connecting may take (10)."`
	MaxTime        seconds `short:"m" placeholder:"SECONDS" group:"connection" help:"How long each URL may take."`
	Retry          int     `placeholder:"N" group:"connection" help:"Try again so often after failures that may pass: no connection, an answer cut off, 408, 429, 5xx."`

	Verbose   bool   `short:"v" group:"show" help:"Show connections and header fields on standard error."`
	Silent    bool   `short:"s" group:"show" help:"Show neither progress nor errors."`
	ShowError bool   `short:"S" group:"show" help:"With -s, show errors."`
	Progress  bool   `group:"show" help:"Show progress even where there is no terminal."`
	Stats     bool   `group:"show" help:"Show the figures of every session at the end."`
	TraceQlog string `name:"trace-qlog" placeholder:"FILE" group:"show" help:"Write the qlog of the session; further ones get .2, .3 and so on behind the name."`
	Keylog    string `name:"keylog" env:"SSLKEYLOGFILE" placeholder:"FILE" group:"show" help:"Append the sessions' secrets, so that Wireshark can decrypt them."`
}

// Help is shown below the flags.
func (*getCommand) Help() string {
	return `Several URLs go to standard output one after the other, and to files at once, over one session for each host.
Files are written in place: what came of an answer that was cut off, or what the disk had room for, stays, the exit status
tells, and -C - goes on from there. A log that cannot be written harms no answer, and is exit status 1. A password is sent to no other host that a redirect leads to.

Exit status, as of curl: 0 all is well, 1 not https, 2 usage, 3 no URL, 6 no such host, 7 no connection, 18 the answer ended
too early, 22 status 400 or more with -f, 23 cannot write, 26 cannot read, 28 too late, 33 cannot go on with a file,
35 TLS failed, 47 too many redirects, 56 receiving failed, 60 the certificate, 61 the encoding,
65 cannot send a second time, 77 cannot read --cacert, 90 the key is not the pinned one; 130 interrupted. Of several failures, the first URL's counts.

Examples:

    cinnabar get https://example.org/
    cinnabar get -LO -C - https://example.org/large.iso
    cinnabar get -d name=value -d @more.txt -H 'Accept: application/json' https://example.org/form`
}

// groups are the headings of the options in the help.
var getGroups = []kong.Group{
	{Key: "output", Title: "What becomes of the answer:"},
	{Key: "request", Title: "What is asked:"},
	{Key: "connection", Title: "How it is connected:"},
	{Key: "show", Title: "What is shown:"},
}

// Run fetches all URLs.
func (c *getCommand) Run(a *app) error {
	p, err := c.plan(a)
	if err != nil {
		return err
	}
	if c.Verbose {
		p.client.Trace = func(line string) { a.notef("%s", printableLine(line)) }
	}
	t, err := newTransport(c, p.client.Trace)
	if err != nil {
		return err
	}
	bar := newGetProgress(c, a, p)
	p.client.Transport = t
	if bar != nil {
		p.client.Progress = bar
	}
	errs := c.fetchAll(a.ctx, p)
	bar.end()
	return cmp.Or(c.verdict(a, p, errs), t.finish(a))
}

// fetchAll fetches as many at once as it may, in order.
func (c *getCommand) fetchAll(ctx context.Context, p *plan) []error {
	errs := make([]error, len(p.items))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(p.parallel, len(p.items)) {
		workers.Go(func() {
			for i := range next {
				errs[i] = p.client.Fetch(ctx, p.items[i].url, p.items[i].target)
			}
		})
	}
	for i := range p.items {
		next <- i
	}
	close(next)
	workers.Wait()
	return errs
}

// verdict is the error of the whole command.
func (c *getCommand) verdict(a *app, p *plan, errs []error) error {
	if a.ctx.Err() != nil {
		return errInterrupted
	}
	var first *codedError
	failed := 0
	for i, err := range errs {
		if err == nil {
			continue
		}
		e := &codedError{exitFailed, printableLine(fmt.Sprintf("%s: %v", p.items[i].url.Redacted(), err))}
		var fetched *fetch.Error
		if errors.As(err, &fetched) {
			e.status = int(fetched.Code)
		}
		if failed++; first == nil {
			first = e
		}
		if len(errs) > 1 && !c.mute() {
			a.notef("%s", e.text)
		}
	}
	switch {
	case first == nil:
		return nil
	case c.mute():
		first.text = ""
	case len(errs) > 1:
		first.text = fmt.Sprintf("%d of %s failed", failed, plural(len(errs), "URL"))
	}
	return first
}

// mute reports whether errors are not to be shown.
func (c *getCommand) mute() bool { return c.Silent && !c.ShowError }

// seconds is a time on the command line: 10, 2.5, or 500ms.
type seconds time.Duration

// UnmarshalText parses a time.
func (s *seconds) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if v, floatErr := strconv.ParseFloat(string(text), 64); floatErr == nil {
		d, err = time.Duration(v*float64(time.Second)), nil
		if !(v <= 1e9) {
			d = 0
		}
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no time; write a number of seconds, or 500ms or 2m", text)
	}
	*s = seconds(d)
	return nil
}

// item is one URL and where it goes.
type item struct {
	url    *url.URL
	target *fetch.Target
}
