package cases

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
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
}

// atOnce is how many cells run at the same time. Their networks carry 10 Mbit/s each.
const atOnce = 6

// A cell is what became of a case between two implementations.
type cell string

const (
	green cell = "ok"
	red   cell = "FAILED"
	none  cell = "-"
)

// TestCases plays all cases between all pairs. A cell that required.json has must be green. One
// that it has not may fail: the other implementation's doing, which the log tells.
func TestCases(t *testing.T) {
	var must map[string][]string
	if err := json.Unmarshal(required, &must); err != nil {
		t.Fatalf("required.json: %v", err)
	}
	var mu sync.Mutex
	results := map[string]map[string]cell{}
	room := make(chan struct{}, atOnce)
	t.Run("all", func(t *testing.T) {
		for _, c := range table {
			results[c.name] = map[string]cell{}
			for _, p := range pairs {
				pair := p.client.name() + " to " + p.server.name()
				t.Run(c.name+"/"+pair, func(t *testing.T) {
					t.Parallel()
					room <- struct{}{}
					defer func() { <-room }()
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
					results[c.name][pair] = got
					mu.Unlock()
					if got != green && contains(must[c.name], pair) {
						t.Errorf("%v, and required.json has this cell: %v", got, err)
					}
				})
			}
		}
	})
	t.Log("\n" + show(results))
	for name, list := range must {
		for _, pair := range list {
			if results[name][pair] == "" && !testing.Short() && t.Name() == "TestCases" {
				t.Logf("%s, %s: required, and not played", name, pair)
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
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
