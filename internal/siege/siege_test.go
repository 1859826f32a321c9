package siege

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type node struct {
	next  *node
	data  []byte
	other any
	byID  map[uint64]*node
	inner struct{ text string }
}

// What can be reached counts, once, and no more.
func TestRetained(t *testing.T) {
	one := reflect.TypeFor[node]().Size()
	n := &node{data: make([]byte, 10, 5000)}
	if got := Retained(n); got != int64(one)+5000 {
		t.Errorf("%d bytes for one of %d and 5000", got, one)
	}
	n.next = n
	part := n.data[2:4]
	n.other = part
	n.inner.text = string(make([]byte, 300))
	if got := Retained(n); got != int64(one)+5000+300 {
		t.Errorf("%d bytes: a ring, a part and a text of 300 bytes", got)
	}
	shared := &node{data: make([]byte, 1<<20)}
	n.byID = map[uint64]*node{1: {data: make([]byte, 2000)}, 2: shared}
	least := 2*int64(one) + 5000 + 300 + 2000
	if got := Retained(n, shared); got < least || got > least+200 {
		t.Errorf("%d bytes with a map, want %d and some", got, least)
	}
	if got := Retained(n); got < least+1<<20 {
		t.Errorf("%d bytes with what is shared", got)
	}
}

// failures counts what a victim complains of.
type failures struct {
	testing.TB
	list []string
}

func (f *failures) Name() string { return "TestS99Test/variant" }
func (f *failures) Errorf(format string, a ...any) {
	f.list = append(f.list, fmt.Sprintf(format, a...))
}

// A session that holds more than the bound fails its test, and no other does.
func TestHolds(t *testing.T) {
	const window = 1000
	f := &failures{}
	v := new(Siege).Victim(f, window)
	v.Holds(2*window+128<<10, 1)
	if f.list != nil {
		t.Errorf("at the bound: %q", f.list)
	}
	v.Holds(2*window+128<<10+1, 0)
	if len(f.list) != 1 {
		t.Errorf("a byte beyond: %q", f.list)
	}
	v.Holds(2*(2*window+128<<10), 2)
	if len(f.list) != 1 {
		t.Errorf("two sessions: %q", f.list)
	}
}

// A victim that does more for a datagram than is fit fails its test.
func TestToiled(t *testing.T) {
	f := &failures{}
	v := new(Siege).Victim(f, 0)
	v.Carried(Traffic{3, 1000}, Traffic{1030, 1 << 20})
	v.Toiled(10_000 + 1500 + 4000)
	if f.list != nil {
		t.Errorf("at the bound: %q", f.list)
	}
	v.Toiled(10_000 + 1500 + 4001)
	v.Carried(Traffic{3, 1000}, Traffic{1031, 1 << 20})
	v.Toiled(0)
	if len(f.list) != 2 && !Logs {
		t.Errorf("one object, one datagram beyond: %q", f.list)
	}
	before := Allocated()
	held = make([]byte, 100_000)
	if n := Allocated() - before; n < 1 || n > 1000 {
		t.Errorf("%d objects for one", n)
	}
}

var held []byte

// The memory is looked at after the first datagram, and then ever more rarely.
func TestDue(t *testing.T) {
	v, looks := &Victim{next: 1}, 0
	for n := range 1_000_000 {
		look := v.Took(100)
		if looks++; !look {
			looks--
		}
		if n == 0 && !look {
			t.Error("not after the first")
		}
	}
	if looks < 80 || looks > 150 {
		t.Errorf("%d looks in a million", looks)
	}
	if (*Victim)(nil).Took(1) || (*Victim)(nil).Due(1) {
		t.Error("nobody looks")
	}
}

// What is written down can be read, and comes out as one line for an attack.
func TestCosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "costs.tsv")
	t.Setenv(costsVariable, file)
	a := &Victim{test: "TestS01A/x", in: Traffic{200, 20_000}, out: Traffic{100, 30_000}, own: 10_000, turns: 400, cpu: 200 * 3 * time.Microsecond, held: 5 << 10, end: "stays"}
	b := &Victim{test: "TestS01A/y", in: Traffic{5, 500}, out: Traffic{1, 5000}, held: 90 << 10, end: "INTERNAL_ERROR", unproven: 2.5}
	idle := &Victim{test: "TestS01A/z"}
	if err := appendRows(rowsOf("TestS01A", []*Victim{a, b, idle}, 2*time.Microsecond)); err != nil {
		t.Fatal(err)
	}
	if err := appendRows(rowsOf("TestH02B", nil, 0)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if r, err := ParseRow(line); err != nil || r.String() != line {
			t.Errorf("%q is read as %q, %v", line, r, err)
		}
	}
	rest := everyRow(t, "S01", "H02")
	var table strings.Builder
	if err := Table(&table, strings.NewReader(string(text)+rest)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| H02 | frames and capsules whose length is 2^62-1 | - | - | <1 | - | - | no session |",
		" | 2 | 205 | 90 | 1.50 | 2.50 | INTERNAL_ERROR, stays |",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
	if err := Table(&table, strings.NewReader("S01\tx\n")); err == nil {
		t.Error("a line that is cut off is read")
	}
	most, more := Row{ID: "S01", Test: "TestS01A", Cost: MaxCost}, Row{ID: "S02", Test: "TestS02B/x", Cost: MaxCost + 0.01}
	table.Reset()
	if err := Table(&table, strings.NewReader(most.String()+"\n"+more.String()+"\n"+everyRow(t, "S01", "S02"))); err == nil || err.Error() != "TestS02B/x: a datagram costs as much as 10.01 honest ones, want 10 at most" {
		t.Errorf("%v", err)
	}
	if !strings.Contains(table.String(), "| S02 |") {
		t.Errorf("what costs too much is left out:\n%s", &table)
	}
}

// everyRow returns a file of costs with a line for every attack but some.
func everyRow(t *testing.T, but ...string) string {
	t.Helper()
	sent, err := Attacks()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for id := range sent {
		if !slices.Contains(but, id) {
			fmt.Fprintln(&b, Row{ID: id, Test: "Test" + id})
		}
	}
	return b.String()
}

// A table in which attacks are missing is an error that names them, and is written all the same.
func TestTableMisses(t *testing.T) {
	var table strings.Builder
	if err := Table(&table, strings.NewReader(everyRow(t))); err != nil {
		t.Error(err)
	}
	table.Reset()
	const want = "no costs of H23, S01, S55: run the tests of every attack"
	if err := Table(&table, strings.NewReader(everyRow(t, "S01", "S55", "H23"))); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if !strings.Contains(table.String(), "| S54 |") {
		t.Errorf("what is there is left out:\n%s", &table)
	}
	if err := Table(&table, strings.NewReader("")); err == nil || strings.Count(err.Error(), ",") != 55+23-1 {
		t.Errorf("an empty file: %v", err)
	}
}

// Every attack has a line.
func TestAttacks(t *testing.T) {
	sent, err := Attacks()
	if err != nil {
		t.Fatal(err)
	}
	for list, last := range map[string]int{"S": 55, "H": 23} {
		for n := 1; n <= last; n++ {
			if id := fmt.Sprintf("%s%02d", list, n); sent[id] == "" {
				t.Errorf("%s is missing", id)
			}
		}
	}
	if len(sent) != 55+23 {
		t.Errorf("%d attacks", len(sent))
	}
}
