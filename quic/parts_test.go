package quic

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func TestRing(t *testing.T) {
	var r ring[int]
	next, want := 0, 0
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		if r.len() == 0 || rnd.IntN(2) == 0 {
			r.push(next)
			next++
		} else if v := r.pop(); v != want {
			t.Fatalf("popped %d, want %d", v, want)
		} else {
			want++
		}
		if r.len() != next-want {
			t.Fatalf("length %d, want %d", r.len(), next-want)
		}
	}
}

func TestWaitQueue(t *testing.T) {
	var q waitQueue
	var p waiterPool
	a, b, c := p.get(), p.get(), p.get()
	q.push(a)
	q.push(b)
	q.push(c)
	if !q.remove(b) || q.remove(b) {
		t.Error("remove from the middle")
	}
	if !q.remove(c) || q.tail != a {
		t.Error("remove from the end")
	}
	q.push(b)
	if q.pop() != a || q.pop() != b || q.pop() != nil || q.tail != nil {
		t.Error("order")
	}
	q.push(c)
	q.release()
	<-c.ch
}

// The inbox keeps order, and drops what is too much.
func TestInbox(t *testing.T) {
	most, slabsHeld := limits.Bound(t, "inbox-datagrams"), limits.Bound(t, "inbox-parcels")
	var b inbox
	datagram := func(i int) dgram.Datagram { return dgram.Datagram{Data: fmt.Appendf(nil, "%d", i)} }
	for i := range most + 5 {
		d := []dgram.Datagram{datagram(-1), datagram(i)}
		b.copy(d, func(j int) bool { return j == 1 })
	}
	if b.empty() || b.drops() != 5 {
		t.Errorf("dropped %d", b.drops())
	}
	i := 0
	for p := b.take(); p != nil; {
		for _, d := range p.d[:p.n] {
			if string(d.Data) != fmt.Sprint(i) {
				t.Fatalf("%q at %d", d.Data, i)
			}
			i++
		}
		next := p.next
		p.put()
		p = next
	}
	if i != most || !b.empty() || b.take() != nil {
		t.Errorf("%d came out", i)
	}
	// Large ones are bounded by memory instead, and whole parcels count too.
	pushed := 0
	for range 200 {
		p := parcels.Get().(*parcel)
		p.slab = slabs.Get()
		p.d[0], p.n = dgram.Datagram{Data: p.slab[:60_000]}, 1
		if b.push(p) {
			pushed++
		} else {
			p.put()
		}
	}
	if pushed != slabsHeld {
		t.Errorf("%d slabs went in", pushed)
	}
	for p := b.take(); p != nil; {
		next := p.next
		p.put()
		p = next
	}
}

func TestMessageScanner(t *testing.T) {
	stream := bytes.Join([][]byte{
		{1, 0, 0, 3, 9, 9, 9},
		{4, 0, 0, 0},
		append([]byte{11, 0, 1, 0}, make([]byte, 256)...),
		{24, 0, 0, 1, 0},
	}, nil)
	for step := 1; step <= len(stream); step++ {
		var m messageScanner
		var kinds []byte
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			piece := rest[:n]
			rest = rest[n:]
			for {
				kind, ok := m.next(&piece)
				if !ok {
					break
				}
				kinds = append(kinds, kind)
			}
		}
		if !bytes.Equal(kinds, []byte{1, 4, 11, 24}) {
			t.Fatalf("step %d: %d", step, kinds)
		}
	}
}

// Which handshake messages are errors of the peer's before TLS sees them (RFC 9001
// §4.4, §6; TLS alerts otherwise would be internal_error).
func TestForbiddenMessages(t *testing.T) {
	message := func(kind byte) []byte { return []byte{kind, 0, 0, 0} }
	client, server := &ClientSession{}, &ServerSession{}
	client.Session.client, server.Session.server = client, server
	client.tls, server.tls = newTLSRunner(&client.Session), newTLSRunner(&server.Session)
	for _, test := range []struct {
		s     *Session
		level transport.Level
		kind  byte
		want  wire.ErrorCode
	}{
		{&client.Session, transport.LevelHandshake, 24, 0x10a},
		{&server.Session, transport.LevelHandshake, 24, 0x10a},
		{&server.Session, transport.LevelInitial, 24, 0x10a},
		{&server.Session, transport.LevelHandshake, 20, 0},
		{&client.Session, transport.LevelApp, 4, 0},
		{&client.Session, transport.LevelApp, 24, 0x10a},
		{&client.Session, transport.LevelApp, 13, 0x0a},
		{&client.Session, transport.LevelApp, 1, 0x10a},
		{&server.Session, transport.LevelApp, 4, 0x10a},
		{&server.Session, transport.LevelApp, 24, 0x10a},
	} {
		err := test.s.checkMessages(test.s.scanner(test.level), test.level, message(test.kind))
		if err == nil && test.want != 0 || err != nil && err.Code != test.want {
			t.Errorf("level %d, message %d: %v, want %v", test.level, test.kind, err, test.want)
		}
	}
}

func TestTokenStore(t *testing.T) {
	s := NewTokenStore(2)
	s.Put("a", []byte("1"))
	s.Put("b", []byte("2"))
	s.Put("a", []byte("3"))
	s.Put("c", []byte("4"))
	if s.Len() != 2 || s.Take("b") != nil {
		t.Error("the oldest is still there")
	}
	if string(s.Take("a")) != "3" || s.Take("a") != nil || string(s.Take("c")) != "4" || s.Len() != 0 {
		t.Error("a token is used once")
	}
	most := limits.Bound(t, "tokens")
	s = NewTokenStore(0)
	for i := range 20 * most {
		s.Put(fmt.Sprint(i), []byte("x"))
	}
	if s.Len() != most || s.Take(fmt.Sprint(20*most-1)) == nil {
		t.Errorf("%d tokens kept", s.Len())
	}
}

