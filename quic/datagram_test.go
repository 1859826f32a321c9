package quic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

const anyDatagram = 65_535 // MaxDatagramFrameSize for as much as fits a packet

// inDatagramPair runs a test with both ends of a session that take datagrams.
func inDatagramPair(t *testing.T, o udp.NetworkOptions, lo ListenOptions, co ConnectOptions, test func(t *testing.T, m *memNet, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lo.MaxDatagramFrameSize, co.MaxDatagramFrameSize = anyDatagram, anyDatagram
		m := newMemNet(t, o, SocketOptions{}, lo)
		defer m.close()
		p := m.pair(co)
		synctest.Wait()
		test(t, m, p)
	})
}

// fates collects what a DatagramStatus hook is told, and fails if it is told twice.
type fates struct {
	t    testing.TB
	mu   sync.Mutex
	told map[uint64]DatagramStatus
}

func (f *fates) hook(id uint64, s DatagramStatus) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told == nil {
		f.told = make(map[uint64]DatagramStatus)
	}
	if before, ok := f.told[id]; ok {
		f.t.Errorf("datagram %d is %v after it was %v", id, s, before)
	}
	f.told[id] = s
	return nil
}

func (f *fates) count(s DatagramStatus) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, told := range f.told {
		if told == s {
			n++
		}
	}
	return n
}

// send sends datagrams, whose ids must count on from first.
func sendDatagrams(t testing.TB, s *Session, first uint64, texts ...string) {
	t.Helper()
	for i, text := range texts {
		id, err := s.SendDatagram([]byte(text))
		if err != nil || id != first+uint64(i) {
			t.Fatalf("SendDatagram(%.20q): %d, %v, want %d", text, id, err, first+uint64(i))
		}
	}
}

func wantDatagrams(t testing.TB, s *Session, texts ...string) {
	t.Helper()
	for _, text := range texts {
		p, err := s.ReceiveDatagram(t.Context())
		if err != nil || string(p) != text || p == nil {
			t.Fatalf("ReceiveDatagram: %.20q, %v, want %.20q", p, err, text)
		}
	}
}

// Datagrams go both ways, empty ones among them; the figures and the hooks agree.
func TestDatagrams(t *testing.T) {
	f := &fates{t: t}
	inDatagramPair(t, udp.NetworkOptions{Delay: time.Millisecond}, ListenOptions{}, ConnectOptions{Hooks: SessionHooks{DatagramStatus: f.hook}}, func(t *testing.T, m *memNet, p *pair) {
		text := []byte("kept")
		if _, err := p.client.SendDatagram(text); err != nil {
			t.Fatal(err)
		}
		copy(text, "????") // it has been copied
		large := strings.Repeat("x", p.client.MaxDatagramSize())
		sendDatagrams(t, &p.client.Session, 2, "", large)
		wantDatagrams(t, &p.server.Session, "kept", "", large)
		sendDatagrams(t, &p.server.Session, 1, "answer")
		wantDatagrams(t, &p.client.Session, "answer")
		time.Sleep(time.Second)
		if n := f.count(DatagramAcknowledged); n != 3 || f.count(DatagramLost) != 0 {
			t.Errorf("%d acknowledged", n)
		}
		c, s := p.client.Stats(), p.server.Stats()
		if c.DatagramFramesSent != 3 || c.DatagramFramesReceived != 1 || s.DatagramFramesSent != 1 || s.DatagramFramesReceived != 3 ||
			c.DatagramFramesLost+s.DatagramFramesLost+c.DatagramFramesDropped+s.DatagramFramesDropped != 0 {
			t.Errorf("%+v\n%+v", c, s)
		}
	})
}

