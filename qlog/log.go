package qlog

import (
	"bytes"
	"strconv"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Event is something that can be logged.
type Event interface {
	// Name returns the event's name with its namespace, such as "quic:packet_sent".
	Name() string
	// Encode writes the members of the event's data.
	Encode(e *Encoder)
}

// Format is how a log is serialised.
type Format uint8

const (
	// Seq is one JSON text for each event, each behind a record separator
	// (RFC 7464): it can be read while it grows.
	Seq Format = iota
	// JSON is a single JSON text, which is whole when the log has ended.
	JSON
)

// maxPending is how many bytes of records a Log holds until they are taken. It is only
// there so that nothing can grow without an end: records are taken after each batch.
const maxPending = 8 << 20

// Time is a point in time: nanoseconds from a start of the program's choice.
type Time = mono.Time

// Log collects events as records: JSON objects, each with a line feed behind it and
// none within. It is not safe for concurrent use.
type Log struct {
	e       Encoder
	start   Time
	last    Time
	dropped uint64
}

// NewLog returns a log whose times count from start.
func NewLog(start Time) *Log { return &Log{start: start, last: start} }

// Start returns what the times of the log count from.
func (l *Log) Start() Time { return l.start }

// Add logs an event of the time t. Times never fall: one before that of the event before
// counts as that. tuple says which network path the event is about, "" for the first
// one or none in particular.
func (l *Log) Add(t Time, tuple string, v Event) {
	if len(l.e.b) >= maxPending {
		l.dropped++
		return
	}
	l.last = max(l.last, t)
	e := &l.e
	e.more = false
	e.Open("")
	e.Duration("time", l.last.Sub(l.start))
	e.String("name", v.Name())
	e.OptString("tuple", tuple)
	e.Open("data")
	v.Encode(e)
	e.Close()
	e.Close()
	e.b = append(e.b, '\n')
}

// Empty reports whether there is nothing to take.
func (l *Log) Empty() bool { return len(l.e.b) == 0 }

// Take returns the records that have come since the last Take, and how many events
// found no room. The records are borrowed until the next Add.
func (l *Log) Take() (records []byte, dropped uint64) {
	records, dropped = l.e.b, l.dropped
	l.e.b, l.dropped = l.e.b[:0], 0
	if cap(records) > maxIdle {
		l.e.b = nil
	}
	return records, dropped
}

// maxIdle is how much memory an empty buffer keeps.
const maxIdle = 64 << 10 // no limit: of a pool

// The identifiers of the schemas that logs are written after.
const (
	// FileSeq is the file schema of Seq.
	FileSeq = "urn:ietf:params:qlog:file:sequential"
	// FileContained is the file schema of JSON.
	FileContained = "urn:ietf:params:qlog:file:contained"
	// EventsQUIC is the event schema of QUIC: the draft that was current, as those who
	// follow a draft must say.
	EventsQUIC = "urn:ietf:params:qlog:events:quic-13"
	// EventsLogLevel is the event schema of free text, of which Dropped is.
	EventsLogLevel = "urn:ietf:params:qlog:events:loglevel"

	mediaSeq  = "application/qlog+json-seq"
	mediaJSON = "application/qlog+json"
	// version is for tools that look for the member of earlier drafts.
	version = "0.4"
)

// Header is what a log begins with.
type Header struct {
	Title        string
	VantagePoint string    // "client" or "server"
	GroupID      string    // the connection: its original destination connection ID in hexadecimal
	WallClock    time.Time // of the log's start, about
	Schemas      []string  // of events; EventsQUIC and EventsLogLevel if nil
}

// Spool makes a file of a log's records, and holds what nobody has read, up to a limit.
// Beyond that whole events are dropped; how many the log itself says as soon as there
// is room, and at its end. It is not safe for concurrent use.
type Spool struct {
	format  Format
	limit   int
	b       []byte
	at      int    // b is read up to here
	some    bool   // an event has been written
	ended   bool   // Finish was called
	missing uint64 // dropped since the log has said so
	dropped uint64 // in all
	time    []byte // of the latest record, in its JSON form
}

// NewSpool returns a spool that holds limit bytes, and the header besides.
func NewSpool(format Format, limit int, h Header) *Spool {
	s := &Spool{format: format, limit: limit, time: []byte("0")}
	s.b = append(s.b, header(format, h)...)
	s.limit += len(s.b)
	return s
}

// header returns what stands before the first event.
func header(format Format, h Header) []byte {
	var e Encoder
	if format == Seq {
		e.b = append(e.b, separator)
	}
	schema, media := FileSeq, mediaSeq
	if format == JSON {
		schema, media = FileContained, mediaJSON
	}
	if h.Schemas == nil {
		h.Schemas = []string{EventsQUIC, EventsLogLevel}
	}
	e.Open("")
	e.String("file_schema", schema)
	e.String("serialization_format", media)
	e.String("qlog_version", version)
	e.OptString("title", h.Title)
	if format == JSON {
		e.OpenList("traces")
		e.Open("")
	} else {
		e.Open("trace")
	}
	e.Open("common_fields")
	e.OptString("group_id", h.GroupID)
	e.String("time_format", "relative_to_epoch")
	e.Open("reference_time")
	e.String("clock_type", "monotonic")
	e.String("epoch", "unknown")
	if !h.WallClock.IsZero() {
		e.String("wall_clock_time", h.WallClock.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	e.Close()
	e.Close()
	e.Open("vantage_point")
	e.String("type", h.VantagePoint)
	e.Close()
	e.OpenList("event_schemas")
	for _, s := range h.Schemas {
		e.String("", s)
	}
	e.CloseList()
	if format == JSON {
		e.OpenList("events")
		return append(e.b, '\n')
	}
	e.Close()
	e.Close()
	return append(e.b, '\n')
}

const separator = 0x1e // RFC 7464 §2.2

// Put takes records of a Log, and counts dropped events of which there are none.
func (s *Spool) Put(records []byte, dropped uint64) {
	if s.ended {
		return
	}
	s.miss(dropped)
	for len(records) > 0 {
		n := bytes.IndexByte(records, '\n') + 1
		if n == 0 {
			panic("BUG: qlog record without an end")
		}
		s.record(records[:n])
		records = records[n:]
	}
}

// maxNote is no limit: more than the record takes that tells of dropped events.
const maxNote = 256

func (s *Spool) record(r []byte) {
	if end := bytes.IndexByte(r, ','); end > len(timePrefix) {
		s.time = append(s.time[:0], r[len(timePrefix):end]...)
	}
	need := len(r) + 2 + maxNote // which is for the end of the log
	if s.missing > 0 {
		need += maxNote
	}
	if s.Len()+need > s.limit {
		s.miss(1)
		return
	}
	s.tell()
	s.frame(r)
}

// timePrefix is how a record begins.
const timePrefix = `{"time":`

func (s *Spool) miss(n uint64) {
	s.missing += n
	s.dropped += n
}

// tell puts a record into the log that says how many events were dropped before.
func (s *Spool) tell() {
	if s.missing == 0 {
		return
	}
	var e Encoder
	e.b = append(append(e.b, timePrefix...), s.time...)
	e.more = true
	d := Dropped{Events: s.missing}
	e.String("name", d.Name())
	e.Open("data")
	d.Encode(&e)
	e.Close()
	e.Close()
	s.missing = 0
	s.frame(append(e.b, '\n'))
}

// makeRoom sees to room for n bytes. What has been read goes once it is half of all, or there is no other room: memory is
// half as much again as the limit at most, so that half the limit was read before anything is moved for that.
func (s *Spool) makeRoom(n int) {
	most := s.limit + s.limit/2
	if s.at > 0 && (s.at >= len(s.b)/2 || len(s.b)+n > most) {
		s.b, s.at = s.b[:copy(s.b, s.b[s.at:])], 0
	}
	if len(s.b)+n > cap(s.b) {
		s.b = append(make([]byte, 0, max(len(s.b)+n, min(2*cap(s.b), most))), s.b...)
	}
}

// frame writes one record as the format has it.
func (s *Spool) frame(r []byte) {
	s.makeRoom(1 + len(r))
	switch {
	case s.format == Seq:
		s.b = append(s.b, separator)
	case s.some:
		s.b = append(s.b, ',')
	}
	s.some = true
	s.b = append(s.b, r...)
}

// Finish ends the log: what was dropped is told, and a JSON text is completed.
func (s *Spool) Finish() {
	if s.ended {
		return
	}
	s.tell()
	s.ended = true
	if s.format == JSON {
		const end = "]}]}\n"
		s.makeRoom(len(end))
		s.b = append(s.b, end...)
	}
}

// Discard ends the log and gives up what has not been read: nobody will.
func (s *Spool) Discard() { s.b, s.at, s.ended = nil, 0, true }

// Ended reports whether Finish was called.
func (s *Spool) Ended() bool { return s.ended }

// Len returns how many bytes can be read.
func (s *Spool) Len() int { return len(s.b) - s.at }

// Dropped returns how many events were dropped so far.
func (s *Spool) Dropped() uint64 { return s.dropped }

// Read copies what is there to p, and takes it out. It returns 0 if there is nothing.
func (s *Spool) Read(p []byte) int {
	n := copy(p, s.b[s.at:])
	s.at += n
	if s.at == len(s.b) {
		s.at, s.b = 0, s.b[:0]
		if cap(s.b) > maxIdle {
			s.b = nil
		}
	}
	return n
}

// Dropped is the event that tells of events for which there was no room: a
// loglevel:warning with their number as an extra member.
type Dropped struct{ Events uint64 }

// Name returns "loglevel:warning".
func (v Dropped) Name() string { return "loglevel:warning" }

// Encode writes the event's data.
func (v Dropped) Encode(e *Encoder) {
	e.String("message", strconv.FormatUint(v.Events, 10)+" events dropped: the log was not read")
	e.Uint("events_dropped", v.Events)
}
