package http3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// What waits for a peer that does not read our control stream is bounded.
func TestControlIsNotRead(t *testing.T) {
	p := newPairOn(t, Options{}, Options{}, quic.ListenOptions{MaxStreamDataUni: 16}, quic.ConnectOptions{})
	p.server.in.mute(p.server)
	st := p.open(t)
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{}))
	n := 0
	for err := error(nil); err == nil; n++ {
		if err = st.UpdatePriority(Priority{Urgency: 1}); err != nil && (codeOf(err) != "ERR_OPERATION_FAILED" || !errors.Is(err, errUnread)) {
			t.Fatal(err)
		}
		if p.client.mu.Lock(); len(p.client.owed) > maxOwedControl {
			t.Fatalf("%d bytes wait", len(p.client.owed))
		}
		p.client.mu.Unlock()
	}
	if n < maxOwedControl/20 {
		t.Errorf("only %d updates were taken", n)
	}
}

// mute makes the control stream's reader take nothing: its credit is used up.
func (c *control) mute(s *Session) {
	s.q.Post(func() {
		for _, q := range s.q.Streams() {
			if q.Unidirectional() && !q.Local() {
				q.SetHooks(quic.StreamHooks{})
			}
		}
		h := s.q.Hooks()
		h.Stream = func(*quic.Stream) error { return nil }
		s.q.SetHooks(h)
	})
}

// What waits for a peer that allows no decoder stream, or does not read it, is bounded.
func decoderIsNotRead(t *testing.T) {
	a := rawClient(t, Options{}, quic.ConnectOptions{MaxStreamsUni: 1})
	uni([]byte{streamQPACKEncoder}, firstEntry)(a)
	a.victim.fields.dmu.Lock()
	for len(a.victim.fields.dec.Instructions()) < maxOwedInstructions-100 { // as if many had gone before
		a.victim.fields.dec.Cancel(1 << 40)
	}
	a.victim.fields.dmu.Unlock()
	for a.q.Err() == nil {
		st := a.open()
		if st == nil {
			break
		}
		_, _ = st.Write(needsEntry)
		st.Reset(uint64(RequestCancelled)) // a cancellation is owed for each
		if sv, err := a.victim.AcceptStream(a.ctx); err == nil {
			_ = sv.Close()
		}
		a.victim.useful.refill() // that is another bound
	}
	if err := a.victim.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
	a.victim.fields.dmu.Lock()
	defer a.victim.fields.dmu.Unlock()
	if n := len(a.victim.fields.dec.Instructions()); n > maxOwedInstructions+20 {
		t.Errorf("%d bytes wait", n)
	}
}

func (b *budget) refill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = 0
}

// Requests that a client takes back cost it something.
func sessionRapidReset(t *testing.T) {
	a := rawClient(t, Options{Hooks: SessionHooks{Stream: answerWithHooks}}, quic.ConnectOptions{})
	for a.q.Err() == nil {
		st := a.open()
		if st == nil {
			break
		}
		_, _ = st.Write(get())
		st.Reset(uint64(RequestCancelled))
		st.Stop(uint64(RequestCancelled))
	}
	eventually(t, func() bool { return a.victim.Err() != nil })
	if err := a.victim.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
	if n := a.victim.Stats().Useless; n < budgetBurst {
		t.Errorf("%d useless things are counted", n)
	}
}

// Priorities of requests that have not come are kept, so many and no more.
func earlyUpdates(t *testing.T) {
	s := rawClient(t, Options{}, quic.ConnectOptions{}).victim
	limit := s.q.PeerStreams(false)
	if limit < maxEarlyUpdates {
		t.Fatalf("%d streams are allowed: too few to try", limit)
	}
	update := func(id uint64, value string) {
		t.Helper()
		if f := s.onPriorityUpdate(framePriorityStream, append(num(id), value...)); f != nil {
			t.Fatal(f)
		}
	}
	for i := range uint64(limit) {
		update(i*4, "u=0")
	}
	if len(s.updates) != int(min(limit, maxEarlyUpdates)) {
		t.Errorf("%d are kept", len(s.updates))
	}
	update(0, "u=7, i")  // one that is there can change
	update(4, "u=7, \"") // and what is no priority changes nothing
	if s.updates[0] != (Priority{7, true}) || s.updates[4] != (Priority{0, false}) {
		t.Errorf("%+v, %+v", s.updates[0], s.updates[4])
	}
}

// Datagrams of requests that have not come are kept, so many and no more.
func TestEarlyDatagrams(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams).settled(t)
	eventuallyPushes(t, p) // MAX_PUSH_ID counts too
	before := p.server.Stats().Useless
	for i := range maxEarlyDatagrams + 10 {
		_, err := p.client.q.SendDatagram(append(num(0), fmt.Sprint(i)...))
		must(t, err)
		eventually(t, func() bool { return p.server.Stats().Useless == before+uint64(i)+1 })
	}
	eventually(t, func() bool { return p.server.Stats().DatagramsDropped == 10 })
	_, server := p.tunnel(t)
	for i := range maxEarlyDatagrams {
		if b, err := server.ReceiveDatagram(testContext(t)); string(b) != fmt.Sprint(i+10) || err != nil {
			t.Fatalf("datagram %d is %q, %v", i, b, err)
		}
	}
}

