package http3

import (
	"net/http"
	"testing"
	"time"
)

// A goroutine that a handler leaves behind can set no deadline for a response that is complete: it
// would cut off what is still on its way.
func TestDeadlineAfterHandler(t *testing.T) {
	kept := make(chan *responseWriter, 1)
	c := newRaw(t, handler(func(w http.ResponseWriter, _ *http.Request) { kept <- w.(*responseWriter) }), Options{})
	h, _ := c.ask(requestBlock("GET", "/"))
	wantStatus(t, h, "200")
	w := <-kept
	eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.over
	})
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
	w.tmu.Lock()
	defer w.tmu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		t.Error("a timer runs")
	}
}