// What is lost is told as lost and is not sent again; what is acknowledged has arrived.
func TestDatagramsLost(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	f := &fates{t: t}
	got := make(map[string]bool)
	lo := ListenOptions{Hooks: SessionHooks{Datagram: func(p []byte, early bool) error {
		if got[string(p)] || early {
			t.Errorf("%s again, or early %v", p, early)
		}
		got[string(p)] = true
		return nil
	}}}
	inDatagramPair(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, lo, ConnectOptions{Hooks: SessionHooks{DatagramStatus: f.hook}}, func(t *testing.T, m *memNet, p *pair) {
		m.net.SetFilter(func(*dgram.Datagram) bool { return r.IntN(4) == 0 })
		const n = 400
		for i := range n {
			sendDatagrams(t, &p.client.Session, uint64(i+1), fmt.Sprint("datagram ", i+1))
			time.Sleep(time.Millisecond)
		}
		m.net.SetFilter(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		acked, lost := f.count(DatagramAcknowledged), f.count(DatagramLost)
		if acked+lost != n || acked == 0 || lost == 0 {
			t.Errorf("%d acknowledged and %d lost of %d", acked, lost, n)
		}
		for id, s := range f.told {
			if s == DatagramAcknowledged && !got[fmt.Sprint("datagram ", id)] {
				t.Errorf("datagram %d is acknowledged and has not arrived", id)
			}
		}
		if st := p.client.Stats(); st.DatagramFramesLost != uint64(lost) || st.LossRetransmitCount > 20 {
			t.Errorf("%d lost, %d told; %d frames sent again", st.DatagramFramesLost, lost, st.LossRetransmitCount)
		}
	})
}

// Every reason not to take a datagram has its error (RFC 9221 §3).
func TestSendDatagramErrors(t *testing.T) {
	inDatagramPair(t, udp.NetworkOptions{Delay: time.Millisecond}, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		most := p.client.MaxDatagramSize()
		_, err := p.client.SendDatagram(make([]byte, most+1))
		var oe *OptionError
		if wantCode(t, err, CodeOutOfRange); !errors.As(err, &oe) || !strings.Contains(err.Error(), fmt.Sprint("up to MaxDatagramSize, now ", most)) {
			t.Errorf("too long: %v", err)
		}
		n := uint64(0)
		for err = nil; err == nil; n++ {
			_, err = p.client.SendDatagram(make([]byte, 1000))
		}
		if wantCode(t, err, CodeOperationFailed); !errors.Is(err, ErrDatagramQueueFull) || !errors.Is(err, ErrOperationFailed) {
			t.Errorf("full: %v", err)
		}
		if n < 500 {
			t.Errorf("full after %d", n)
		}
		time.Sleep(5 * time.Second)
		sendDatagrams(t, &p.client.Session, n, "there is room again")
		p.client.Destroy(nil)
		_, err = p.client.SendDatagram(nil)
		if wantCode(t, err, CodeInvalidState); !errors.Is(err, net.ErrClosed) {
			t.Errorf("over: %v", err)
		}
		if got := p.client.MaxDatagramSize(); got != 0 {
			t.Errorf("%d bytes after the end", got)
		}
	})
	synctest.Test(t, func(t *testing.T) { // only one end takes them
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{MaxDatagramFrameSize: 100})
		_, err := p.client.SendDatagram(nil)
		if wantCode(t, err, CodeOperationFailed); !strings.Contains(err.Error(), "takes no datagrams") || p.client.MaxDatagramSize() != 0 {
			t.Errorf("%v", err)
		}
		if n := p.server.MaxDatagramSize(); n != 97 {
			t.Errorf("%d bytes, want 97", n)
		}
		sendDatagrams(t, &p.server.Session, 1, "one way")
		wantDatagrams(t, &p.client.Session, "one way")
		c := m.connect(ConnectOptions{DelayHandshake: true})
		_, err = c.SendDatagram(nil)
		if wantCode(t, err, CodeOperationFailed); !strings.Contains(err.Error(), "after the handshake") || c.MaxDatagramSize() != 0 {
			t.Errorf("before the handshake: %v", err)
		}
	})
}

// MaxDatagramFrameSize comes from the socket's options where it is not given.
func TestDatagramOptionOfSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Server: ListenOptions{MaxDatagramFrameSize: 200}}, ListenOptions{})
		defer m.close()
		m.client.Destroy(nil)
		m.client = m.socket(SocketOptions{Client: ConnectOptions{MaxDatagramFrameSize: 300}})
		p := m.pair(ConnectOptions{})
		if c, s := p.client.MaxDatagramSize(), p.server.MaxDatagramSize(); c != 197 || s != 297 {
			t.Errorf("%d and %d bytes, want 197 and 297", c, s)
		}
		p = m.pair(ConnectOptions{MaxDatagramFrameSize: None})
		if n := p.server.MaxDatagramSize(); n != 0 {
			t.Errorf("%d bytes, want none", n)
		}
	})
}

