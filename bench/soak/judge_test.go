package main

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// idle is a server before its first session, steady one under load.
var (
	idle   = figures{rss: 30_000, heap: 20_000, goroutines: 3, descriptors: 11}
	steady = figures{rss: 400_000, heap: 180_000, goroutines: 20, answers: 20_000, handshakes: 1, descriptors: 42}
)

// A steady server passes, whatever comes and goes while reports are made; what grows or stays is named.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		report func(f *figures, i, n int, r *rand.Rand) // the ith of n
		after  func(f *figures)
		want   string
	}{
		{name: "steady"},
		{name: "noise of a tenth", report: func(f *figures, _, _ int, r *rand.Rand) {
			f.rss += r.IntN(f.rss / 10)
			f.heap += r.IntN(f.heap / 10)
			f.goroutines += r.IntN(60)
		}},
		{name: "storms of handshakes in every third report, and more in the end", report: func(f *figures, i, n int, _ *rand.Rand) {
			if i%3 == 0 {
				f.rss += 200_000 * i / n
				f.heap += 100_000 * i / n
				f.handshakes = 2000
			}
		}},
		{name: "all come in the first quarter", report: func(f *figures, i, n int, _ *rand.Rand) {
			f.rss = f.rss * min(n, 4*i) / n
			f.heap = f.heap * min(n, 4*i) / n
		}},
		{name: "slack at the end", after: func(f *figures) { f.heap += leftHeap }},
		{name: "resident memory leaks", report: func(f *figures, i, n int, _ *rand.Rand) { f.rss += 120_000 * i / n }, want: "resident memory (KiB) grew"},
		{name: "heap leaks", report: func(f *figures, i, n int, _ *rand.Rand) { f.heap += 50_000 * i / n }, want: "live heap (KiB) grew"},
		{name: "heap leaks under noise", report: func(f *figures, i, n int, r *rand.Rand) {
			f.heap += 60_000*i/n + r.IntN(f.heap/10)
		}, want: "live heap (KiB) grew"},
		{name: "goroutines leak", report: func(f *figures, i, n int, _ *rand.Rand) { f.goroutines += 300 * i / n }, want: "goroutines grew"},
		{name: "descriptors leak", report: func(f *figures, i, n int, _ *rand.Rand) { f.descriptors += 20 * i / n }, want: "descriptors grew"},
		{name: "heap stays", after: func(f *figures) { f.heap += leftHeap + 1 }, want: "KiB of heap at the end"},
		{name: "a goroutine stays", after: func(f *figures) { f.goroutines++ }, want: "4 goroutines at the end, 3 before"},
		{name: "a descriptor stays", after: func(f *figures) { f.descriptors++ }, want: "12 descriptors at the end, 11 before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, reports := range []int{40, 360} { // of two minutes every three seconds, of an hour every ten
				for seed := range uint64(20) {
					r := rand.New(rand.NewPCG(seed, 0))
					list := make([]figures, reports)
					for i := range list {
						list[i] = steady
						if c.report != nil {
							c.report(&list[i], i, reports, r)
						}
					}
					after := idle
					if c.after != nil {
						c.after(&after)
					}
					err := judge(io.Discard, list, idle, after)
					if (err != nil) != (c.want != "") || err != nil && (strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), c.want)) {
						t.Fatalf("%d reports, seed %d: %v; want %q alone", reports, seed, err, c.want)
					}
				}
			}
		})
	}
}

// A run whose reports came too late is no pass.
func TestJudgeNeedsReports(t *testing.T) {
	if err := judge(io.Discard, []figures{steady, steady, steady}, idle, idle); err == nil || !strings.Contains(err.Error(), "too few reports") {
		t.Fatalf("three reports: %v", err)
	}
}