// Datagrams that have no request cost their sender something.
func datagramFlood(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams).settled(t)
	const batch = 100
	for want := p.server.Stats().Useless; p.client.q.Err() == nil; { // what does not leave would count as the victim's work
		for range batch {
			_, _ = p.client.q.SendDatagram(num(3))
		}
		want += batch
		eventually(t, func() bool { return p.server.Stats().Useless >= want || p.client.q.Err() != nil })
	}
	if err := p.client.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Remote: true, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
}

// The budget fills again with time.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budget
		spend := func(n int) {
			t.Helper()
			for i := range n {
				if f := b.charge("x"); f != nil {
					t.Fatalf("%d are too many", i)
				}
			}
			if f := b.charge("x"); f == nil || f.code != ExcessiveLoad || !f.session {
				t.Fatalf("%d and one more: %v", n, f)
			}
			b.spent-- // as if the session had gone on
		}
		burst, rate := limits.Bound(t, "http3-useless-burst"), limits.Bound(t, "http3-useless-rate")
		spend(burst)
		time.Sleep(time.Second)
		spend(rate)
		b.earn()
		spend(1)
		time.Sleep(time.Hour)
		spend(burst)
		if n := b.spentInAll(); n != uint64(burst+rate+1+burst+4) {
			t.Errorf("%d in all", n)
		}
	})
}

// What honest clients waste in any number of requests, a browser's priorities and what it takes back,
// comes nowhere near the bound, however fast they come.
func TestBudgetOfHonestClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		s := &Session{server: true}
		for i := range 300_000 {
			s.next += 4
			s.useful.earn()
			for range freeUpdates {
				if f := s.chargeUpdate(); f != nil {
					t.Fatalf("request %d: %v", i, f)
				}
			}
			if i%3 == 0 {
				s.chargeReset(&Stream{s: s, push: -1})
			}
		}
		if s.useful.spent > budgetBurst/100 {
			t.Errorf("%v of the budget are spent", s.useful.spent)
		}
	})
}

// Pushes that end in any order leave nothing behind, and the limit rises with them.
func TestPushesTable(t *testing.T) {
	var p pushes
	p.init(1000)
	if b := p.raise(); !bytes.Equal(b, appendIDFrame(nil, frameMaxPushID, pushWindow-1)) || p.limit != pushWindow {
		t.Fatalf("it begins with %x, %d", b, p.limit)
	}
	for id := int64(pushWindow - 1); id > 0; id-- { // the first is still under way
		if p.finish(id); p.raise() != nil {
			t.Fatal("the limit rises")
		}
	}
	if len(p.over) != pushWindow-1 || p.ended(0) || !p.ended(1) {
		t.Errorf("%d are over", len(p.over))
	}
	p.finish(0)
	if p.low != pushWindow || len(p.over) != 0 || p.raise() == nil || p.limit != 2*pushWindow {
		t.Errorf("low %d, over %d, limit %d", p.low, len(p.over), p.limit)
	}
	p.finish(0) // again
	for id := p.low; id < 1000; id++ {
		p.finish(id)
		p.raise()
	}
	if p.limit != 1000 || p.raise() != nil || len(p.over)+len(p.known) != 0 {
		t.Errorf("limit %d, %d and %d left", p.limit, len(p.over), len(p.known))
	}
}

// An unread push stream that is reset before its promise is forgotten.
func TestPushResetUnpromised(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	_, sv := p.request(t, post)
	pushed, err := sv.PushStream(getP, PushOptions{}) // nobody reads the promise
	must(t, err)
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	eventually(t, func() bool { return p.client.pushesKept() == 1 })
	pushed.Reset(RequestCancelled)
	eventually(t, func() bool {
		p.client.mu.Lock()
		defer p.client.mu.Unlock()
		return p.client.pushes.low == 1
	})
}

// Either end can take a push back.
func TestCancelPush(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	st, sv := p.request(t, post)
	go func() { _, _ = st.Headers() }()
	pushed, err := sv.PushStream(getP, PushOptions{})
	must(t, err)
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	p.client.CancelPush(0)
	p.client.CancelPush(0)
	p.client.CancelPush(1 << 40)
	<-pushed.Closed()
	if err := pushed.Err(); err != nil && !isCut(err, RequestCancelled) {
		t.Errorf("the push ends with %v", err)
	}
	pushed, err = sv.PushStream(getP, PushOptions{})
	must(t, err)
	must(t, pushed.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	p.server.CancelPush(1)
	eventually(t, func() bool { return p.client.pushesKept() == 0 && p.server.pushesKept() == 0 })
	answerPlainly(sv)
	if b, err := io.ReadAll(st); string(b) != "ok" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
