package qlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// FuzzString: whatever bytes a string has, what is written is JSON that reads back as the
// string with what is not UTF-8 replaced, and has no byte that ends a record.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\` + "/", "\x00\x1e\n\r\t\x7f", "é\u2028\U0001F600", "\xff\xc3", "a\xe2\x82", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q gives %q: %v", s, b, err)
		}
		if want := string([]rune(s)); got != want {
			t.Fatalf("%q gives %q, reads back as %q", s, b, got)
		}
		if bytes.ContainsAny(b, "\n\x1e") || !utf8.Valid(b) {
			t.Fatalf("%q gives %q", s, b)
		}
	})
}

func TestMillis(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0", 1: "0.000001", 1_500_000: "1.5", 1_000_000: "1", -1_234_567: "-1.234567",
		math.MaxInt64: "9223372036854.775807",
	} {
		if got := string(appendMillis(nil, ns)); got != want {
			t.Errorf("%d ns: got %s, want %s", ns, got, want)
		}
	}
}

// note is an event with text of a given size.
type note struct{ text string }

func (v note) Name() string      { return "test:note" }
func (v note) Encode(e *Encoder) { e.String("text", v.text) }

func testHeader() Header {
	return Header{VantagePoint: "client", GroupID: "0102", WallClock: time.Unix(1, 0)}
}

// parse returns the header and the events of a log, after checking its form.
func parse(t *testing.T, format Format, b []byte) (header map[string]any, events []map[string]any) {
	t.Helper()
	decode := func(b []byte) (m map[string]any) {
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		return m
	}
	if format == JSON {
		header = decode(b)
		trace := header["traces"].([]any)[0].(map[string]any)
		for _, e := range trace["events"].([]any) {
			events = append(events, e.(map[string]any))
		}
		return header, events
	}
	for i, r := range strings.Split(string(b), "\x1e") {
		switch {
		case i == 0:
			if r != "" {
				t.Fatalf("log begins with %q, not with a record separator", r)
			}
		case !strings.HasSuffix(r, "\n"):
			t.Fatalf("record %q has no line feed at its end", r)
		case i == 1:
			header = decode([]byte(r))
		default:
			events = append(events, decode([]byte(r)))
		}
	}
	return header, events
}

func drain(s *Spool) []byte {
	var all []byte
	p := make([]byte, 37)
	for n := s.Read(p); n > 0; n = s.Read(p) {
		all = append(all, p[:n]...)
	}
	return all
}

// TestSpoolDrops: a log that is read too late is still well-formed in both
// serialisations, and every event is either in it or in the number that it says.
func TestSpoolDrops(t *testing.T) {
	for _, format := range []Format{Seq, JSON} {
		s := NewSpool(format, 2000, testHeader())
		l := NewLog(100)
		now := mono.Time(100)
		put := func(n int) {
			for range n {
				now += mono.Time(time.Millisecond)
				l.Add(now, "", note{strings.Repeat("x", 80)})
				s.Put(l.Take())
				if s.Len() > 2000+1000 { // the header comes on top
					t.Fatalf("the spool holds %d bytes", s.Len())
				}
			}
		}
		put(50)
		all := drain(s)
		put(3)
		all = append(all, drain(s)...)
		put(40)
		s.Finish()
		put(1) // after the end: nothing
		all = append(all, drain(s)...)
		_, events := parse(t, format, all)
		kept, told, last := 0, 0, -1.0
		for _, e := range events {
			switch e["name"] {
			case "test:note":
				kept++
			case "loglevel:warning":
				told += int(e["data"].(map[string]any)["events_dropped"].(float64))
			}
			if at := e["time"].(float64); at < last {
				t.Errorf("time falls from %v to %v", last, at)
			} else {
				last = at
			}
		}
		if kept+told != 93 || told == 0 || uint64(told) != s.Dropped() {
			t.Errorf("format %d: %d events kept and %d told of, of 93; %d counted", format, kept, told, s.Dropped())
		}
	}
}

// TestHeader: the first record names schema, serialisation, vantage point and the fields
// that all events have in common, the first two early enough for tools that look there.
func TestHeader(t *testing.T) {
	for _, format := range []Format{Seq, JSON} {
		s := NewSpool(format, 1000, testHeader())
		s.Finish()
		all := drain(s)
		h, events := parse(t, format, all)
		if len(events) != 0 {
			t.Errorf("%d events in an empty log", len(events))
		}
		schema, media, trace := FileSeq, "application/qlog+json-seq", h["trace"]
		if format == JSON {
			schema, media = FileContained, "application/qlog+json"
			trace = h["traces"].([]any)[0]
		}
		if h["file_schema"] != schema || h["serialization_format"] != media || h["qlog_version"] != "0.4" {
			t.Errorf("header %v", h)
		}
		if i := bytes.Index(all, []byte(media)); i < 0 || i+len(media) > 256 {
			t.Errorf("serialisation is named at byte %d, want it within 256", i)
		}
		m := trace.(map[string]any)
		want := "map[common_fields:map[group_id:0102 reference_time:map[clock_type:monotonic epoch:unknown wall_clock_time:1970-01-01T00:00:01.000Z] time_format:relative_to_epoch] " +
			"event_schemas:[urn:ietf:params:qlog:events:quic-13 urn:ietf:params:qlog:events:loglevel]"
		if got := fmt.Sprint(m); !strings.HasPrefix(got, want) || fmt.Sprint(m["vantage_point"]) != "map[type:client]" {
			t.Errorf("trace %s", got)
		}
	}
}