// Of what nobody takes the newest is kept.
func TestDatagramsNotTaken(t *testing.T) {
	inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		const n = 3000
		for i := range n {
			sendDatagrams(t, &p.client.Session, uint64(i+1), fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		st := p.server.Stats()
		if st.DatagramFramesReceived != n || st.DatagramFramesDropped != n-1024 {
			t.Errorf("%d received, %d dropped", st.DatagramFramesReceived, st.DatagramFramesDropped)
		}
		for i := n - 1024; i < n; i++ {
			wantDatagrams(t, &p.server.Session, fmt.Sprint(i))
		}
	})
}

// ReceiveDatagram ends with its context, with the session, and with a Datagram hook.
func TestReceiveDatagramEnds(t *testing.T) {
	inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.server.ReceiveDatagram(ctx); err != context.DeadlineExceeded {
			t.Errorf("context: %v", err)
		}
		sendDatagrams(t, &p.client.Session, 1, "available")
		synctest.Wait()
		if b, err := p.server.ReceiveDatagram(ctx); string(b) != "available" || err != nil {
			t.Errorf("what is there wins over a context that is over: %q, %v", b, err)
		}
		waits := make(chan error)
		wait := func(s *Session) {
			go func() {
				_, err := s.ReceiveDatagram(t.Context())
				waits <- err
			}()
			synctest.Wait()
		}
		wait(&p.server.Session)
		var j journal
		p.server.SetHooks(SessionHooks{Datagram: func(b []byte, early bool) error { j.add("%s", b); return nil }})
		if err := <-waits; !errors.Is(err, ErrInvalidState) || !strings.Contains(err.Error(), "Datagram hook") {
			t.Errorf("a hook: %v", err)
		}
		if _, err := p.server.ReceiveDatagram(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("with a hook: %v", err)
		}
		sendDatagrams(t, &p.client.Session, 2, "hooked")
		j.want(t, "hooked")
		wait(&p.client.Session)
		p.server.CloseWithError(7, "enough")
		var app *ApplicationError
		if err := <-waits; !errors.As(err, &app) || app.ErrorCode != 7 {
			t.Errorf("the end: %v", err)
		}
		if _, err := p.client.ReceiveDatagram(t.Context()); !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// What waits when a hook is set is the hook's; hooks run in order, and Close last.
func TestDatagramHooks(t *testing.T) {
	var j journal
	hooks := SessionHooks{
		Datagram:       func(b []byte, early bool) error { j.add("got %s", b); return nil },
		DatagramStatus: func(id uint64, s DatagramStatus) error { j.add("%d %v", id, s); return nil },
		Close:          func() { j.add("close") },
	}
	inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		sendDatagrams(t, &p.client.Session, 1, "a", "b")
		synctest.Wait()
		p.server.SetHooks(hooks)
		j.want(t, "got a", "got b")
		sendDatagrams(t, &p.server.Session, 1, "x")
		synctest.Wait()
		time.Sleep(time.Second)
		j.want(t, "1 acknowledged")
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		sendDatagrams(t, &p.server.Session, 2, "y", "z")
		synctest.Wait()
		p.server.Destroy(nil)
		j.want(t, "2 lost", "3 lost", "close")
	})
}

// Before a Handler has returned nothing is told, and nothing missed.
func TestDatagramHooksOfHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		gate := make(chan bool)
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxDatagramFrameSize: anyDatagram, Handler: func(s *ServerSession) error {
			if err := s.Handshake(t.Context()); err != nil {
				return err
			}
			sendDatagrams(t, &s.Session, 1, "from the handler")
			<-gate
			s.SetHooks(SessionHooks{
				Datagram:       func(b []byte, early bool) error { j.add("got %s", b); return nil },
				DatagramStatus: func(id uint64, s DatagramStatus) error { j.add("%d %v", id, s); return nil },
			})
			return nil
		}})
		defer m.close()
		c := m.connect(ConnectOptions{MaxDatagramFrameSize: anyDatagram})
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		sendDatagrams(t, &c.Session, 1, "to the hook")
		wantDatagrams(t, &c.Session, "from the handler")
		time.Sleep(time.Second)
		j.want(t)
		close(gate)
		synctest.Wait()
		slices.Sort(j.lines)
		j.want(t, "1 acknowledged", "got to the hook")
	})
}

