package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Each PATH_CHALLENGE has bytes of its own, also when it repeats another (RFC 9000 §8.2.1, §13.3).
func TestChallengesDiffer(t *testing.T) {
	tc := moved(t)
	tc.ignore(wire.FramePing)
	seen := map[[8]byte]int{}
	for range 100 {
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			if p.seen++; kindOf(f.Type()) == wire.FramePathChallenge {
				seen[f.(wire.PathChallenge).Data]++
			}
		}
		tc.advance(100 * time.Millisecond)
	}
	if len(seen) != 2*pathTries {
		t.Errorf("%d different challenges, want %d for each of two paths", len(seen), pathTries)
	}
	var values [8]map[byte]bool
	for data, n := range seen {
		if n != 1 {
			t.Errorf("%x came %d times", data, n)
		}
		for i, b := range data {
			if values[i] == nil {
				values[i] = make(map[byte]bool)
			}
			values[i][b] = true
		}
	}
	for i := range values { // a guess has nothing to begin with
		if len(values[i]) < 2 {
			t.Errorf("byte %d is the same in all of them", i)
		}
	}
}

// The answer to any of a path's challenges validates it, to the first one as well as to the last, but
// not one from before the validation that goes on (RFC 9000 §8.2.3).
func TestAnswerToEarlierChallenge(t *testing.T) {
	for which := range pathTries {
		tc := moved(t)
		tc.ignore(wire.FramePing)
		var to []wire.PathChallenge
		for len(to) < pathTries {
			for f, p := tc.peek(); f != nil; f, p = tc.peek() {
				if c, ok := f.(wire.PathChallenge); ok && p.datagram.path == tc.path {
					to = append(to, c)
				}
				p.seen++
			}
			tc.advance(100 * time.Millisecond)
		}
		tc.write(wire.OneRTT, wire.PathResponse(to[which]))
		if e := tc.wantEvent("an answer", EventPathValidation); !e.OK || e.Path != tc.path {
			t.Errorf("challenge %d: %+v", which, e)
		}
		tc.clear()
		tc.write(wire.OneRTT, wire.PathResponse(to[(which+1)%pathTries]))
		tc.wantNoEvent("another answer to the same validation", EventPathValidation)
		tc.abandon()
	}
}
