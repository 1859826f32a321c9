package http3

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Acknowledgements of sections wait for company, but not for longer than their time, nor for more of
// it than there is room.
func TestAcknowledgementsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Session
		c := newMemNet(t, handler(func(w http.ResponseWriter, r *http.Request) {
			st, _ := StreamOf(w)
			s = st.Session()
		})).dial(Options{}, quic.ConnectOptions{})
		c.known()
		get := func() {
			t.Helper()
			h, _ := response(t, c.request(requestBlock("GET", "/", "user-agent", "somebody who says the same each time"), StreamHooks{}))
			wantStatus(t, h, "200")
		}
		held := func() int {
			s.fields.dmu.Lock()
			defer s.fields.dmu.Unlock()
			return s.fields.dec.Pending()
		}
		get() // the insertion: that it has come is news
		s.fields.dmu.Lock()
		if s.fields.dec.Pressing() {
			t.Error("news wait")
		}
		s.fields.dmu.Unlock()
		time.Sleep(time.Second)
		get()
		if n := held(); n == 0 {
			t.Error("nothing waits behind a section that tells nothing new")
		}
		time.Sleep(ackDelay)
		synctest.Wait()
		if n := held(); n > 0 {
			t.Errorf("%d bytes wait for longer than they may", n)
		}
		most, start := 0, time.Now()
		for range 100 {
			get()
			most = max(most, held())
		}
		if most == 0 || most >= ackBytes || time.Since(start) >= ackDelay {
			t.Errorf("%d bytes have waited at most, in %v", most, time.Since(start))
		}
	})
}

// A block is decoded into one piece of memory, and no larger one than it needs.
func TestBlockAllocations(t *testing.T) {
	o, err := (&Options{}).settled()
	must(t, err)
	s := &Session{opts: o}
	s.fields.init(s)
	var e qpack.Encoder
	section := e.AppendSection(nil, 0, Headers{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}})
	if h, err := s.fields.decodeBlock(0, section); err != nil || len(h) != 3 || cap(h) != 3 {
		t.Fatalf("%v of %d, %v", h, cap(h), err)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.fields.decodeBlock(0, section) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
