package quic

// Attacks that crypto/tls, or a log, has a part in.

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// S-04: handshake messages without end behind the handshake. TLS would die of the seventeenth, and gets none once
// it has had what it is there for, so they are counted here: one by one, all together, and cut in two.
func TestS04TLSMessages(t *testing.T) {
	besiege(t, 1<<20)
	most := limits.Bound(t, "tls-messages")
	one := ticket(1<<32 - 1)
	for name, pieces := range map[string][][]byte{
		"one by one":   {one},
		"all together": {bytes.Repeat(one, most), one},
		"cut in two":   {one[:3], one[3:]},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			run := evilRun{after: func(e *evilEnd) {
				for i := 0; e.Closed == nil && sent <= 2*most*len(one); i++ {
					piece := pieces[i%len(pieces)]
					e.Insert(wire.OneRTT, piece)
					sent += len(piece)
					e.talk()
				}
				if n := e.net.client.Stats().LimitErrors; n != 1 {
					t.Errorf("%d errors are counted", n)
				}
			}}
			if got := run.errorOf(t, false); got != wire.CryptoBufferExceeded {
				t.Errorf("closed with %v, want %v", got, wire.CryptoBufferExceeded)
			}
			if n := (sent + len(one) - 1) / len(one); n != most+1 {
				t.Errorf("closed by message %d", n)
			}
		})
	}
}

// S-15: clients that say half of a hello, or all of it and nothing else, from many addresses, while nobody calls
// Accept. Each is forgotten when its time is up, and a session that is there does not notice.
func TestS15HalfOpen(t *testing.T) {
	besiege(t, 2<<20)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{IdleTimeout: None}) // which would end them, too
		defer m.close()
		honest := m.pair(ConnectOptions{KeepAlive: time.Second})
		flight := m.firstFlight(ConnectOptions{IdleTimeout: None})
		in := 0
		var out atomic.Int64
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Remote == memServer && d.Path.Local.Addr().As4()[1] == 9 {
				out.Add(int64(len(d.Data)))
				return true
			}
			return false
		})
		n := siege.Scaled(500)
		for i := range max(n, 20) {
			say := flight[:1+i%len(flight)]
			for j := range say { // a new connection each: its ID is in the clear, and what it protects is not looked at before that
				in += len(say[j])
			}
			m.replay(i, reID(say, i))
			time.Sleep(10 * time.Millisecond)
			if i%50 == 0 {
				honest.exchange(t)
			}
		}
		if n := out.Load(); n > 3*int64(in) {
			t.Errorf("%d bytes for %d", n, in)
		}
		time.Sleep(time.Duration(limits.Bound(t, "handshake-time")) + 5*time.Second)
		if n, handshakes := m.linked(); n != 1 || handshakes != 0 {
			t.Errorf("%d sessions, %d handshakes after their time", n, handshakes)
		}
		if late := m.server.Stats().HandshakeTimeouts; late != uint64(max(n, 20)) {
			t.Errorf("%d handshakes have taken too long, want all %d", late, max(n, 20))
		}
		m.net.SetFilter(nil)
		m.canaries(honest)
	})
}

// firstFlight returns the datagrams that a client begins with; none arrives.
func (m *memNet) firstFlight(o ConnectOptions) (flight [][]byte) {
	m.t.Helper()
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		if d.Path.Local == memServer {
			flight = append(flight, bytes.Clone(d.Data))
		}
		return true
	})
	c := m.connect(o)
	synctest.Wait()
	time.Sleep(5 * time.Millisecond)
	m.net.SetFilter(func(*dgram.Datagram) bool { return true }) // nor does its farewell, and it is no part of this
	c.Destroy(nil)
	synctest.Wait()
	time.Sleep(5 * time.Millisecond)
	m.net.SetFilter(nil)
	if len(flight) == 0 {
		m.t.Fatal("the client says nothing")
	}
	return flight
}

// replay sends datagrams to the server from the n-th of many addresses.
func (m *memNet) replay(n int, flight [][]byte) {
	m.t.Helper()
	from, err := m.net.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), 1000))
	if err != nil {
		m.t.Fatal(err)
	}
	defer from.Close()
	m.look()
	for _, data := range flight {
		b := dgram.NewBatch(make([]byte, 0, 1500))
		b.Commit(copy(b.Next(1500)[:1500], data))
		b.Path = dgram.Path{Local: from.LocalAddr(), Remote: memServer}
		if err := from.Send(b); err != nil {
			m.t.Fatal(err)
		}
	}
}

// reID protects the Initial packets of a first flight anew, for another connection: all that it takes is the old ID.
func reID(flight [][]byte, n int) (again [][]byte) {
	h, _ := wire.ParseLong(flight[0])
	id := wire.MakeConnectionID(binary.BigEndian.AppendUint64(nil, uint64(n)))
	reader, writer := evil.NewPeer(evil.Server, h.DCID, h.SCID), evil.NewPeer(evil.Client, id, h.SCID)
	for _, data := range flight {
		packets, _ := reader.Receive(0, data) // what is not Initial does not open
		for _, p := range packets {
			again = append(again, writer.Say(wire.Initial, p.Frames...))
		}
	}
	return again
}

