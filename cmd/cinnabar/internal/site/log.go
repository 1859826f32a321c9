package site

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Record is what an access log has of one request.
type Record struct {
	Time     time.Time // when it came
	Remote   string    // the client's IP address
	Method   string
	Target   string // as the client wrote it
	Protocol string // such as HTTP/3.0
	Status   int
	Bytes    int64 // of the body that was sent
	Duration time.Duration
	Referer  string
	Agent    string
	Cut      bool // the answer did not come to its end
}

// Log tells write of every request that h has answered.
func Log(h http.Handler, write func(*Record)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &Record{
			Time: time.Now(), Remote: r.RemoteAddr, Method: r.Method, Target: r.RequestURI,
			Protocol: r.Proto, Referer: r.Referer(), Agent: r.UserAgent(),
		}
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			rec.Remote = host
		}
		if rec.Target == "" {
			rec.Target = r.URL.RequestURI()
		}
		for _, text := range []*string{&rec.Method, &rec.Target, &rec.Referer, &rec.Agent} {
			*text = cut(*text)
		}
		out := &recorder{ResponseWriter: w, rec: rec}
		complete := false
		defer func() {
			rec.Duration = time.Since(rec.Time)
			rec.Cut = rec.Cut || !complete
			if rec.Status == 0 {
				rec.Status = http.StatusOK // of a handler that wrote nothing
			}
			if r.Method == http.MethodHead {
				rec.Bytes = 0 // whatever the handler wrote
			}
			write(rec)
		}()
		h.ServeHTTP(out, r)
		complete = true
	})
}

// maxLogged is how many bytes a record has of what a client chooses.
const maxLogged = 1 << 10

// cut shortens a text that is too long, not within a character if it has any.
func cut(text string) string {
	if len(text) <= maxLogged {
		return text
	}
	n := maxLogged
	for n > maxLogged-utf8.UTFMax+1 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}

// Line is the record in the combined format of old, with the duration behind it.
func (r *Record) Line() string {
	line := fmt.Sprintf("%s - - [%s] %s %d %d %s %s %s", dash(r.Remote), r.Time.Format("02/Jan/2006:15:04:05 -0700"),
		strconv.Quote(r.Method+" "+r.Target+" "+r.Protocol), r.Status, r.Bytes,
		strconv.Quote(dash(r.Referer)), strconv.Quote(dash(r.Agent)), r.Duration.Round(10*time.Microsecond))
	if r.Cut {
		line += " cut"
	}
	return line
}

// JSON is the record as one line of JSON, fit for a terminal.
func (r *Record) JSON() string {
	line, err := json.Marshal(struct {
		Time     time.Time `json:"time"`
		Remote   string    `json:"remote"`
		Method   string    `json:"method"`
		Target   string    `json:"target"`
		Protocol string    `json:"protocol"`
		Status   int       `json:"status"`
		Bytes    int64     `json:"bytes"`
		Seconds  float64   `json:"seconds"`
		Referer  string    `json:"referer,omitempty"`
		Agent    string    `json:"agent,omitempty"`
		Cut      bool      `json:"cut,omitempty"`
	}{r.Time, r.Remote, r.Method, r.Target, r.Protocol, r.Status, r.Bytes, r.Duration.Seconds(), r.Referer, r.Agent, r.Cut})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return escaped(string(line))
}

// escaped writes characters in the strings of a JSON text by their numbers that JSON takes as they are,
// and that do something to a terminal.
func escaped(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !unprintable(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// recorder sees what a handler answers.
type recorder struct {
	http.ResponseWriter
	rec *Record
}

// WriteHeader notes the final status.
func (w *recorder) WriteHeader(status int) {
	if w.rec.Status == 0 && status >= 200 {
		w.rec.Status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts the body.
func (w *recorder) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.wrote(int64(n), err)
	return n, err
}

// ReadFrom leaves the copying to whoever carries the answer.
func (w *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, src)
	w.wrote(n, err)
	return n, err
}

func (w *recorder) wrote(n int64, err error) {
	if w.rec.Status == 0 {
		w.rec.Status = http.StatusOK
	}
	w.rec.Bytes += n
	if err != nil && err != http.ErrBodyNotAllowed { // what HEAD does not want is no loss
		w.rec.Cut = true
	}
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
