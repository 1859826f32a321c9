package site

import (
	"io"
	"net/http"
	"time"
)

// Patient gives up on clients that do not take what they have asked for: a piece of an answer may take
// so long, and a whole one as long as it moves. 0 is for ever. Until the first piece there is no limit: an upload may
// have to come first, whose reader has a limit of its own, and in HTTP/2 and HTTP/3 the limit would end that, too.
func Patient(h http.Handler, stall time.Duration) http.Handler {
	if stall <= 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		out := &patientWriter{ResponseWriter: w, c: c, stall: stall}
		_ = c.SetWriteDeadline(time.Time{}) // none that an earlier request of the connection has left
		h.ServeHTTP(out, r)
		out.extend() // for what is still in buffers
	})
}

// patientPiece is how much of a body the time is for.
const patientPiece = 64 << 10

type patientWriter struct {
	http.ResponseWriter
	c     *http.ResponseController
	stall time.Duration
}

func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) extend() {
	_ = w.c.SetWriteDeadline(time.Now().Add(w.stall)) // of a writer that has none, nothing is known
}

func (w *patientWriter) Write(p []byte) (n int, err error) {
	for first := true; first || len(p) > 0 && err == nil; first = false {
		w.extend()
		piece := p[:min(len(p), patientPiece)]
		m := 0
		m, err = w.ResponseWriter.Write(piece)
		n, p = n+m, p[len(piece):]
	}
	return n, err
}

// ReadFrom lets files go the short way, a piece at a time.
func (w *patientWriter) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		w.extend()
		m, err := io.Copy(w.ResponseWriter, io.LimitReader(r, patientPiece))
		n += m
		if err != nil || m < patientPiece {
			return n, err
		}
	}
}
