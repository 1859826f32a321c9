package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A first Initial that its owner would rather not take without proof gets a Retry,
// and what the client sends then is the proof; asking costs no count.
func TestMuxChallenge(t *testing.T) {
	r := newMuxRig(t, nil)
	first := r.initial(nil, 1200)
	r.want("first Initial", first, Initial)
	if r.mux.Proven(r.now, first) {
		t.Fatal("an address is proven without a token")
	}
	if !r.mux.Challenge(r.now, first, r.batch) {
		t.Fatal("no Retry")
	}
	h, ok := wire.ParseLong(r.batch.Segment(0))
	if !ok || h.Type != wire.Retry {
		t.Fatalf("the reply is %+v", h)
	}
	if n := r.mux.Stats().Retries; n != 1 {
		t.Errorf("%d Retries counted", n)
	}
	token := append([]byte(nil), h.Token...)
	r.dcid = h.SCID
	second := r.initial(token, 1200)
	r.want("Initial with the token", second, Initial)
	for range 2 { // to ask does not use it up
		if !r.mux.Proven(r.now, second) {
			t.Error("the token proves nothing")
		}
	}
	junk := r.initial([]byte("not ours"), 1200)
	r.want("Initial with another's token", junk, Initial)
	if r.mux.Proven(r.now, junk) {
		t.Error("junk proves an address")
	}
	if n := r.mux.Stats().InvalidTokens; n != 1 {
		t.Errorf("%d invalid tokens counted, want 1", n)
	}
}
