package siege

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// costsVariable names the file that the costs go to.
const costsVariable = "CINNABAR_COSTS"

// Measured reports whether somebody wants to know what attacks cost.
func Measured() bool { return os.Getenv(costsVariable) != "" }

// Row is what one variant of an attack has cost: the worst of all its victims, or, of what
// was sent, the sum.
type Row struct {
	ID            string // S01
	Test          string // TestS01PathChallengeFlood/queue
	Victims       int
	In, Out       Traffic
	Held          int64    // bytes that a session held over what it held before
	Turns         float64  // events and batches for a datagram
	Cost          float64  // processor time of a datagram against an honest one; 0 if too few came to tell
	Amplification float64  // bytes sent for each received, but for what the victim's program asked for; 0 likewise
	Unproven      float64  // the same, for addresses that had proved nothing
	Ends          []string // codes, or "stays"
}

// What is too little to tell anything.
const (
	fewPackets = 100
	fewBytes   = 1200
)

var attackID = regexp.MustCompile(`^Test([SH]\d\d)`)

// rowsOf makes rows of the victims of a test: one for each variant.
func rowsOf(test string, victims []*Victim, honest time.Duration) []Row {
	id := "-"
	if m := attackID.FindStringSubmatch(test); m != nil {
		id = m[1]
	}
	rows := map[string]*Row{test: {ID: id, Test: test}}
	cpu := map[string]time.Duration{}
	for _, v := range victims {
		r := rows[v.test]
		if r == nil {
			r = &Row{ID: id, Test: v.test}
			rows[v.test] = r
		}
		if v.in.Packets == 0 && v.held == 0 {
			continue // nothing was done to it
		}
		r.merge(Row{Victims: 1, In: v.in, Out: v.out, Held: v.held, Unproven: v.unproven})
		if v.in.Packets > 0 && v.turns > 0 {
			r.Turns = max(r.Turns, float64(v.turns)/float64(v.in.Packets))
		}
		if v.in.Bytes >= fewBytes {
			r.Amplification = max(r.Amplification, float64(max(v.out.Bytes-v.own, 0))/float64(v.in.Bytes))
		}
		if v.end != "" {
			r.merge(Row{Ends: []string{v.end}})
		}
		cpu[v.test] += v.cpu
	}
	for name, r := range rows {
		if r.In.Packets >= fewPackets && honest > 0 {
			r.Cost = float64(cpu[name]) / float64(r.In.Packets) / float64(honest)
		}
	}
	if rows[test].Victims == 0 && len(rows) > 1 {
		delete(rows, test)
	}
	return slices.SortedFunc(valuesOf(rows), func(a, b Row) int { return cmp.Compare(a.Test, b.Test) })
}

func valuesOf(rows map[string]*Row) func(yield func(Row) bool) {
	return func(yield func(Row) bool) {
		for r := range maps.Values(rows) {
			if !yield(*r) {
				return
			}
		}
	}
}

// merge adds another row to r.
func (r *Row) merge(o Row) {
	r.Victims += o.Victims
	r.In.add(o.In.Packets, o.In.Bytes)
	r.Out.add(o.Out.Packets, o.Out.Bytes)
	r.Held = max(r.Held, o.Held)
	r.Turns, r.Cost = max(r.Turns, o.Turns), max(r.Cost, o.Cost)
	r.Amplification, r.Unproven = max(r.Amplification, o.Amplification), max(r.Unproven, o.Unproven)
	for _, e := range o.Ends {
		if !slices.Contains(r.Ends, e) {
			r.Ends = append(r.Ends, e)
		}
	}
	slices.Sort(r.Ends)
}

// String returns the row as a line of the file, its cells between tabs.
func (r Row) String() string {
	return fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%s",
		r.ID, r.Test, r.Victims, r.In.Packets, r.In.Bytes, r.Out.Packets, r.Out.Bytes, r.Held,
		r.Turns, r.Cost, r.Amplification, r.Unproven, strings.Join(r.Ends, ", "))
}

// ParseRow reads what String writes.
func ParseRow(line string) (Row, error) {
	cells := strings.Split(line, "\t")
	if len(cells) != 13 {
		return Row{}, fmt.Errorf("%d cells, want 13", len(cells))
	}
	r := Row{ID: cells[0], Test: cells[1]}
	var err error
	whole := func(s string) int {
		n, e := strconv.Atoi(s)
		err = cmp.Or(err, e)
		return n
	}
	part := func(s string) float64 {
		f, e := strconv.ParseFloat(s, 64)
		err = cmp.Or(err, e)
		return f
	}
	r.Victims = whole(cells[2])
	r.In, r.Out = Traffic{whole(cells[3]), whole(cells[4])}, Traffic{whole(cells[5]), whole(cells[6])}
	r.Held, r.Turns, r.Cost = int64(whole(cells[7])), part(cells[8]), part(cells[9])
	r.Amplification, r.Unproven = part(cells[10]), part(cells[11])
	if cells[12] != "" {
		r.Ends = strings.Split(cells[12], ", ")
	}
	return r, err
}

// appendRows adds rows to the file. Packages are tested at the same time, so each row is one write.
func appendRows(rows []Row) error {
	f, err := os.OpenFile(os.Getenv(costsVariable), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := io.WriteString(f, r.String()+"\n"); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}
