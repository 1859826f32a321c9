package quic

import (
	"io"
	"slices"
	"sync"
	"testing"
)

// Every bidirectional stream of the peer's gets a goroutine of its own, those that had come
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