// A hook that fails, or panics, ends the session.
func TestDatagramHookErrors(t *testing.T) {
	boom := errors.New("boom")
	for name, hooks := range map[string]SessionHooks{
		"Datagram":              {Datagram: func([]byte, bool) error { return boom }},
		"Datagram, a panic":     {Datagram: func([]byte, bool) error { panic(boom) }},
		"DatagramStatus":        {DatagramStatus: func(uint64, DatagramStatus) error { return boom }},
		"DatagramStatus, panic": {DatagramStatus: func(uint64, DatagramStatus) error { panic(boom) }},
	} {
		t.Run(name, func(t *testing.T) {
			inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{Hooks: hooks}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
				sendDatagrams(t, &p.server.Session, 1, "x") // before any hook has a reason to fail
				sendDatagrams(t, &p.client.Session, 1, "x")
				<-p.server.Closed()
				if err := p.server.Err(); !errors.Is(err, boom) {
					t.Errorf("Err is %v", err)
				}
			})
		})
	}
}

// A hook that is slow holds back no more than the queue, whose oldest are dropped.
func TestDatagramHookSlow(t *testing.T) {
	inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		gate, told := make(chan bool), 0
		p.server.SetHooks(SessionHooks{Datagram: func([]byte, bool) error { <-gate; told++; return nil }})
		for i := range 3000 {
			sendDatagrams(t, &p.client.Session, uint64(i+1), "x")
			time.Sleep(time.Millisecond)
		}
		if st := p.server.Stats(); st.DatagramFramesDropped != 3000-1-1024 || st.NoticesDropped != 0 {
			t.Errorf("%d dropped, %d notices", st.DatagramFramesDropped, st.NoticesDropped)
		}
		close(gate)
		synctest.Wait()
		if told != 1025 {
			t.Errorf("%d told", told)
		}
	})
}

// Fates that nobody hears wait in a bounded queue, and are counted beyond.
func TestDatagramFatesNotHeard(t *testing.T) {
	inDatagramPair(t, udp.NetworkOptions{}, ListenOptions{MaxAckDelay: None}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		gate, told := make(chan bool), 0
		p.client.SetHooks(SessionHooks{DatagramStatus: func(uint64, DatagramStatus) error { <-gate; told++; return nil }})
		const n = maxNotices + 100
		for i := range n {
			sendDatagrams(t, &p.client.Session, uint64(i+1), "x")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		dropped := p.client.Stats().NoticesDropped
		if dropped == 0 {
			t.Error("no notice was dropped")
		}
		close(gate)
		synctest.Wait()
		if uint64(told)+dropped != n {
			t.Errorf("%d told and %d dropped of %d", told, dropped, n)
		}
	})
}

// Close lets datagrams go first that were taken just before, and the peer can still take them.
func TestDatagramsBeforeClose(t *testing.T) {
	f := &fates{t: t}
	inDatagramPair(t, udp.NetworkOptions{Delay: time.Millisecond}, ListenOptions{}, ConnectOptions{Hooks: SessionHooks{DatagramStatus: f.hook}}, func(t *testing.T, m *memNet, p *pair) {
		sendDatagrams(t, &p.client.Session, 1, "last", "words")
		p.client.Close()
		<-p.server.Closed()
		wantDatagrams(t, &p.server.Session, "last", "words")
		if _, err := p.server.ReceiveDatagram(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("no more: %v", err)
		}
		synctest.Wait()
		if n := f.count(DatagramLost); n != 2 {
			t.Errorf("%d lost, want 2: nobody will know", n)
		}
	})
}

