package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	load = options{sessions: 10_000}

	// idle is a server without a session, steady one under load.
	idle   = figures{rss: 30_000, heap: 20_000, goroutines: 3, all: 3, descriptors: 11}
	steady = figures{rss: 400_000, heap: 180_000, goroutines: 20, answers: 15_000, handshakes: 1, all: 15_022, descriptors: 42, sessions: 11_000, kept: 11_200}
)

// complains fails unless the error is just the one that is wanted, or none.
func complains(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want == "":
	case err == nil:
		t.Errorf("no error, want %q", want)
	case want == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n"):
		t.Errorf("%v; want %q alone", err, want)
	}
}

// A steady load passes, whatever comes and goes while reports are made, and what grows or is no load is named.
func TestJudgeRun(t *testing.T) {
	rise := func(get func(*figures) *int, by int) func(f *figures, i, n int, r *rand.Rand) {
		return func(f *figures, i, n int, _ *rand.Rand) { *get(f) += by * i / (n - 1) }
	}
	rss := func(f *figures) *int { return &f.rss }
	heap := func(f *figures) *int { return &f.heap }
	goroutines := func(f *figures) *int { return &f.goroutines }
	descriptors := func(f *figures) *int { return &f.descriptors }
	for _, c := range []struct {
		name   string
		report func(f *figures, i, n int, r *rand.Rand) // the ith of n
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
				f.goroutines += 1000
				f.descriptors += 10
			}
		}},
		{name: "a moment without most", report: func(f *figures, i, n int, _ *rand.Rand) {
			if i == n/3 {
				f.goroutines, f.descriptors, f.sessions = 0, 0, 0
			}
		}},
		{name: "all come in the first quarter", report: func(f *figures, i, n int, _ *rand.Rand) {
			for _, v := range []*int{&f.rss, &f.heap, &f.goroutines, &f.descriptors, &f.sessions} {
				*v = *v * min(n, 4*i) / n
			}
		}},
		{name: "an end out of the line", report: func(f *figures, i, n int, _ *rand.Rand) {
			if i >= n-n/12 {
				f.rss += 70_000
				f.heap += 35_000
			}
		}},
		{name: "resident memory rises by a tenth and 16 MiB in all", report: rise(rss, 60_000)},
		{name: "resident memory leaks", report: rise(rss, 90_000), want: "resident memory (KiB) grew"},
		{name: "heap rises by a tenth and 8 MiB in all", report: rise(heap, 28_000)},
		{name: "heap leaks", report: rise(heap, 44_000), want: "live heap (KiB) grew"},
		{name: "heap leaks under noise", report: func(f *figures, i, n int, r *rand.Rand) {
			f.heap += 60_000*i/n + r.IntN(f.heap/10)
		}, want: "live heap (KiB) grew"},
		{name: "a few goroutines more", report: rise(goroutines, 120)},
		{name: "goroutines leak", report: rise(goroutines, 300), want: "goroutines grew"},
		{name: "a few descriptors more", report: rise(descriptors, 6)},
		{name: "descriptors leak", report: rise(descriptors, 20), want: "descriptors grew"},
		{name: "sessions become fewer", report: rise(func(f *figures) *int { return &f.sessions }, -2500)},
		{name: "nobody is let in any more", report: rise(func(f *figures) *int { return &f.sessions }, -6000), want: "sessions in the last quarter"},
		{name: "requests stop", report: func(f *figures, i, n int, _ *rand.Rand) { f.served = min(f.served, 10*n*2/3) }, want: "requests in the last quarter"},
		{name: "no requests", report: func(f *figures, _, _ int, _ *rand.Rand) { f.served = 0 }, want: "0 requests in the last quarter, 0 in the second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, reports := range []int{40, 360} { // of two minutes every three seconds, of an hour every ten
				for seed := range uint64(20) {
					r := rand.New(rand.NewPCG(seed, 0))
					list := make([]figures, reports)
					for i := range list {
						list[i] = steady
						list[i].served = 10 * i
						if c.report != nil {
							c.report(&list[i], i, reports, r)
						}
					}
					complains(t, judgeRun(io.Discard, load, list), c.want)
				}
			}
		})
	}
	complains(t, judgeRun(io.Discard, load, []figures{steady, steady, steady}), "too few reports")
}

// What is there when all clients are gone is named, and no more is allowed than is said.
func TestJudgeEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		most  int // goroutines
		held  func(f *figures)
		after func(f *figures)
		want  string
	}{
		{name: "nothing"},
		{name: "the tables of 11,000 sessions, and registers", held: func(f *figures) { f.heap += 4096 + 2048 + 5500 }},
		{name: "more than those", held: func(f *figures) { f.heap += 4096 + 2048 + 5501 }, want: "31645 KiB of heap with the socket at the end, of 31644"},
		{name: "a session", held: func(f *figures) { f.sessions, f.kept = 1, 1 }, want: "1 sessions at the end, of 0"},
		{name: "a session that is over", held: func(f *figures) { f.kept = 1 }, want: "1 sessions that are over and in memory"},
		{name: "4 MiB of heap", after: func(f *figures) { f.heap += 4096 }},
		{name: "more heap", after: func(f *figures) { f.heap += 4097 }, want: "24097 KiB of heap at the end, of 24096"},
		{name: "half a KiB for each goroutine that was not foreseen", most: 42_000, after: func(f *figures) { f.heap += 5096 }},
		{name: "more than that", most: 42_000, after: func(f *figures) { f.heap += 5097 }, want: "25097 KiB of heap at the end, of 25096"},
		{name: "an answer", after: func(f *figures) { f.answers = 1 }, want: "1 answers at the end"},
		{name: "a handshake", after: func(f *figures) { f.handshakes = 1 }, want: "1 handshakes at the end"},
		{name: "a goroutine", after: func(f *figures) { f.goroutines++ }, want: "4 goroutines at the end, of 3"},
		{name: "a descriptor", after: func(f *figures) { f.descriptors++ }, want: "12 descriptors at the end, of 11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, held, after := []figures{{}, steady, {}}, idle, idle
			list[1].all = max(list[1].all, c.most)
			if c.held != nil {
				c.held(&held)
			}
			if c.after != nil {
				c.after(&after)
			}
			complains(t, judgeEnd(load, list, idle, held, after), c.want)
		})
	}
}

// A client may fail now and then. The verdict is that of all judges.
func TestJudgeClients(t *testing.T) {
	complains(t, judgeClients(200, 1000), "")
	complains(t, judgeClients(201, 1000), "clients have failed 201 times, in 1000 sessions")

	good := verdict{o: load, before: idle, held: idle, after: idle, made: 1000}
	for i := range 40 {
		f := steady
		f.served = 10 * i
		good.list = append(good.list, f)
	}
	complains(t, good.judge(io.Discard), "")
	for want, bad := range map[string]func(v *verdict){
		"0 requests":       func(v *verdict) { v.list = make([]figures, 40); v.o = options{} },
		"answers at the":   func(v *verdict) { v.after.answers = 1 },
		"clients have":     func(v *verdict) { v.failed = 1000 },
		"something is odd": func(v *verdict) { v.odd = errors.New("something is odd") },
	} {
		v := good
		bad(&v)
		complains(t, v.judge(io.Discard), want)
	}
}
