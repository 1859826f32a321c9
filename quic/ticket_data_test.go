package quic

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A server takes early data with a ticket only if what the protocol above has said in it is
// still so: the same, or what it accepts.
func TestTicketDataAtServer(t *testing.T) {
	with := func(data string, accept func([]byte) bool) ListenOptions {
		o := ListenOptions{TicketKeys: [][32]byte{{1}}, AcceptEarly: accept}
		if data != "" {
			o.TicketData = []byte(data)
		}
		return o
	}
	tries := []struct {
		first, then ListenOptions
		taken       bool
	}{
		{with("", nil), with("", nil), true},
		{with("a", nil), with("a", nil), true},
		{with("a", nil), with("b", nil), false},
		{with("a", nil), with("", nil), false},
		{with("", nil), with("a", nil), false},
		{with("a", nil), with("b", func(data []byte) bool { return string(data) == "a" }), true},
		{with("a", nil), with("a", func([]byte) bool { return false }), false},
		{with("", nil), with("a", func(data []byte) bool { return data == nil }), true},
		{with("a", nil), with("a", func([]byte) bool { panic("x") }), false},
	}
	for i, try := range tries {
		synctest.Test(t, func(t *testing.T) {
			try.first.ReplayRegister = NewReplayRegister(0) // of this bubble's time
			try.then.ReplayRegister = try.first.ReplayRegister
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, try.first)
			defer m.close()
			r := m.first(ConnectOptions{})
			m.again(try.then)
			c, s := m.early(r)
			if c.EarlyDataAccepted() != try.taken || s.EarlyDataAccepted() != try.taken || !s.ConnectionState().DidResume {
				t.Errorf("case %d: taken %v, resumed %v", i, c.EarlyDataAccepted(), s.ConnectionState().DidResume)
			}
		})
	}
	_, err := (&ListenOptions{ALPN: "x", TLS: serverConfig(), TicketData: make([]byte, maxTicketData+1)}).resolve(&ListenOptions{})
	wantBad(t, err, "ListenOptions.TicketData", CodeInvalidArgValue)
}

// What a client's session says goes with its tickets, those that have waited for it too, and is
// there in the next session if that may send early data.
func TestTicketDataAtClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var r resumption
		cache := tls.NewLRUClientSessionCache(1)
		own := m.options(ConnectOptions{Hooks: r.hooks()})
		own.TLS.ClientSessionCache = cache
		c := m.connect(own)
		c.HoldTickets()
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if cs, ok := cache.Get("localhost"); ok || r.calls > 0 {
			t.Fatalf("a ticket does not wait: %v, %d calls", cs, r.calls)
		}
		if c.TicketData() != nil {
			t.Errorf("a first session has %q", c.TicketData())
		}
		c.SetTicketData([]byte("what was"))
		c.HoldTickets() // there is nothing to wait for any more
		synctest.Wait()
		if _, ok := cache.Get("localhost"); !ok || r.calls != 1 {
			t.Fatalf("in the cache %v, %d calls", ok, r.calls)
		}
		c.CloseWithError(0, "")
		again := func(o ConnectOptions, want []byte) {
			t.Helper()
			next := m.connect(o)
			if err := next.Handshake(t.Context()); err != nil || !next.ConnectionState().DidResume || !bytes.Equal(next.TicketData(), want) {
				t.Errorf("%v, resumed %v, data %q", err, next.ConnectionState().DidResume, next.TicketData())
			}
			next.CloseWithError(0, "")
		}
		again(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params}, []byte("what was"))
		again(ConnectOptions{SessionTicket: r.ticket}, nil)
		own.Hooks = SessionHooks{}
		again(own, []byte("what was"))
	})
}

// So many tickets wait for what is to go with them; the oldest of more goes without.
func TestHeldTickets(t *testing.T) {
	most := limits.Bound(t, "held-tickets")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		cache := &keptTickets{}
		c := p.client
		c.tickets.user = cache
		c.HoldTickets()
		for i := range most + 1 {
			cs, err := tls.NewResumptionState(fmt.Append(nil, i), &tls.SessionState{})
			if err != nil {
				t.Fatal(err)
			}
			c.tickets.Put("x", cs)
		}
		if got := cache.data(t); !slices.Equal(got, []string{"0 without"}) {
			t.Errorf("stored early: %q", got)
		}
		c.SetTicketData([]byte("data"))
		if got := cache.data(t); len(got) != most+1 || got[most] != fmt.Sprint(most, " data") {
			t.Errorf("in the end: %q", got)
		}
	})
}

// keptTickets is a session cache that keeps everything.
type keptTickets struct{ all []*tls.ClientSessionState }

func (k *keptTickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (k *keptTickets) Put(_ string, cs *tls.ClientSessionState)   { k.all = append(k.all, cs) }

// data returns the tickets with what goes with each.
func (k *keptTickets) data(t *testing.T) (list []string) {
	for _, cs := range k.all {
		ticket, state, err := cs.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		data, ok := findExtra(state.Extra, dataExtra)
		if !ok {
			data = []byte("without")
		}
		list = append(list, fmt.Sprintf("%s %s", ticket, data))
	}
	return list
}
