//go:build !race

package quic

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// limitedHelper is the variable that makes the test binary a process with little memory.
const limitedHelper = "CINNABAR_TEST_MEMORY_LIMIT"

// TestLimitedProcess is the process of TestMemoryLimit, and nothing by itself.
func TestLimitedProcess(t *testing.T) {
	if os.Getenv(limitedHelper) == "" {
		return
	}
	const sessions, streams, size = 1000, 3, 20_000
	ctx := t.Context()
	server, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}, MaxConnectionsPerHost: 2 * sessions})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Destroy(nil)
	err = server.Listen(ctx, ListenOptions{TLS: serverConfig(), IdleTimeout: time.Hour, Handler: func(v *ServerSession) error {
		v.HandleStreams(echoOne)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Destroy(nil)
	o := ConnectOptions{Address: "127.0.0.1", Port: int(server.Address().Port()), ServerName: "localhost", TLS: clientConfig(),
		IdleTimeout: time.Hour, HandshakeTimeout: time.Minute}
	work := func(n int) (peak int) {
		all := make([]*ClientSession, n)
		inParallel(n, func(i int) {
			c, err := client.Connect(ctx, o)
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = c
			inParallel(streams, func(int) { echo(t, c, size) })
		})
		peak = held()
		inParallel(n, func(i int) { echo(t, all[i], size) })
		for _, c := range all {
			c.Close()
		}
		waitFor(t, func() bool { return client.routed()+server.routed() == 0 })
		return peak
	}
	work(10)
	before := held()
	peak := work(sessions)
	after := held()
	t.Logf("%d KiB are in use before, %d with %d sessions, %d after them", before>>10, peak>>10, sessions, after>>10)
	if peak < 20<<20 {
		t.Errorf("no more than %d bytes were in use, which is no pressure", peak)
	}
	if peak > 32<<20 {
		t.Errorf("%d bytes are in use with %d sessions, far above the limit", peak, sessions)
	}
	if after > before+2<<20 {
		t.Errorf("%d bytes are in use after all sessions have ended, and %d were before", after, before)
	}
}

// inParallel calls f with 0 to n-1, sixteen at a time.
func inParallel(n int, f func(i int)) {
	next := make(chan int)
	var all sync.WaitGroup
	for range min(n, 16) {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// held returns the bytes that objects and stacks take when pools are empty.
func held() int {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// A process with a memory limit below what a thousand sessions take (the collector runs all the
// time then) works, and has its memory back when they have ended.
func TestMemoryLimit(t *testing.T) {
	// The collector's work takes as long as the machine has no time for it: the process ends itself if it hangs.
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimitedProcess$", "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), limitedHelper+"=1", "GOMEMLIMIT=20MiB")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "KiB are in use") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
