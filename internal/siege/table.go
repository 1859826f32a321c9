package siege

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed attacks.tsv
var attacks string

// Attacks returns what is sent in each attack, by its number.
func Attacks() (map[string]string, error) {
	sent := map[string]string{}
	for i, line := range strings.Split(strings.TrimSuffix(attacks, "\n"), "\n") {
		id, what, ok := strings.Cut(line, "\t")
		if !ok || what == "" || sent[id] != "" {
			return nil, fmt.Errorf("attacks.tsv:%d: %q, want a number of its own, a tab and what is sent", i+1, line)
		}
		sent[id] = what
	}
	return sent, nil
}

// MaxCost is how much more processor time than an honest datagram one of an attack may cost.
const MaxCost = 10

// Table makes a table in Markdown of the rows in a file of costs, a line an attack, by their numbers. Its error, when the
// table is done, names the attacks that have no row, and those that have cost more than MaxCost.
func Table(to io.Writer, from io.Reader) error {
	sent, err := Attacks()
	if err != nil {
		return err
	}
	rows := map[string]*Row{}
	var wrong, missing []string
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		r, err := ParseRow(lines.Text())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if rows[r.ID] == nil {
			rows[r.ID] = &Row{ID: r.ID}
		}
		rows[r.ID].merge(r)
		if r.Cost > MaxCost {
			wrong = append(wrong, fmt.Sprintf("%s: a datagram costs as much as %.2f honest ones, want %d at most", r.Test, r.Cost, MaxCost))
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	b := bufio.NewWriter(to)
	fmt.Fprintln(b, "| | sent | victims | datagrams | KiB held | cost | bytes for a byte | ends |")
	fmt.Fprintln(b, "|---|---|---:|---:|---:|---:|---:|---|")
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		r := rows[id]
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", id, sent[id], count(r.Victims), count(r.In.Packets),
			kib(r.Held), ratio(r.Cost), ratio(max(r.Amplification, r.Unproven)), ends(r.Ends))
	}
	if err := b.Flush(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(sent)) {
		if rows[id] == nil {
			missing = append(missing, id)
		}
	}
	if missing != nil {
		wrong = append(wrong, "no costs of "+strings.Join(missing, ", ")+": run the tests of every attack")
	}
	if wrong != nil {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

// count writes a number with commas between its thousands.
func count(n int) string {
	if n == 0 {
		return "-"
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func kib(n int64) string {
	if n < 1<<10 {
		return "<1"
	}
	return count(int((n + 1<<9) >> 10))
}

func ratio(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}

// ends lists the ways in which an attack ended, as far as there is room.
func ends(list []string) string {
	const room = 4
	if len(list) == 0 {
		return "no session"
	}
	if len(list) > room {
		return fmt.Sprintf("%s, and %d more", strings.Join(list[:room], ", "), len(list)-room)
	}
	return strings.Join(list, ", ")
}
