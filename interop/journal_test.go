package interop

import (
	"context"
	"fmt"
	"strings"
	"sync"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// journalLength is how many of the last events a journal keeps for the report of a
// failure.
const journalLength = 400

// journal records what the quic-go end of a case says about itself. It counts what
// cases ask for and keeps the newest events in readable form.
type journal struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every count
	counts  counts
	lines   []string // a ring
	next    int
}

// counts is what a journal counts.
type counts struct {
	localUpdates, remoteUpdates int // key updates, by who began them
	earlyStreams                int // 0-RTT packets received that carry stream data
	challenges                  int // PATH_CHALLENGE frames received
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

// tracer is for quicgo.Config.
func (j *journal) tracer(_ context.Context, isClient bool, _ quicgo.ConnectionID) qlogwriter.Trace {
	if isClient {
		return recorder{j, "client"}
	}
	return recorder{j, "server"}
}

// count returns the counts so far, and a channel that is closed at the next change.
func (j *journal) count() (counts, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts, j.changed
}

// wait returns when the counts are as wanted.
func (j *journal) wait(ctx context.Context, enough func(counts) bool) error {
	for {
		c, changed := j.count()
		if enough(c) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for quic-go to tell: %w; so far %+v", ctx.Err(), c)
		}
	}
}

// String returns the newest events, oldest first.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	ring := j.lines
	if len(ring) == journalLength {
		ring = append(ring[j.next:len(ring):len(ring)], ring[:j.next]...)
	}
	return strings.Join(ring, "\n")
}

// recorder is the journal as one connection sees it: both interfaces of qlogwriter.
type recorder struct {
	j   *journal
	end string
}

// AddProducer implements qlogwriter.Trace.
func (r recorder) AddProducer() qlogwriter.Recorder { return r }

// Close implements io.Closer.
func (r recorder) Close() error { return nil }

// RecordEvent implements qlogwriter.Recorder.
func (r recorder) RecordEvent(e qlogwriter.Event) {
	line := describe(e)
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	before := r.j.counts
	r.j.counts.add(e)
	if r.j.counts != before {
		close(r.j.changed)
		r.j.changed = make(chan struct{})
	}
	if line == "" {
		return
	}
	line = "quic-go " + r.end + ": " + line
	if len(r.j.lines) < journalLength {
		r.j.lines = append(r.j.lines, line)
		return
	}
	r.j.lines[r.j.next] = line
	r.j.next = (r.j.next + 1) % journalLength
}

func (c *counts) add(e qlogwriter.Event) {
	switch e := e.(type) {
	case qlog.KeyUpdated:
		if e.KeyType != qlog.KeyTypeClient1RTT { // each is told for both directions
			return
		}
		switch e.Trigger {
		case qlog.KeyUpdateLocal:
			c.localUpdates++
		case qlog.KeyUpdateRemote:
			c.remoteUpdates++
		}
	case qlog.PacketReceived:
		streams := 0
		for _, f := range e.Frames {
			switch f.Frame.(type) {
			case *qlog.StreamFrame:
				streams = 1
			case *qlog.PathChallengeFrame:
				c.challenges++
			}
		}
		if e.Header.PacketType == qlog.PacketType0RTT {
			c.earlyStreams += streams
		}
	}
}

// describe returns a line about an event, "" for those that help nobody.
func describe(e qlogwriter.Event) string {
	switch e := e.(type) {
	case qlog.PacketSent:
		return fmt.Sprintf("sent     %-9s %5d %s", e.Header.PacketType, e.Header.PacketNumber, frameList(e.Frames))
	case qlog.PacketReceived:
		return fmt.Sprintf("received %-9s %5d %s", e.Header.PacketType, e.Header.PacketNumber, frameList(e.Frames))
	case qlog.PacketDropped:
		return fmt.Sprintf("dropped  %-9s %5d %s", e.Header.PacketType, e.Header.PacketNumber, e.Trigger)
	case qlog.PacketLost:
		return fmt.Sprintf("lost     %-9s %5d %s", e.Header.PacketType, e.Header.PacketNumber, e.Trigger)
	case qlog.MetricsUpdated, qlog.TimerUpdated, qlog.CongestionStateUpdated:
		return ""
	default:
		return fmt.Sprintf("%s %+v", e.Name(), e)
	}
}

func frameList(frames []qlog.Frame) string {
	var b strings.Builder
	for i, f := range frames {
		if i > 0 {
			b.WriteString(", ")
		}
		name := strings.TrimSuffix(fmt.Sprintf("%T", f.Frame)[1:], "Frame")
		b.WriteString(name[strings.LastIndexByte(name, '.')+1:])
		switch f := f.Frame.(type) {
		case *qlog.StreamFrame:
			fmt.Fprintf(&b, " %d@%d+%d", f.StreamID, f.Offset, f.Length)
			if f.Fin {
				b.WriteString(" fin")
			}
		case *qlog.CryptoFrame:
			fmt.Fprintf(&b, " @%d+%d", f.Offset, f.Length)
		case *qlog.AckFrame:
			fmt.Fprintf(&b, " %v", f.AckRanges)
		default:
			fmt.Fprintf(&b, " %+v", f)
		}
	}
	return b.String()
}
