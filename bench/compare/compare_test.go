package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be its own child, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childFlag {
		childMain()
		return
	}
	os.Exit(m.Run())
}

// TestEveryPair runs each workload over each implementation, as small as it
// goes: it proves that they work and says nothing about how fast.
func TestEveryPair(t *testing.T) {
	dir := t.TempDir()
	jsonFile, benchstatFile := filepath.Join(dir, "out.json"), filepath.Join(dir, "out.txt")
	var out bytes.Buffer
	err := compare(t.Context(), []string{"-workloads", "all", "-rounds", "1", "-mb", "2", "-requests", "50", "-handshakes", "10",
		"-pairs", "5", "-sessions", "20", "-active", "7", "-duration", "200ms", "-loss", "0", "-rtt", "4ms", "-settle", "0s", "-timeout", "1m", "-json", jsonFile, "-benchstat", benchstatFile}, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())

	got := make(map[[3]string]bool)
	f, err := os.Open(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l line
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		if l.Min > l.Median || l.Median > l.Max || l.Unit == "" {
			t.Errorf("inconsistent: %s", s.Text())
		}
		got[[3]string{l.Workload, l.Impl, l.Metric}] = true
	}
	for _, w := range workloadNames() {
		for _, impl := range implNames() {
			for _, m := range workloads[w].metrics {
				if supports(impl, w) != got[[3]string{w, impl, m}] {
					t.Errorf("%s over %s: %s in the JSON: %t", w, impl, m, !supports(impl, w))
				}
			}
		}
	}
	samples, err := os.ReadFile(benchstatFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(samples), "BenchmarkBulk/impl=quic-go 1 "); n != 1 {
		t.Errorf("%d samples of bulk over quic-go for benchstat, want one a round", n)
	}
}

func TestProfile(t *testing.T) {
	for _, workload := range []string{"bulk", "bulk-up", "fair", "many", "h3-1", "h3bulk"} {
		file := filepath.Join(t.TempDir(), "cpu.out")
		err := compare(t.Context(), []string{"-workloads", workload, "-impls", "tls", "-rounds", "1", "-mb", "1", "-requests", "20",
			"-sessions", "4", "-duration", "100ms", "-settle", "0s", "-cpuprofile", file}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			t.Errorf("no profile of %s: %v", workload, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-workloads", "bulk,fish"},
		{"-impls", "fish"},
		{"-rounds", "0"},
		{"-mb", "0"},
		{"-sessions", "0"},
		{"-active", "0"},
		{"-rate", "0"},
		{"-rtt", "-1ms"},
		{"-loss", "100"},
		{"-loss", "NaN"},
		{"-workloads", "fish*"},
		{"-workloads", "[bulk"},
		{"-curve", "fish"},
		{"-cpuprofile", "x"},
		{"fish"},
	} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q accepted", args)
		}
	}
	o, err := parseOptions([]string{"-workloads", "bulk, rr100,bulk,h3", "-mb", "64"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"bulk", "rr100", "h3-1", "h3-100"}; !slices.Equal(o.workloads, want) || o.spec.Bytes != 64e6 {
		t.Errorf("workloads %q, %d bytes", o.workloads, o.spec.Bytes)
	}
	if !slices.Equal(o.impls, implNames()) {
		t.Errorf("implementations %q, want all", o.impls)
	}
	for list, want := range map[string][]string{
		"":      {"bulk", "rr1", "rr100", "fair", "hs", "mem", "h3-1", "h3-100", "h3bulk"},
		"all":   workloadNames(),
		"bulk*": {"bulk", "bulk-up", "bulk-8", "bulk-n", "bulk-jumbo", "bulk-loss"},
		"rr,h3": {"rr1", "rr100", "h3-1", "h3-100"},
	} {
		o, err := parseOptions([]string{"-workloads", list})
		if err != nil || !slices.Equal(o.workloads, want) {
			t.Errorf("workloads %q are %q, %v; want %q", list, o.workloads, err, want)
		}
	}
}

// TestContentIsChecked breaks an answer in every way that a transport might.
func TestContentIsChecked(t *testing.T) {
	r := request{number: 12345, size: 3*ioChunk + 17}
	whole := make([]byte, r.size)
	for i := range whole {
		whole[i] = content(r.offset()+int64(i), 1)[0]
	}
	buf := make([]byte, 5000)
	if err := readAnswer(bytes.NewReader(whole), r, buf, true); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	swapped := slices.Concat(whole[:1400], whole[2800:4200], whole[1400:2800], whole[4200:])
	for name, b := range map[string][]byte{"flipped": flipped, "swapped": swapped, "short": whole[:len(whole)-1], "long": append(slices.Clone(whole), 0)} {
		if readAnswer(bytes.NewReader(b), r, buf, true) == nil {
			t.Errorf("%s answer accepted", name)
		}
	}
	req := r.appendTo(nil)
	if got, err := readRequest(bytes.NewReader(req), make([]byte, requestSize+1), true); err != nil || got != r {
		t.Errorf("request read as %+v, %v", got, err)
	}
	req[40] ^= 1
	if _, err := readRequest(bytes.NewReader(req), make([]byte, requestSize+1), true); !errors.Is(err, errContent) {
		t.Errorf("a broken request: %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.of, got, c.want)
		}
	}
}

func TestHuman(t *testing.T) {
	for v, want := range map[float64]string{12345.6: "12346", 123.45: "123.5", 12.345: "12.35", 1.2345: "1.234", 0.12345: "0.123", 0: "0", 7: "7"} {
		if got := human(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