// Datagrams of a session that resumes go early, or are lost if the server refuses that.
func TestDatagramsEarly(t *testing.T) {
	for _, taken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			f := &fates{t: t}
			first := ListenOptions{
				MaxDatagramFrameSize: 500, TicketKeys: [][32]byte{{7}}, ReplayRegister: NewReplayRegister(0),
				Hooks: SessionHooks{Datagram: func(p []byte, early bool) error { j.add("%s, early %v", p, early); return nil }},
			}
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, first)
			defer m.close()
			r := m.first(ConnectOptions{})
			second := first
			if !taken {
				second.MaxDatagramFrameSize--
			}
			m.again(second)
			c := m.connect(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params, Hooks: SessionHooks{DatagramStatus: f.hook}})
			if n := c.MaxDatagramSize(); n != 497 {
				t.Errorf("%d bytes, want the remembered limit's 497", n)
			}
			sendDatagrams(t, &c.Session, 1, "one", "two")
			if err := c.Handshake(t.Context()); err != nil || c.EarlyDataAccepted() != taken {
				t.Fatalf("%v, early %v", err, c.EarlyDataAccepted())
			}
			sendDatagrams(t, &c.Session, 3, "three")
			time.Sleep(time.Second)
			if taken {
				j.want(t, "one, early true", "two, early true", "three, early false")
			} else {
				j.want(t, "three, early false")
			}
			if n := f.count(DatagramAcknowledged); taken && n != 3 || !taken && (n != 1 || f.count(DatagramLost) != 2) {
				t.Errorf("%d acknowledged, %d lost", n, f.count(DatagramLost))
			}
		})
	}
}

// Datagrams and a bulk transfer share a session over real loopback.
func TestDatagramsLoopback(t *testing.T) {
	f := &fates{t: t}
	p := newPair(t, ListenOptions{MaxDatagramFrameSize: anyDatagram}, ConnectOptions{MaxDatagramFrameSize: anyDatagram, Hooks: SessionHooks{DatagramStatus: f.hook}})
	ctx := testContext(t)
	c, s := p.streams(t)
	const size, n = 4 << 20, 500
	wrote := make(chan error, 1)
	go func() {
		_, err := c.End(make([]byte, size))
		wrote <- err
	}()
	read := make(chan int64, 1)
	go func() {
		k, _ := s.WriteTo(discard{})
		read <- k
	}()
	go func() { // echoes until the session is over
		for {
			b, err := p.server.ReceiveDatagram(ctx)
			if err != nil {
				return
			}
			p.server.SendDatagram(b)
		}
	}()
	back := 0
	for i := range n {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000))
		sendDatagrams(t, &p.client.Session, uint64(i+1), text)
		short, cancel := context.WithTimeout(ctx, time.Second) // for one that is lost
		b, err := p.client.ReceiveDatagram(short)
		cancel()
		if err == nil {
			if back++; string(b) != text && !strings.HasSuffix(string(b), strings.Repeat("x", 1000)) {
				t.Fatalf("other bytes came back: %.40q", b)
			}
		}
	}
	if back == 0 {
		t.Error("nothing came back")
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if k := <-read; k != size {
		t.Errorf("%d bytes of the stream", k)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// The log has the frames, and when the data passed to and from the program.
func TestQLogDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{QLog: true}, ListenOptions{MaxDatagramFrameSize: anyDatagram})
		defer m.close()
		p := m.pair(ConnectOptions{QLog: true})
		logs := follow(t, p)
		sendDatagrams(t, &p.client.Session, 1, "one", "three")
		wantDatagrams(t, &p.server.Session, "one", "three")
		time.Sleep(time.Second)
		p.client.Close()
		<-p.server.Closed()
		time.Sleep(time.Minute)
		client, server := logs()
		for _, l := range []struct {
			log      *endLog
			from, in string
		}{{client, "application", "packet_sent"}, {server, "transport", "packet_received"}} {
			moved := named(l.log.events, "quic:datagram_data_moved")
			if len(moved) != 2 || moved[0].Data["from"] != l.from || fmt.Sprint(moved[1].Data["raw"]) != "map[length:5]" {
				t.Errorf("%s: %v", l.log.name, moved)
			}
			frames := 0
			for _, e := range named(l.log.events, "quic:"+l.in) {
				list, _ := e.Data["frames"].([]any)
				for _, f := range list {
					if f.(map[string]any)["frame_type"] == "datagram" {
						frames++
					}
				}
			}
			if frames != 2 {
				t.Errorf("%s: %d datagram frames in %s", l.log.name, frames, l.in)
			}
		}
		if v := server.events; !slices.ContainsFunc(v, func(e logRecord) bool { return fmt.Sprint(e.Data["max_datagram_frame_size"]) == "65535" }) {
			t.Error("the server's parameters do not say how large datagrams can be")
		}
	})
}

// A status has a name.
func TestDatagramStatusString(t *testing.T) {
	if got := fmt.Sprint(DatagramAcknowledged, DatagramLost, DatagramStatus(9)); got != "acknowledged lost DatagramStatus(9)" {
		t.Error(got)
	}
}
