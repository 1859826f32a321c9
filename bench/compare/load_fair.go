package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// fair makes small requests, one at a time, for as long as one long answer is
// on its way in the same session. Those begun meanwhile count, however late
// they end: a request that waits for the end of the bulk must show.
func (o overStreams) fair(ctx context.Context, b *bench) error {
	e, err := o.start(ctx, b, serveAll)
	if err != nil {
		return err
	}
	defer e.close()
	large, err := e.dial(ctx)
	if err != nil {
		return err
	}
	small := large
	if o.persistent {
		b.note("fair: a connection for the bulk and one for the requests, since there are no streams to open")
		if small, err = e.dial(ctx); err != nil {
			return err
		}
	}
	buf, bulkBuf := make([]byte, 2*answerSize), make([]byte, ioChunk)
	for _, s := range []session{large, small} { // warm
		if err := e.exchange(ctx, s, request{size: answerSize}, buf); err != nil {
			return err
		}
	}
	if err := b.meter.start(); err != nil {
		return err
	}
	var over atomic.Bool
	bulk := make(chan error, 1)
	begin := time.Now()
	go func() {
		defer over.Store(true)
		err := e.exchange(ctx, large, request{number: 1, size: b.Bytes}, bulkBuf)
		b.set("goodput_mbps", float64(b.Bytes)*8/1e6/time.Since(begin).Seconds())
		bulk <- err
	}()
	var took latencies
	for number := uint64(2); !over.Load(); number++ {
		begin := time.Now()
		if err := e.exchange(ctx, small, request{number: number, size: answerSize}, buf); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	if err := <-bulk; err != nil {
		return err
	}
	_, err = b.meter.stop()
	b.latenciesDone(took)
	return err
}

// latencies are how long requests took.
type latencies []time.Duration

// latenciesDone stores the figures of workloads that report latencies.
func (b *bench) latenciesDone(l latencies) {
	slices.Sort(l)
	b.set("p50_us", l.percentile(50))
	b.set("p99_us", l.percentile(99))
	b.set("max_us", l.percentile(100))
}

// percentile returns, in microseconds, the least of the sorted latencies that p
// percent of all do not exceed; 0 without any.
func (l latencies) percentile(p int) float64 {
	if len(l) == 0 {
		return 0
	}
	at := (len(l)*p + 99) / 100
	return float64(l[max(at, 1)-1]) / float64(time.Microsecond)
}
