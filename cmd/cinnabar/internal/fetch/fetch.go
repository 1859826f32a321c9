// Package fetch is a command-line client's way with one URL, as the users of curl know
// it: what is asked, which redirects are followed, how a file is resumed, and which
// status each failure ends in. It asks through any http.RoundTripper.
package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Client fetches URLs. Its fields are not changed while it does; it may fetch several at once.
type Client struct {
	Transport http.RoundTripper
	Request   Request

	Include      bool          // the header fields of answers go to the target, too
	Compressed   bool          // ask for a compressed answer, and unpack it
	Fail         bool          // a status of 400 or more is an error, and its body of no interest
	Follow       bool          // redirects
	MaxRedirects int           // how many at most; negative means any number
	MaxTime      time.Duration // of one attempt; 0 means any time
	Retries      int           // after failures that may pass

	// Wait waits before a retry; nil waits for the time to pass.
	Wait func(ctx context.Context, d time.Duration) error
	// Trace is told what is sent and received: lines that begin with *, > or <. It may be nil.
	Trace func(line string)
	// Protocol is what requests are sent by, for Trace, if that is known before.
	Protocol string
	// Progress is told of bodies; it may be nil.
	Progress Progress
}

// Progress shows how far transfers are. Its methods are called by all transfers at once.
type Progress interface {
	Expect(bytes int64) // so many are to come; negative if nobody knows
	Add(n int)          // so many have come
}

// Fetch asks for a URL and brings the answer to its target. An error is an *Error, or
// that of the context if it has ended.
func (c *Client) Fetch(ctx context.Context, u *url.URL, to *Target) error {
	for attempt := 0; ; attempt++ {
		err := c.attempt(ctx, u, to, attempt < c.Retries)
		var again *transient
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.As(err, &again) || attempt == c.Retries || to.wrote && to.Path == "":
			return err
		}
		pause := again.after
		if pause < 0 {
			pause = min(time.Second<<min(attempt, 10), 10*time.Minute)
		}
		c.trace("* %v; trying again in %v", again.err, pause)
		if err := c.wait(ctx, pause); err != nil {
			return err
		}
	}
}

// transient is a failure that may pass.
type transient struct {
	err   error
	after time.Duration // what the server asks us to wait; negative if it does not
}

func (e *transient) Error() string { return e.err.Error() }
func (e *transient) Unwrap() error { return e.err }

func (c *Client) wait(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// attempt asks once, redirects and all. If there may be another attempt, an answer
// that asks for one is an error.
func (c *Client) attempt(ctx context.Context, u *url.URL, to *Target, more bool) error {
	if c.MaxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.MaxTime, errMaxTime)
		defer cancel()
	}
	if err := to.begin(); err != nil {
		return err
	}
	var heads bytes.Buffer // of redirects
	resp, err := c.follow(ctx, u, to, &heads)
	if err != nil {
		return c.failure(ctx, err)
	}
	defer resp.Body.Close()
	if more && passing(resp.StatusCode) {
		return &transient{fmt.Errorf("the server answered %s", statusLine(resp)), retryAfter(resp)}
	}
	if err := c.deliver(resp, to, heads.Bytes()); err != nil {
		return c.failure(ctx, err)
	}
	return nil
}

// passing reports whether a status may be another one soon.
func passing(status int) bool {
	return slices.Contains([]int{408, 429, 500, 502, 503, 504}, status)
}

// retryAfter is how long the server asks to wait, if it says so in seconds and is modest.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > 3600 {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

// failure makes an *Error of whatever ended an attempt, and knows what may pass.
func (c *Client) failure(ctx context.Context, err error) error {
	if context.Cause(ctx) == errMaxTime {
		err = &Error{Timeout, fmt.Errorf("it was not complete after %v: %w", c.MaxTime, err)}
	}
	e := classify(err)
	switch e.Code {
	case Timeout, Connect, Partial, Receive:
		return &transient{e, -1}
	}
	return e
}

// trace writes a line for those who want to see everything.
func (c *Client) trace(format string, args ...any) {
	if c.Trace != nil {
		c.Trace(fmt.Sprintf(format, args...))
	}
}