// S-23: a first flight with early data comes once, and then a thousand times more, from as many addresses, in time
// and out of time. Its data is taken once; nobody who is not there is told more than three times what he said.
func TestS23FirstFlightReplayed(t *testing.T) {
	besiege(t, 2<<20)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		client := clientConfig()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		m.pair(ConnectOptions{TLS: client}).exchange(t)
		synctest.Wait() // the ticket comes
		var mu sync.Mutex
		early, late, in, out := 0, 0, 0, 0
		go m.countEarly(func(st *Stream) {
			mu.Lock()
			defer mu.Unlock()
			if st.Early() {
				early++
			} else {
				late++
			}
		})
		var flight [][]byte
		recording := true
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			switch to := d.Path.Local; {
			case recording && to == memServer:
				flight = append(flight, bytes.Clone(d.Data))
			case to == memServer:
				in += len(d.Data)
			case to.Addr().As4()[1] == 9:
				out += len(d.Data)
			}
			return false
		})
		c := m.connect(ConnectOptions{TLS: client})
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.End([]byte("pay")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Microsecond) // it is there, and no answer is here
		synctest.Wait()
		recording = false
		if err := c.Handshake(t.Context()); err != nil || !c.UsingEarlyData() {
			t.Fatalf("%v, early data %v", err, c.UsingEarlyData())
		}
		before := m.server.Stats().ServerSessions
		rounds := siege.Scaled(1000)
		for i := range rounds {
			m.replay(i, flight)
			if i%2 == 0 {
				time.Sleep(15 * time.Second) // the one before is forgotten
			}
		}
		if i := m.server.Stats().ServerSessions - before; i < uint64(rounds)/2-1 {
			t.Errorf("%d sessions were begun", i)
		}
		mu.Lock()
		if early != 1 || late != 0 {
			t.Errorf("early data was taken %d times, and other %d times", early, late)
		}
		mu.Unlock()
		synctest.Wait()
		if out > 3*in {
			t.Errorf("%d bytes for %d", out, in)
		}
	})
}

// countEarly accepts sessions and their streams, and calls took for each stream that has brought something.
func (m *memNet) countEarly(took func(*Stream)) {
	for {
		s, err := m.server.Accept(m.t.Context())
		if err != nil {
			return
		}
		go func() {
			for {
				st, err := s.AcceptStream(m.t.Context())
				if err != nil {
					return
				}
				if n, _ := io.ReadFull(st, make([]byte, 1)); n > 0 {
					took(st)
				}
			}
		}()
	}
}

// S-30: names, protocols, parameters and reasons full of what terminals and parsers obey, at their greatest lengths. The
// log has them in a form that does no harm, and is bounded.
func TestS30HostileLog(t *testing.T) {
	besiege(t, 2<<20)
	hostile := "\x00\x1b]0;\x07\x1e\n\r\"\\\xff\xfe\u2028</script>" + strings.Repeat("\x01", 230)
	for name, run := range map[string]evilRun{
		"ALPN and reasons": {config: func(c *tls.Config) { c.NextProtos = []string{"test", hostile[:250]} }},
		"server name": {edit: editExtensions(func(ext uint16, body []byte) (uint16, []byte, bool) {
			if ext == 0 && len(body) > 5 {
				body = append([]byte{0, byte(len(hostile) + 3), 0, 0, byte(len(hostile))}, hostile...)
			}
			return ext, body, true
		})},
		"parameters": {edit: editExtensions(func(ext uint16, body []byte) (uint16, []byte, bool) {
			if ext == evil.ExtParams {
				body = slices.Concat(body, []byte{0x40, 0x7b, 0x40, byte(len(hostile) - 1)}, []byte(hostile[:len(hostile)-1]))
			}
			return ext, body, true
		})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log io.Reader
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true}, ListenOptions{Handler: func(s *ServerSession) error {
					if log == nil {
						log = s.QLog()
					}
					return nil
				}})
				defer m.close()
				e := newEvilEnd(t, m)
				defer e.conn.Close()
				e.attackServer(run)
				defer e.Close()
				e.talk()
				if e.Done {
					e.send(e.Say(wire.OneRTT, wire.Close{App: true, Code: 1, Reason: []byte(strings.Repeat(hostile, 4))}))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if log == nil {
					t.Fatal("there is no log")
				}
				b, err := io.ReadAll(log)
				if err != nil || len(b) == 0 || len(b) > 1<<20 {
					t.Fatalf("a log of %d bytes, %v", len(b), err)
				}
				wantRecords(t, b)
			})
		})
	}
}

// S-53: a key that cannot sign fails the handshakes that need it, with the code of crypto/tls's
// internal_error, and nothing else; those that are through go on.
func TestS53SignerFails(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		var broken sync.Mutex
		fails := false
		config := serverConfig()
		config.Certificates[0].PrivateKey = failingCard{card{config.Certificates[0].PrivateKey.(crypto.Signer), func() {}}, func() bool {
			broken.Lock()
			defer broken.Unlock()
			return fails
		}}
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TLS: config})
		defer m.close()
		honest := m.pair(ConnectOptions{KeepAlive: time.Second})
		set := func(on bool) {
			broken.Lock()
			defer broken.Unlock()
			fails = on
		}
		set(true)
		for range 10 {
			err := m.connect(ConnectOptions{}).Handshake(t.Context())
			if !errors.Is(err, &TransportError{ErrorCode: 0x150, Remote: true}) {
				t.Errorf("handshake: %v", err)
			}
		}
		honest.exchange(t)
		set(false)
		time.Sleep(time.Minute)
		m.canaries(honest)
	})
}

// S-53: a process that has no memory left to the collector's mind goes on, slower.
func TestS53MemoryLimit(t *testing.T) {
	besiege(t, 2<<20)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 20))
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		for range 3 {
			c, s := p.streams(t)
			go func() { _, _ = c.End(make([]byte, 1<<20)) }()
			if n, err := io.Copy(io.Discard, s); n != 1<<20 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		m.canaries(p)
	})
}
