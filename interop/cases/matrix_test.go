package cases

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
)

// bounded checks the amplification of our own servers only.
func bounded(server implementation, r *trace.Run) error {
	if _, ours := server.(cinnabar); ours {
		return trace.Bounded(r)
	}
	return nil
}

// required lists the cells that must be green, by case and "client to server".
//
//go:embed required.json
var required []byte

// pairs are the columns of the table.
var pairs = []struct{ client, server implementation }{
	{cinnabar{}, cinnabar{}},
	{cinnabar{}, quicGo{}}, {quicGo{}, cinnabar{}},
	{cinnabar{}, xnet{}}, {xnet{}, cinnabar{}},
	{cinnabar{}, ngtcp2{}}, {ngtcp2{}, cinnabar{}},
	{cinnabar{}, aioquic{}}, {aioquic{}, cinnabar{}},
}

// atOnce is how many cells run at the same time, on however few cores: their networks carry
// 10 Mbit/s each, and they wait most of the time.
const atOnce = 10

// A cell is what became of a case between two implementations.
type cell string

const (
	green cell = "ok"
	red   cell = "FAILED"
	none  cell = "-"
)

// Whoever misspells a cell requires nothing.
func TestRequired(t *testing.T) {
	var must map[string][]string
	if err := json.Unmarshal(required, &must); err != nil {
		t.Fatalf("required.json: %v", err)
	}
	known := map[string]bool{}
	for _, p := range pairs {
		known[p.client.name()+" to "+p.server.name()] = true
	}
	cells := 0
	for name, list := range must {
		if !slices.ContainsFunc(table, func(c testcase) bool { return c.name == name }) {
			t.Errorf("required.json has the case %q, which does not exist", name)
		}
		for _, pair := range list {
			cells++
			if !known[pair] {
				t.Errorf("required.json has %q, which is no pair", pair)
			}
		}
	}
	t.Logf("%d cells are required", cells)
}

// TestCases plays all cases between all pairs. A cell that required.json has must be green. One
// that it has not may fail: the other implementation's doing, which the log tells.
func TestCases(t *testing.T) {
	var must map[string][]string
	if err := json.Unmarshal(required, &must); err != nil {
		t.Fatalf("required.json: %v", err)
	}
	if _, err := build(t); err != nil { // here, so that it costs no case its time
		t.Fatal(err)
	}
	var mu sync.Mutex
	results := map[string]map[string]cell{}
	var missed []string
	t.Run("all", func(t *testing.T) {
		for _, c := range table {
			results[c.name] = map[string]cell{}
			for _, p := range pairs {
				pair := p.client.name() + " to " + p.server.name()
				t.Run(c.name+"/"+pair, func(t *testing.T) {
					if !c.alone {
						t.Parallel()
					}
					err := play(t, &c, p.client, p.server)
					got := green
					switch {
					case errors.Is(err, errUnsupported):
						got = none
					case err != nil:
						got = red
						t.Log(err)
					}
					mu.Lock()
					defer mu.Unlock()
					results[c.name][pair] = got
					if got != green && slices.Contains(must[c.name], pair) {
						t.Errorf("%v, and required.json has this cell: %v", got, err)
						missed = append(missed, fmt.Sprintf("%s, %s: %v", c.name, pair, err))
					}
				})
			}
		}
	})
	t.Log("\n" + show(results))
	for _, m := range missed { // once more, beside the table
		t.Log("required: " + m)
	}
}

// show writes the table of cases and directions.
func show(results map[string]map[string]cell) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "case")
	for _, p := range pairs {
		fmt.Fprintf(w, "\t%s to %s", p.client.name(), p.server.name())
	}
	for _, c := range table {
		fmt.Fprintf(w, "\n%s", c.name)
		for _, p := range pairs {
			fmt.Fprintf(w, "\t%s", results[c.name][p.client.name()+" to "+p.server.name()])
		}
	}
	w.Flush()
	return b.String()
}