// TestLogIsBounded: records that nobody takes do not pile up without an end.
func TestLogIsBounded(t *testing.T) {
	most := limits.Bound(t, "log-pending")
	l := NewLog(0)
	big := note{strings.Repeat("x", 1<<20)}
	for range 20 {
		l.Add(0, "", big)
	}
	b, dropped := l.Take()
	if n := bytes.Count(b, []byte("\n")); n+int(dropped) != 20 || len(b) > most+2<<20 || dropped == 0 {
		t.Errorf("%d bytes, %d events kept, %d dropped", len(b), n, dropped)
	}
	if !l.Empty() {
		t.Error("log is not empty after Take")
	}
}

// TestEncodersMakeJSON: every event and frame with its zero values is a valid record.
func TestEncodersMakeJSON(t *testing.T) {
	frames := []Frame{
		PaddingFrame{}, BareFrame{"ping"}, AckFrame{Ranges: [][2]int64{{1, 1}, {3, 4}}, ECN: true}, ResetStreamFrame{},
		StopSendingFrame{}, CryptoFrame{}, NewTokenFrame{}, StreamFrame{}, LimitFrame{Type: "max_streams"},
		LimitFrame{Type: "stream_data_blocked"}, NewConnectionIDFrame{}, RetireConnectionIDFrame{}, PathFrame{Type: "path_response"},
		ConnectionCloseFrame{Code: 0x178, Reason: []byte("\xff")}, ConnectionCloseFrame{Code: 0x9999, FrameType: 6}, UnknownFrame{}, DatagramFrame{},
	}
	events := []Event{
		&ConnectionStarted{}, &ConnectionClosed{HasCode: true}, &ConnectionIDUpdated{}, &ConnectionStateUpdated{}, &TupleAssigned{Known: true},
		&MTUUpdated{}, &VersionInformation{Client: []uint32{1}, Chosen: 1}, &ALPNInformation{Server: []string{"h3"}, Chosen: "h3"},
		&ParametersSet{Parameters: &Parameters{PreferredAddress: &PreferredAddress{}}}, &ParametersSet{TLS: &TLSResult{}}, &ParametersRestored{},
		&StreamStateUpdated{}, &StreamDataMoved{}, &DatagramDataMoved{}, &DatagramDataMoved{Out: true}, &DataBlockedUpdated{}, &DataBlockedUpdated{Stream: true}, &MigrationStateUpdated{},
		&TimerUpdated{Event: "set"}, &Key{HasPhase: true}, &Key{Discarded: true}, &RecoveryParametersSet{}, &RecoveryMetricsUpdated{},
		&CongestionStateUpdated{}, &PacketLost{}, &MarkedForRetransmit{Frames: frames}, &PacketsAcked{Numbers: []int64{0, 7}}, &ECNStateUpdated{},
		&Packet{Frames: frames, HasFrames: true, Versions: []uint32{1}, Details: "x", Header: PacketHeader{TokenLength: 3, Version: 1, SCID: []byte{}, DCID: []byte{1}, HasKeyPhase: true}},
		&UDPDatagrams{Lengths: []int{1, 2}, ECN: 3}, Dropped{},
	}
	l := NewLog(0)
	for _, v := range events {
		l.Add(5, "1", v)
		b, _ := l.Take()
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Errorf("%T: %v in %s", v, err, b)
		}
		if m["name"] != v.Name() || m["tuple"] != "1" || m["data"] == nil {
			t.Errorf("%T: %s", v, b)
		}
	}
}

func ExampleSpool() {
	log := NewLog(0)
	log.Add(mono.Time(2*time.Millisecond), "", &ConnectionStateUpdated{New: "attempted"})
	file := NewSpool(Seq, 1<<20, Header{VantagePoint: "client"})
	file.Put(log.Take())
	file.Finish()
	all, _ := io.ReadAll(io.LimitReader(reader{file}, int64(file.Len())))
	records := strings.Split(string(all), "\x1e")
	fmt.Print(records[2])
	// Output: {"time":2,"name":"quic:connection_state_updated","data":{"new":"attempted"}}
}

type reader struct{ s *Spool }

func (r reader) Read(p []byte) (int, error) { return r.s.Read(p), nil }

// A reader that is slow makes a spool hold its limit, and half as much again at most of what it has read.
func TestSpoolMemory(t *testing.T) {
	const limit = 64 << 10
	record := append([]byte(timePrefix+"1"), `,"name":"x","data":{}}`+"\n"...)
	for _, bite := range []int{1, 100, limit / 4, 7 * limit / 16, limit} {
		s, buf, most := NewSpool(JSON, limit, testHeader()), make([]byte, bite), 0
		for range 200 {
			for dropped := s.Dropped(); s.Dropped() == dropped; {
				s.Put(record, 0)
				most = max(most, cap(s.b))
			}
			s.Read(buf)
		}
		if bound := s.limit + s.limit/2 + 1<<10; most > bound {
			t.Errorf("%d bytes at a time: a spool of %d bytes, want %d", bite, most, bound)
		}
	}
}
