package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// report collects the results of all rounds.
type report struct {
	o            options
	samples      map[sampleKey][]float64
	notes        []note
	suite, curve string
}

// note is a condition of the measurement and the implementations it holds for.
type note struct {
	text  string
	impls []string
}

type sampleKey struct{ workload, impl, metric string }

func newReport(o options) *report { return &report{o: o, samples: make(map[sampleKey][]float64)} }

// add takes the result of one measurement. It fails where the figures could not be compared.
func (r *report) add(workload, impl string, res result) error {
	for _, m := range workloads[workload].metrics {
		v, ok := res.Metrics[m]
		if !ok {
			return fmt.Errorf("%s over %s did not measure %s", workload, impl, m)
		}
		k := sampleKey{workload, impl, m}
		r.samples[k] = append(r.samples[k], v)
	}
	for _, text := range res.Notes {
		r.addNote(text, impl)
	}
	if res.Suite == "" {
		return nil
	}
	if r.suite == "" {
		r.suite, r.curve = res.Suite, res.Curve
	}
	if r.suite != res.Suite || r.curve != res.Curve {
		return fmt.Errorf("%s over %s negotiated %s and %s, others %s and %s: figures could not be compared",
			workload, impl, res.Suite, res.Curve, r.suite, r.curve)
	}
	return nil
}

func (r *report) addNote(text, impl string) {
	for i := range r.notes {
		if n := &r.notes[i]; n.text == text {
			if !slices.Contains(n.impls, impl) {
				n.impls = append(n.impls, impl)
			}
			return
		}
	}
	r.notes = append(r.notes, note{text, []string{impl}})
}

// line is one object of the JSON output.
type line struct {
	Workload string  `json:"workload"`
	Impl     string  `json:"impl"`
	Metric   string  `json:"metric"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	Unit     string  `json:"unit"`
}

// lines returns the summary in the order of reports.
func (r *report) lines() []line {
	var lines []line
	for _, w := range r.o.workloads {
		for _, impl := range r.o.impls {
			for _, m := range workloads[w].metrics {
				if s := r.samples[sampleKey{w, impl, m}]; len(s) > 0 {
					lines = append(lines, line{w, impl, m, median(s), slices.Min(s), slices.Max(s), units[m]})
				}
			}
		}
	}
	return lines
}

// write prints the tables and writes the files that were asked for.
func (r *report) write(out io.Writer) error {
	lines := r.lines()
	for _, n := range r.notes {
		fmt.Fprintf(out, "%s: %s\n", strings.Join(n.impls, ", "), n.text)
	}
	if r.suite != "" {
		fmt.Fprintf(out, "negotiated by all that have TLS: %s, %s\n", r.suite, r.curve)
	}
	for _, w := range r.o.workloads {
		if err := r.table(out, w, lines); err != nil {
			return err
		}
	}
	if r.o.json != "" {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		for _, l := range lines {
			if err := e.Encode(l); err != nil {
				return err
			}
		}
		if err := os.WriteFile(r.o.json, b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	if r.o.benchstat != "" {
		return os.WriteFile(r.o.benchstat, r.benchstat(), 0o666)
	}
	return nil
}

// table prints one workload: a row an implementation, for each metric the
// median, the range over the rounds, and the ratio of medians to the base's.
func (r *report) table(out io.Writer, workload string, lines []line) error {
	w := workloads[workload]
	fmt.Fprintf(out, "\n%s: %s\n", workload, w.title)
	base := make(map[string]float64)
	for _, l := range lines {
		if l.Workload == workload && l.Impl == r.o.base {
			base[l.Metric] = l.Median
		}
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "impl")
	for _, m := range w.metrics {
		fmt.Fprintf(t, "\t%s\t[min, max]", m)
		if len(base) > 0 {
			fmt.Fprintf(t, "\t/ %s", r.o.base)
		}
	}
	fmt.Fprintln(t)
	for _, impl := range r.o.impls {
		if !supports(impl, workload) {
			continue
		}
		fmt.Fprint(t, impl)
		for _, m := range w.metrics {
			i := slices.IndexFunc(lines, func(l line) bool { return l.Workload == workload && l.Impl == impl && l.Metric == m })
			l := lines[i]
			fmt.Fprintf(t, "\t%s\t[%s, %s]", human(l.Median), human(l.Min), human(l.Max))
			if len(base) > 0 {
				fmt.Fprintf(t, "\t%s", ratio(l.Median, base[m]))
			}
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// benchstat returns every sample in the format of testing's benchmarks, for
// benchstat to compare two runs of this program or two implementations in one
// (benchstat -col /impl).
func (r *report) benchstat() []byte {
	var b bytes.Buffer
	for _, w := range r.o.workloads {
		for _, impl := range r.o.impls {
			if !supports(impl, w) {
				continue
			}
			for i := range r.o.rounds {
				fmt.Fprintf(&b, "Benchmark%s/impl=%s 1", strings.ToUpper(w[:1])+w[1:], impl)
				for _, m := range workloads[w].metrics {
					fmt.Fprintf(&b, " %g %s", r.samples[sampleKey{w, impl, m}][i], m)
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.Bytes()
}

// median returns the middle of s, or the mean of the two in the middle.
func median(s []float64) float64 {
	s = slices.Sorted(slices.Values(s))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// human writes three or four significant digits, without an exponent.
func human(v float64) string {
	digits := 0
	for limit := 1000.0; digits < 3 && v < limit && v > -limit; limit /= 10 {
		digits++
	}
	if v == float64(int64(v)) {
		digits = 0
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func ratio(v, base float64) string {
	if base == 0 {
		return "-"
	}
	return strconv.FormatFloat(v/base, 'f', 2, 64) + "x"
}
