package http3

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

var errHandlerOver = errors.New("http3: write to a response whose handler has returned")

// fix takes status and fields as they are now. What the handler does to its header later
// concerns the trailers only.
func (w *responseWriter) fix(status int) {
	w.status = status
	w.head = w.x.req.Method == "HEAD"
	w.bodiless = status == http.StatusNoContent || status == http.StatusNotModified
	w.fields = fieldBuffers.Get().(*Headers)
	h := append(*w.fields, Field{Name: ":status", Value: statusName(status)})
	for key, values := range w.header {
		name, ok := fieldName(key)
		if !ok || !w.own(name, values) {
			continue
		}
		h = appendField(h, name, values)
	}
	*w.fields = h
}

// own looks at a field that a handler has set, and reports whether it goes out as it is.
func (w *responseWriter) own(name string, values []string) bool {
	switch name {
	case "connection":
		w.last = w.last || token(values, "close")
		return false
	case "proxy-connection", "keep-alive", "transfer-encoding", "upgrade": // RFC 9114 §4.2
		return false
	case "content-length":
		if len(values) > 0 && !w.tunnel() { // RFC 9110 §8.6
			w.declare(values[0])
		}
		return false
	case "date":
		w.has |= hasDate
	case "content-type":
		w.has |= hasContentType
	case "content-encoding":
		if len(values) > 0 && values[0] != "" {
			w.has |= hasContentEncoding
		}
	case "trailer":
		if w.tunnel() {
			return false
		}
		w.declareTrailers(values)
	case "priority":
		w.prioritize(values)
	}
	return true
}

func (w *responseWriter) declare(length string) {
	length = strings.Trim(length, " \t")
	n, err := strconv.ParseUint(length, 10, 63)
	if err != nil {
		w.notef("set an invalid Content-Length of %q", length)
		return
	}
	w.length, w.declared = int64(n), length
}

// prioritize merges what the response says of its priority into what the client wants (RFC
// 9218 §8).
func (w *responseWriter) prioritize(values []string) {
	var p Priority
	p.Urgency, p.Incremental = w.x.st.q.Priority()
	if p.merge(strings.Join(values, ",")) {
		_ = w.x.st.SetPriority(p)
	}
}

// appendField appends a field's values. Those that may not stand in a field are left out, as
// net/http does with HTTP/2.
func appendField(h Headers, name string, values []string) Headers {
	for _, v := range values {
		if validValue(v) && name != "te" { // which is for requests (RFC 9114 §4.2)
			h = append(h, Field{Name: name, Value: v})
		}
	}
	return h
}

// complete adds what the handler has left to us, when the block is to go. With last, body is
// all there is.
func (w *responseWriter) complete(body []byte, last bool) {
	h := *w.fields
	if w.length < 0 && last && !w.bodiless && (len(body) > 0 || !w.head) && w.x.req.Method != "CONNECT" {
		w.length = int64(len(body))
		w.declared = strconv.FormatInt(w.length, 10)
	}
	if w.length >= 0 && w.status != http.StatusNoContent { // RFC 9110 §8.6
		h = append(h, Field{Name: "content-length", Value: w.declared})
	}
	if w.has&(hasContentType|hasContentEncoding) == 0 && !w.bodiless && len(body) > 0 {
		h = append(h, Field{Name: "content-type", Value: http.DetectContentType(body)})
	}
	if w.has&hasDate == 0 {
		h = append(h, Field{Name: "date", Value: date()})
	}
	*w.fields = h
}

// tunnel reports whether the response turns the stream into a tunnel.
func (w *responseWriter) tunnel() bool { return w.x.req.Method == "CONNECT" && w.status < 300 }

// inform sends an informational response (RFC 9114 §4.1).
func (w *responseWriter) inform(status int) {
	if status == http.StatusSwitchingProtocols { // RFC 9114 §4.5
		w.note = "http3: HTTP/3 has no status 101, WriteHeader was called from " + caller()
		return
	}
	if status == http.StatusContinue {
		w.x.body.expected.Store(false)
	}
	h := Headers{{Name: ":status", Value: statusName(status)}}
	for key, values := range w.header {
		name, ok := fieldName(key)
		switch name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "content-length":
			continue
		}
		if ok {
			h = appendField(h, name, values)
		}
	}
	_ = w.x.st.SubmitInformationalHeaders(h) // the final response meets the same error
}

// goOn sends 100 to a client that waits for it, unless the answer has gone already.
func (w *responseWriter) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sent && !w.over {
		_ = w.x.st.SubmitInformationalHeaders(Headers{{Name: ":status", Value: "100"}})
	}
}

// declareTrailers notes the fields that a Trailer field announces.
func (w *responseWriter) declareTrailers(values []string) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			if httpguts.ValidTrailerHeader(name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
}

// trailing returns the trailers: what was announced, and what has http.TrailerPrefix before
// its name.
func (w *responseWriter) trailing() Headers {
	if w.tunnel() {
		return nil
	}
	var h Headers
	for _, key := range w.trailers {
		if name, ok := fieldName(key); ok {
			h = appendField(h, name, w.header[key])
		}
	}
	for key, values := range w.header {
		key, is := strings.CutPrefix(key, http.TrailerPrefix)
		if !is || !httpguts.ValidTrailerHeader(key) {
			continue
		}
		if name, ok := fieldName(key); ok {
			h = appendField(h, name, values)
		}
	}
	return h
}

// statusName returns the three digits of a status.
func statusName(status int) string {
	const first, size = 100, 3
	if at := (status - first) * size; at < len(statusDigits) {
		return statusDigits[at : at+size]
	}
	return strconv.Itoa(status)
}

var statusDigits = func() string {
	var b []byte
	for status := 100; status < 600; status++ {
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return string(b)
}()

// dateNow is the current second in words.
var dateNow atomic.Pointer[dateText]

type dateText struct {
	second int64
	text   string
}

// date returns the value of a Date field (RFC 9110 §6.6.1).
func date() string {
	t := time.Now()
	d := dateNow.Load()
	if d == nil || d.second != t.Unix() {
		d = &dateText{t.Unix(), t.UTC().Format(http.TimeFormat)}
		dateNow.Store(d)
	}
	return d.text
}

// caller returns the place outside of this file and response.go that has called them.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, ".(*responseWriter).") {
			return fmt.Sprintf("%s (%s:%d)", f.Function, path.Base(f.File), f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
