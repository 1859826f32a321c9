package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeStream reads from one place and writes to another.
type fakeStream struct {
	io.Reader
	bytes.Buffer
}

func (s *fakeStream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func (s *fakeStream) finish(p []byte) error {
	s.Write(p)
	return nil
}

func (s *fakeStream) done() {}

// TestUploadIsChecked sends uploads that are whole and that are not.
func TestUploadIsChecked(t *testing.T) {
	r := request{number: 12345, size: 2*ioChunk + 17}
	good := r.appendTo(nil)
	for off := int64(0); off < r.size; off++ {
		good = append(good, content(r.offset()+off, 1)[0])
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error // nil if the upload is confirmed
		fails bool  // the run, although no client notices
	}{
		{"whole", good, nil, false},
		{"flipped", flipped, errContent, true},
		{"short", good[:len(good)-1], io.ErrUnexpectedEOF, false},
	} {
		e := &endpoints{b: &bench{}}
		s := &fakeStream{Reader: bytes.NewReader(c.bytes)}
		err := e.take(s)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s upload: error %v, want %v", c.name, err, c.want)
		}
		if (e.b.serverErr != nil) != c.fails {
			t.Errorf("%s upload: the run's error is %v", c.name, e.b.serverErr)
		}
		confirmed := bytes.Equal(s.Buffer.Bytes(), content(r.offset(), answerSize))
		if confirmed != (c.want == nil) {
			t.Errorf("%s upload: confirmed: %t", c.name, confirmed)
		}
	}
}

// TestLoad has fixed times: one request of each session in each period, in order.
func TestLoad(t *testing.T) {
	const active = 50
	b := &bench{spec: spec{Seed: 7, Duration: 300 * time.Millisecond}}
	l, again := newLoad(b, active), newLoad(b, active)
	if n := len(l.took); n != 3*active {
		t.Fatalf("%d requests, want 3 of each session", n)
	}
	begin := time.Now()
	last := begin
	for i := range l.took {
		due := l.due(begin, i)
		period := begin.Add(time.Duration(i/active) * manyPeriod)
		if due.Before(last) || due.Before(period) || !due.Before(period.Add(manyPeriod)) {
			t.Fatalf("request %d is due %v after the begin", i, due.Sub(begin))
		}
		if i >= active && due.Sub(l.due(begin, i-active)) != manyPeriod {
			t.Fatalf("request %d does not follow the last of its session after %v", i, manyPeriod)
		}
		if !due.Equal(again.due(begin, i)) {
			t.Fatalf("request %d is at another time with the same seed", i)
		}
		last = due
	}
}

func TestPercentile(t *testing.T) {
	l := make(latencies, 200)
	for i := range l {
		l[i] = time.Duration(i+1) * time.Microsecond
	}
	for p, want := range map[int]float64{0: 1, 1: 2, 50: 100, 99: 198, 100: 200} {
		if got := l.percentile(p); got != want {
			t.Errorf("percentile %d is %v, want %v", p, got, want)
		}
	}
	if got := l[:1].percentile(99); got != 1 {
		t.Errorf("percentile 99 of one is %v", got)
	}
	if got := (latencies)(nil).percentile(50); got != 0 {
		t.Errorf("percentile 50 of none is %v", got)
	}
}

// TestFileLimit is about what a connection costs over TCP: the workload must
// shrink, and say so, where the system does not allow as many as are wanted.
func TestFileLimit(t *testing.T) {
	const unlimited = 1 << 29 // more than any system allows a process
	b := &bench{spec: spec{Sessions: unlimited}}
	n, err := overStreams{persistent: true}.sessions(b)
	if err != nil {
		t.Fatal(err)
	}
	if n < 1 || n >= unlimited || len(b.result.Notes) != 1 || !strings.Contains(b.result.Notes[0], "ulimit") {
		t.Errorf("%d sessions, notes %q", n, b.result.Notes)
	}
	b = &bench{spec: spec{Sessions: unlimited}}
	if n, err := (overStreams{}).sessions(b); n != unlimited || err != nil || len(b.result.Notes) != 0 {
		t.Errorf("%d sessions of one socket, %v, notes %q", n, err, b.result.Notes)
	}
}