// A ticket is used once, and none that the register cannot know of (RFC 9001 §9.2).
func TestS23ReplayRegister(t *testing.T) {
	besiege(t, 1<<20)
	old := time.Now().Add(-time.Second)
	g := NewReplayRegister(3)
	id := func(i byte) []byte { return append(make([]byte, 15), i) }
	if g.Use(id(0), old) {
		t.Error("a ticket from before the register")
	}
	now := time.Now()
	for i := range byte(3) {
		if !g.Use(id(i), now) || g.Use(id(i), now) {
			t.Errorf("ticket %d", i)
		}
	}
	if g.Use(id(3), now) || g.Use(id(0), now) {
		t.Error("a full register takes old tickets")
	}
	if !g.Use(id(0), time.Now()) {
		t.Error("an emptied register refuses new tickets")
	}
	if g.Use([]byte("short"), time.Now()) {
		t.Error("not one of our IDs")
	}
	most := limits.Bound(t, "tickets-used")
	g, now = NewReplayRegister(0), time.Now()
	for i := range most {
		if !g.Use(binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i)), now) {
			t.Fatalf("full with %d tickets", i)
		}
	}
	if g.Use(binary.BigEndian.AppendUint64(make([]byte, 8), uint64(most)), now) {
		t.Error("one more ticket is taken")
	}
	synctest.Test(t, fullRegister)
}

// fullRegister: who comes with a ticket to a server whose register is full is resumed, and says nothing early.
func fullRegister(t *testing.T) {
	g := NewReplayRegister(1)
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{ReplayRegister: g})
	defer m.close()
	client := clientConfig()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	m.pair(ConnectOptions{TLS: client}).exchange(t)
	synctest.Wait() // the ticket comes
	if !g.Use(make([]byte, 16), time.Now()) {
		t.Fatal("an empty register takes no ticket")
	}
	p := m.pair(ConnectOptions{TLS: client})
	if p.client.UsingEarlyData() || !p.client.ConnectionState().DidResume {
		t.Errorf("early data %v, resumed %v", p.client.UsingEarlyData(), p.client.ConnectionState().DidResume)
	}
	m.canaries(p)
}

// A dispatcher that is not served drops what is not the end of something.
func TestDispatcherBound(t *testing.T) {
	most := limits.Bound(t, "notices")
	var runs []func()
	d := dispatcher{run: func(f func()) { runs = append(runs, f) }}
	n := 0
	for range most + 10 {
		d.post(func() { n++ }, false)
	}
	d.post(func() { n++ }, true)
	d.kick()
	d.kick()
	if len(runs) != 1 || d.drops() != 10 || (*dispatcher)(nil).drops() != 0 {
		t.Fatalf("%d runs, %d dropped", len(runs), d.drops())
	}
	d.post(func() { n++ }, true)
	runs[0]()
	if n != most+2 {
		t.Errorf("%d notices came", n)
	}
	d.hold()
	d.post(func() { n++ }, true)
	d.kick()
	if len(runs) != 1 {
		t.Error("a held dispatcher runs")
	}
	d.release()
	runs[1]()
	if n != most+3 {
		t.Errorf("%d notices came", n)
	}
}

// Sessions whose Handler fails while the SessionError hook does not return are dropped and counted; the end of
// the socket is told of all the same.
func TestSessionErrorsBound(t *testing.T) {
	most := limits.Bound(t, "session-errors")
	var runs []func()
	told, closed := 0, false
	var s *Socket
	fail := func(n int) {
		for range n {
			s.sessionFailed(errBoom, new(Session))
		}
	}
	s, err := NewSocket(SocketOptions{
		Dispatch: func(f func()) { runs = append(runs, f) },
		Hooks: SocketHooks{
			SessionError: func(error, *Session) {
				if told++; told == 1 { // the others wait still
					fail(11)
				}
			},
			Error: func(error) { closed = true },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fail(most + 10)
	if n := s.Stats().NoticesDropped; n != 10 {
		t.Errorf("%d are dropped, want 10", n)
	}
	for _, f := range runs {
		f()
	}
	if n := s.Stats().NoticesDropped; n != 20 || told != most+1 {
		t.Errorf("%d are dropped, want 20; the hook was told of %d, want %d", n, told, most+1)
	}
	runs = nil
	fail(most + 10)
	s.Destroy(errBoom)
	<-s.done
	for _, f := range runs {
		f()
	}
	if told != 2*most+1 || !closed {
		t.Errorf("the hook was told of %d, want %d; of the end %v", told, 2*most+1, closed)
	}
}

// What a program hands back as a ticket may be anything.
func FuzzTicket(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0}, []byte("cinnabar client 1\x00\x04test\x04\x01\x05"))
	f.Add([]byte{1, 0, 0, 0, 1, 7, 3, 4, 2}, []byte("cinnabar server 2\x00"))
	f.Add([]byte{}, []byte("\xff\xff\xff\xff0"))
	l := &listener{replay: NewReplayRegister(1)}
	f.Fuzz(func(t *testing.T, ticket, extra []byte) {
		if cs, state, err := decodeTicket(ticket); err == nil {
			again, _, err := encodeTicket(cs)
			if err != nil {
				t.Fatal(err)
			}
			if _, second, err := decodeTicket(again); err != nil || second.EarlyData != state.EarlyData {
				t.Fatal(err)
			}
		}
		remembered(&tls.SessionState{Extra: [][]byte{extra}})
		l.takesEarly([][]byte{extra})
		if certs, ok := decodeChain(extra); ok && !bytes.Equal(encodeChain(certs), append([]byte(chainExtra), extra...)) {
			t.Fatal("another chain")
		}
	})
}
