package http3

import (
	"context"
	"sync"
)

// handlingContext is the context of a request: it ends with the session, when the client gives
// the request up, and when the handler returns. Nothing is watched before somebody
// asks, so that a request whose handler does not ask pays nothing for it.
type handlingContext struct {
	context.Context // the session's

	st     *Stream
	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelFunc
	ended  bool
}

// Done returns the channel of the context, which begins to watch the stream.
func (c *handlingContext) Done() <-chan struct{} { return c.watched().Done() }

// Err returns why the context is over, nil if it is not.
func (c *handlingContext) Err() error { return c.watched().Err() }

// Value looks in the session's context. Package context finds its own there, too.
func (c *handlingContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.Context.Value(key)
}

func (c *handlingContext) watched() context.Context {
	c.mu.Lock()
	inner, first, ended := c.inner, c.inner == nil, c.ended
	if first {
		inner, c.cancel = context.WithCancel(c.Context)
		c.inner = inner
	}
	cancel := c.cancel
	c.mu.Unlock()
	switch {
	case !first:
	case ended:
		cancel()
	default:
		c.st.mu.Lock()
		c.st.onAbort = func(error) { cancel() }
		c.st.mu.Unlock()
		c.st.watch()
		if _, reset := c.st.q.ResetReceived(); reset || c.st.q.Err() != nil { // before anybody watched
			cancel()
		}
	}
	return inner
}

// end ends the context.
func (c *handlingContext) end() {
	c.mu.Lock()
	c.ended = true
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
