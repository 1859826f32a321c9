package quic

import (
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Every bidirectional stream of the peer's is given to the function, those that had come
// before included; unidirectional ones stay with AcceptStream.
func TestHandleStreams(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	ctx := testContext(t)
	open := func(o StreamOptions) *Stream {
		st, err := p.client.OpenStream(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.End([]byte{1}); err != nil {
			t.Fatal(err)
		}
		return st
	}
	open(StreamOptions{}) // before there is a handler
	open(StreamOptions{HalfOpen: true})
	first, err := p.server.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open(StreamOptions{})

	var mu sync.Mutex
	var ids []int64
	var handled sync.WaitGroup
	handled.Add(11)
	p.server.HandleStreams(func(st *Stream) {
		defer handled.Done()
		if b, err := io.ReadAll(st); len(b) != 1 || err != nil {
			t.Errorf("stream %d: %v, %v", st.ID(), b, err)
		}
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, st.ID())
		_ = st.Close()
	})
	for range 10 {
		open(StreamOptions{})
	}
	handled.Wait()
	slices.Sort(ids)
	for i, id := range ids {
		if want := int64(4 * (i + 1)); id != want {
			t.Errorf("streams %v, want 4, 8, ... 44", ids)
			break
		}
	}
	if first.ID() != 0 {
		t.Errorf("the first stream accepted is %d", first.ID())
	}
	if st, err := p.server.AcceptStream(ctx); err != nil || !st.Unidirectional() {
		t.Errorf("AcceptStream: %v, %v", st, err)
	}
}

// Streams whose functions wait do not hold up others that came with them, however many these are; and those whose
// functions do not wait are all handled, too.
func TestHandleStreamsThatWait(t *testing.T) {
	const n = 5*takerTurn + 3
	for _, waits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var a arrivals
			var mu sync.Mutex
			order, most, now := []*Stream{}, 0, 0
			all := make(chan struct{})
			handler := func(st *Stream) {
				mu.Lock()
				order = append(order, st)
				now++
				most = max(most, now)
				mu.Unlock()
				if waits {
					<-all
				}
				mu.Lock()
				now--
				mu.Unlock()
			}
			var want []*Stream
			for _, crowd := range []int{1, 2, n - 3} {
				var fresh *Stream
				for range crowd {
					st := new(Stream)
					st.fresh, fresh = fresh, st
					want = append(want, st)
				}
				a.begin(fresh, handler)
			}
			synctest.Wait()
			if len(order) != n {
				t.Fatalf("%d of %d streams are handled (waiting: %t)", len(order), n, waits)
			}
			if waits && most != n {
				t.Errorf("%d at once, want all %d", most, n)
			}
			for _, st := range want {
				if st.fresh != nil {
					t.Fatal("a stream is still linked")
				}
				if !slices.Contains(order, st) {
					t.Fatal("a stream was not handled")
				}
			}
			close(all)
			synctest.Wait()
			if now != 0 || a.head != nil || a.tail != nil || a.coming {
				t.Errorf("%d functions under way, queue %p to %p, another comes: %t", now, a.head, a.tail, a.coming)
			}
		})
	}
}

// A function that ends its goroutine takes none of the streams behind it along.
func TestHandleStreamsGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a arrivals
		var fresh *Stream
		for range 100 {
			st := new(Stream)
			st.fresh, fresh = fresh, st
		}
		var handled atomic.Int32
		a.begin(fresh, func(*Stream) {
			handled.Add(1)
			runtime.Goexit()
		})
		synctest.Wait()
		if n := handled.Load(); n != 100 {
			t.Errorf("%d of 100 streams are handled", n)
		}
	})
}
