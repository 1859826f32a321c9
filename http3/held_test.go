package http3

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Header blocks that never become whole have a bound over all streams of the session, and
// what they held is free again when their streams are over.
func TestHeadersHeld(t *testing.T) {
	const piece, streams = 100 << 10, 40
	o := Options{MaxHeaderLength: 600 << 10}
	p := newPair(t, o, Options{}).settled(t)
	most := uint64(o.maxHeld())
	ctx := testContext(t)
	var open []*quic.Stream
	var ends sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for range streams {
		q, err := p.client.q.OpenStream(ctx, quic.StreamOptions{})
		must(t, err)
		open = append(open, q)
		ends.Go(func() { // it may be cut off meanwhile
			_, _ = q.Write(append(appendFrameHead(nil, frameHeaders, 500<<10), bytes.Repeat([]byte{0}, piece)...))
		})
		st, err := p.server.AcceptStream(ctx)
		must(t, err)
		ends.Go(func() {
			_, err := st.Headers()
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, &Error{ErrorCode: ExcessiveLoad}) {
				refused++
			}
		})
	}
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		held := p.server.Stats().HeadersHeld
		return held <= most && held+uint64(refused)*piece >= most && refused >= streams-int(most/piece)-1
	})
	if err := p.server.Err(); err != nil {
		t.Fatal(err)
	}
	for _, q := range open {
		q.Reset(uint64(RequestCancelled))
	}
	ends.Wait()
	eventually(t, func() bool { return p.server.Stats().HeadersHeld == 0 })

	st, sv := p.request(t, post) // others go on
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{Terminal: true}))
	if h, err := st.Headers(); h.Get(":status") != "200" || err != nil {
		t.Errorf("%v, %v", h, err)
	}
}
