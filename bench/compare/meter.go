package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// meter reads time, CPU time and allocations of this process around the
// measured part of a workload.
type meter struct {
	cpuProfile, memProfile string

	begin   time.Time
	cpu     time.Duration
	mallocs uint64
}

// usage is what a measured part cost, both ends together.
type usage struct {
	elapsed time.Duration
	cpu     time.Duration // user and system
	allocs  uint64
}

// prepare comes before anything that is worth profiling.
func (m *meter) prepare() {
	if m.memProfile != "" {
		runtime.MemProfileRate = 1
	}
}

func (m *meter) start() error {
	runtime.GC()
	if m.cpuProfile != "" {
		f, err := os.Create(m.cpuProfile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	m.mallocs, m.cpu, m.begin = mallocs(), cpuTime(), time.Now()
	return nil
}

func (m *meter) stop() (usage, error) {
	u := usage{elapsed: time.Since(m.begin), cpu: cpuTime() - m.cpu, allocs: mallocs() - m.mallocs}
	if m.cpuProfile != "" {
		pprof.StopCPUProfile()
	}
	if m.memProfile != "" {
		f, err := os.Create(m.memProfile)
		if err != nil {
			return u, err
		}
		defer f.Close()
		runtime.GC()
		if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
			return u, err
		}
	}
	return u, nil
}

func mallocs() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.Mallocs
}

// cpuTime returns the CPU time of this process so far. Loopback traffic is
// delivered in the sender's context, so the kernel's share is nearly all in it.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// footprint is what the process holds at rest.
type footprint struct {
	heap, stack, rss float64 // bytes
	goroutines       float64
}

// readFootprint collects garbage, twice because pools survive one collection,
// and gives free memory back to the kernel before it reads.
func readFootprint() footprint {
	runtime.GC()
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return footprint{
		heap: float64(s.HeapAlloc), stack: float64(s.StackInuse),
		rss: rss(), goroutines: float64(runtime.NumGoroutine()),
	}
}

// rss returns the resident memory in bytes, or 0 where /proc is not there.
func rss() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize())
}
