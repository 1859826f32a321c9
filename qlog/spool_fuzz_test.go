package qlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// FuzzSpool: whatever comes and however late it is read, a spool holds no more than it may, and its
// log is whole: each event is in it once and in order, or in the number of those that were dropped.
func FuzzSpool(f *testing.F) {
	f.Add(true, uint16(2000), []byte{0, 90, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 2, 255, 0, 4, 1, 3, 2, 9, 3, 0, 0, 1})
	f.Add(false, uint16(600), []byte{0, 200, 1, 1, 0, 200, 2, 255, 2, 255, 0, 9})
	f.Add(false, uint16(0), []byte{0, 1, 4, 0, 0, 1})
	f.Fuzz(func(t *testing.T, single bool, limit uint16, ops []byte) {
		format := Seq
		if single {
			format = JSON
		}
		s, l := NewSpool(format, int(limit), testHeader()), NewLog(0)
		most, now := s.Len()+max(int(limit), maxNote), mono.Time(0)
		var all []byte
		put, missed := 0, uint64(0)
		for i := 0; i+1 < min(len(ops), 600) && !s.Ended(); i += 2 {
			n := int(ops[i+1])
			switch ops[i] % 4 {
			case 0:
				now += mono.Time(time.Microsecond)
				l.Add(now, "", note{fmt.Sprint(put, " ", strings.Repeat("\n", n))})
				s.Put(l.Take())
				put++
			case 1:
				s.Put(nil, uint64(n))
				missed += uint64(n)
			case 2:
				p := make([]byte, 4*n)
				all = append(all, p[:s.Read(p)]...)
			case 3:
				if n < 8 {
					s.Finish()
				}
			}
			if s.Len() > most {
				t.Fatalf("%d bytes are held, at most %d may be", s.Len(), most)
			}
		}
		s.Finish()
		_, events := parse(t, format, append(all, drain(s)...))
		kept, told, last := 0, uint64(0), -1
		for _, e := range events {
			data := e["data"].(map[string]any)
			if n, is := data["events_dropped"].(float64); is {
				told += uint64(n)
				continue
			}
			var number int
			if _, err := fmt.Sscan(data["text"].(string), &number); err != nil || number <= last {
				t.Fatalf("event %q behind number %d, %v", data["text"], last, err)
			}
			kept, last = kept+1, number
		}
		if told != s.Dropped() || uint64(put)+missed != uint64(kept)+told {
			t.Fatalf("of %d events and %d that were dropped before, %d are there, %d are said to be dropped, %d were", put, missed, kept, told, s.Dropped())
		}
	})
}

// TestSpoolTellsWithinItsLimit: what a log says of dropped events, before an event and at its end, has its
// place in what the spool may hold.
func TestSpoolTellsWithinItsLimit(t *testing.T) {
	const many = 1 << 50
	told := false
	for limit := maxNote; limit < 4*maxNote; limit++ {
		s, l := NewSpool(JSON, limit, testHeader()), NewLog(0)
		most := s.Len() + limit
		s.Put(nil, many)
		l.Add(1<<60, "", note{"x"})
		s.Put(l.Take())
		told = told || s.missing == 0
		s.Put(nil, many)
		if s.Finish(); s.Len() > most {
			t.Fatalf("%d bytes are held, at most %d may be", s.Len(), most)
		}
	}
	if !told {
		t.Error("no event had room")
	}
}
