// Package limits is the table of everything that a peer can make an endpoint hold or
// do, and where that ends: limits.tsv names for each resource the constant that bounds
// it, the figure in the public stats that moves when a peer gets there, what becomes of
// more, and the test that goes there and beyond.
//
// A row has no figure only if nothing that the peer sends is refused there, and nothing of its ends. There are
// two kinds. "forgets": this end remembers less of what was, such as a packet that was lost long ago or a
// server that was met once, and at worst does some of it again, or does without what the memory would have
// saved. That is how each of these memories is meant to work: the oldest goes out with each new one, all day, with
// honest peers, so a figure would count the traffic and tell nobody of an attack. "asks no more": this end itself
// wants no more, whatever the peer allows, and the peer has nothing to notice. Where more is dropped, answered
// with an error, or ends a stream or a session, a figure moves: internal/house reads the words of the row for it.
//
// The tests take their bounds from the table and not from the constants. So a constant
// that somebody raises makes its test fail, and internal/house can show that for each.
package limits

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed limits.tsv
var text string

// Row is a line of the table.
type Row struct {
	Line     int    // in the file, from 1
	ID       string // what tests call it
	Resource string // what a peer can grow, in words
	Bound    string // constant, as "internal/transport.maxPaths"
	Value    int    // of the constant; nanoseconds for times
	Counter  string // "quic.SessionStats.UselessFrames", or "-" where nothing is refused or ended
	Beyond   string // what becomes of more
	Test     string // "internal/transport.TestS01PathChallengeFlood"
}

// Rows returns the table.
func Rows() ([]Row, error) {
	var rows []Row
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		cells := strings.Split(line, "\t")
		if len(cells) != 7 {
			return nil, fmt.Errorf("limits.tsv:%d: %d cells, want id, resource, bound, value, counter, beyond, test", i+1, len(cells))
		}
		if i == 0 {
			continue
		}
		v, err := value(cells[3])
		if err != nil {
			return nil, fmt.Errorf("limits.tsv:%d: %w", i+1, err)
		}
		rows = append(rows, Row{i + 1, cells[0], cells[1], cells[2], v, cells[4], cells[5], cells[6]})
	}
	return rows, nil
}

// value reads a whole number or a time.
func value(s string) (int, error) {
	if d, err := time.ParseDuration(s); err == nil && s != "0" {
		return int(d), nil
	}
	return strconv.Atoi(s)
}

// Bound returns what the table says of a limit, and marks the test as the one that
// fills it and goes on.
func Bound(t testing.TB, id string) int {
	t.Helper()
	rows, err := Rows()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.ID == id {
			t.Attr("bounds", id)
			return r.Value
		}
	}
	t.Fatalf("limits.tsv has no row %q", id)
	return 0
}
