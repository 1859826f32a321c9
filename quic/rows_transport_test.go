package quic

import (
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// received returns the transport parameters that came from the session's peer.
func received(s *Session) wire.Parameters {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return *s.conn.PeerParameters()
}

// wantRefused checks that both Connect and Listen refuse an option by its name, with its
// value and its range, and that they do nothing else.
func wantRefused(t *testing.T, option, value, want string, co ConnectOptions, lo ListenOptions) {
	t.Helper()
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	co.Port, co.TLS, lo.TLS = 1, clientConfig(), serverConfig()
	_, cerr := s.Connect(t.Context(), co)
	lerr := s.Listen(t.Context(), lo)
	for in, err := range map[string]error{"ConnectOptions.": cerr, "ListenOptions.": lerr} {
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Code() != CodeOutOfRange || oe.Option != in+option {
			t.Errorf("%s%s of %s: %v", in, option, value, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, in+option) || !strings.Contains(text, value) || !strings.Contains(text, want) {
			t.Errorf("%q does not name %s%s, %s and %s", text, in, option, value, want)
		}
	}
	if s.Bound() || s.Stats().ClientSessions != 0 {
		t.Error("a bad option had an effect")
	}
}

// inPair runs a test on two sessions with these options in a bubble.
func inPair(t *testing.T, lo ListenOptions, co ConnectOptions, test func(t *testing.T, m *memNet, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, lo)
		defer m.close()
		p := m.pair(co)
		time.Sleep(100 * time.Millisecond) // the handshake is confirmed, and all is quiet
		test(t, m, p)
	})
}

// wantIdleAfter checks that both ends time out after d of silence; 0 is never.
func wantIdleAfter(t *testing.T, m *memNet, p *pair, d time.Duration) {
	t.Helper()
	var sent atomic.Int32
	p.client.Ping()
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	m.net.SetFilter(func(*dgram.Datagram) bool { sent.Add(1); return false })
	if d == 0 {
		time.Sleep(1000 * time.Hour)
		if p.client.Destroyed() || p.server.Destroyed() {
			t.Errorf("without a timeout: %v, %v", p.client.Err(), p.server.Err())
		}
		return
	}
	<-p.client.Closed()
	<-p.server.Closed()
	if got := time.Since(start); got < d-200*time.Millisecond || got > d+200*time.Millisecond {
		t.Errorf("over after %v of silence, want %v", got, d)
	}
	if !p.client.Stats().IdleTimeout || !p.server.Stats().IdleTimeout || sent.Load() != 0 {
		t.Errorf("idle timeout: %v, %v; %d datagrams sent", p.client.Stats().IdleTimeout, p.server.Stats().IdleTimeout, sent.Load())
	}
}

func TestIdleTimeoutRows(t *testing.T) {
	for _, test := range []struct {
		name                       string
		client, server             time.Duration
		clientWire, serverWire, is time.Duration
	}{
		{"defaults", 0, 0, 10 * time.Second, 10 * time.Second, 10 * time.Second},
		{"the client's is smaller", 2 * time.Second, 5 * time.Second, 2 * time.Second, 5 * time.Second, 2 * time.Second},
		{"the server's is smaller", 5 * time.Second, time.Second, 5 * time.Second, time.Second, time.Second},
		{"none at the client", None, 3 * time.Second, 0, 3 * time.Second, 3 * time.Second},
		{"none at the server", 4 * time.Second, None, 4 * time.Second, 0, 4 * time.Second},
		{"none", None, None, 0, 0, 0},
		{"whole milliseconds", 1500*time.Millisecond + 1, time.Hour, 1501 * time.Millisecond, time.Hour, 1501 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			inPair(t, ListenOptions{IdleTimeout: test.server}, ConnectOptions{IdleTimeout: test.client}, func(t *testing.T, m *memNet, p *pair) {
				if d := received(&p.server.Session).MaxIdleTimeout; d != test.clientWire {
					t.Errorf("the client says %v, want %v", d, test.clientWire)
				}
				if d := received(&p.client.Session).MaxIdleTimeout; d != test.serverWire {
					t.Errorf("the server says %v, want %v", d, test.serverWire)
				}
				wantIdleAfter(t, m, p, test.is)
			})
		})
	}
	covers(t, "CON-013")
	covers(t, "LIS-014")
	for _, d := range []time.Duration{-2, -time.Second, 1, 10, 5000, time.Millisecond - 1} {
		wantRefused(t, "IdleTimeout", d.String(), "1ms or more, or None", ConnectOptions{IdleTimeout: d}, ListenOptions{IdleTimeout: d})
	}
	for _, d := range []time.Duration{time.Millisecond, math.MaxInt64} {
		o := ConnectOptions{Port: 1, TLS: clientConfig(), IdleTimeout: d}
		if _, err := o.resolve(&ConnectOptions{}); err != nil {
			t.Errorf("%v: %v", d, err)
		}
	}
	// Keeping alive comes before the end, however seldom it is asked for.
	inPair(t, ListenOptions{}, ConnectOptions{IdleTimeout: 2 * time.Second, KeepAlive: time.Hour}, func(t *testing.T, m *memNet, p *pair) {
		time.Sleep(time.Minute)
		if p.client.Destroyed() || p.server.Destroyed() {
			t.Errorf("with KeepAlive: %v, %v", p.client.Err(), p.server.Err())
		}
	})
}

func TestActiveConnectionIDLimitRows(t *testing.T) {
	issued := func(s *Session) int { // how many IDs the session has given its peer, and some that it began with
		ids, _ := s.Socket().owned(s.conn)
		return len(ids)
	}
	var least [2]int
	inPair(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		time.Sleep(time.Second)
		if n, k := received(&p.server.Session).ActiveCIDLimit, received(&p.client.Session).ActiveCIDLimit; n != 2 || k != 2 {
			t.Errorf("defaults are %d and %d, want 2", n, k)
		}
		least = [2]int{issued(&p.client.Session), issued(&p.server.Session)}
	})
	inPair(t, ListenOptions{ActiveConnectionIDLimit: 3}, ConnectOptions{ActiveConnectionIDLimit: 8}, func(t *testing.T, m *memNet, p *pair) {
		time.Sleep(time.Second)
		if n := received(&p.server.Session).ActiveCIDLimit; n != 8 {
			t.Errorf("the client's limit is %d, want 8", n)
		}
		if n := issued(&p.server.Session) - least[1]; n < 1 {
			t.Errorf("the server makes no use of the client's limit: %d more IDs than with 2", n)
		}
		covers(t, "CON-018")
		if n := received(&p.client.Session).ActiveCIDLimit; n != 3 {
			t.Errorf("the server's limit is %d, want 3", n)
		}
		if n := issued(&p.client.Session) - least[0]; n != 1 {
			t.Errorf("%d more IDs of the client's than with 2, want 1", n)
		}
		covers(t, "LIS-019")
	})
	inPair(t, ListenOptions{ActiveConnectionIDLimit: 8}, ConnectOptions{ActiveConnectionIDLimit: 2}, func(t *testing.T, m *memNet, p *pair) {
		if n, k := received(&p.server.Session).ActiveCIDLimit, received(&p.client.Session).ActiveCIDLimit; n != 2 || k != 8 {
			t.Errorf("the limits are %d and %d, want 2 and 8", n, k)
		}
	})
	for value, n := range map[string]int{"1": 1, "9": 9, "-1": -1, "9007199254740992": 1 << 53} {
		wantRefused(t, "ActiveConnectionIDLimit", value, "2 to 8", ConnectOptions{ActiveConnectionIDLimit: n}, ListenOptions{ActiveConnectionIDLimit: n})
	}
}

func TestMaxAckDelayRows(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ option, wire, held time.Duration }{
		{0, 25 * ms, 25 * ms}, {100 * ms, 100 * ms, 100 * ms}, {7300 * time.Microsecond, 8 * ms, 7300 * time.Microsecond},
		{None, 0, 0}, {16_383 * ms, 16_383 * ms, 16_383 * ms},
	} {
		t.Run(test.option.String(), func(t *testing.T) {
			held := func(s *Session) time.Duration { // how long the peer keeps back its acknowledgement
				time.Sleep(time.Minute)
				s.Ping()
				time.Sleep(time.Minute)
				return s.Stats().LatestRTT // there and back takes no time
			}
			inPair(t, ListenOptions{IdleTimeout: None}, ConnectOptions{IdleTimeout: None, MaxAckDelay: test.option}, func(t *testing.T, m *memNet, p *pair) {
				if d := received(&p.server.Session).MaxAckDelay; d != test.wire {
					t.Errorf("the client says %v, want %v", d, test.wire)
				}
				if d := held(&p.server.Session); d != test.held {
					t.Errorf("the client holds it back for %v, want %v", d, test.held)
				}
			})
			inPair(t, ListenOptions{IdleTimeout: None, MaxAckDelay: test.option}, ConnectOptions{IdleTimeout: None}, func(t *testing.T, m *memNet, p *pair) {
				if d := received(&p.client.Session).MaxAckDelay; d != test.wire {
					t.Errorf("the server says %v, want %v", d, test.wire)
				}
				if d := held(&p.client.Session); d != test.held {
					t.Errorf("the server holds it back for %v, want %v", d, test.held)
				}
			})
		})
	}
	for _, d := range []time.Duration{-2, 16_383*ms + 1, 16_384 * ms, 1 << 53} {
		wantRefused(t, "MaxAckDelay", d.String(), "up to 16.383s, or None for 0", ConnectOptions{MaxAckDelay: d}, ListenOptions{MaxAckDelay: d})
	}
	covers(t, "CON-020")
	covers(t, "LIS-021")
}

func TestMaxUDPPayloadSizeRows(t *testing.T) {
	for _, test := range []struct {
		option  int
		wire    int64
		largest uint64 // what comes then
	}{{0, 65_527, 1452}, {1200, 1200, 1200}, {1300, 1300, 1300}, {65_527, 65_527, 1452}, {70_000, 65_527, 1452}} {
		var up, down atomic.Uint64
		watch := func(t *testing.T, m *memNet, p *pair) {
			m.net.SetFilter(func(d *dgram.Datagram) bool {
				n := &down
				if d.Path.Local == memServer {
					n = &up
				}
				n.Store(max(n.Load(), uint64(len(d.Data))))
				return false
			})
			c, s := p.streams(t)
			for _, st := range []*Stream{c, s} {
				if _, err := st.Write(make([]byte, 100_000)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		inPair(t, ListenOptions{}, ConnectOptions{MaxUDPPayloadSize: test.option}, func(t *testing.T, m *memNet, p *pair) {
			if n := received(&p.server.Session).MaxUDPPayload; n != test.wire {
				t.Errorf("the client says %d, want %d", n, test.wire)
			}
			if watch(t, m, p); down.Load() != test.largest || up.Load() != 1452 {
				t.Errorf("with %d at the client: datagrams of %d bytes come to it and of %d to the server", test.option, down.Load(), up.Load())
			}
		})
		covers(t, "CON-022")
		up.Store(0)
		down.Store(0)
		inPair(t, ListenOptions{MaxUDPPayloadSize: test.option}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
			if n := received(&p.client.Session).MaxUDPPayload; n != test.wire {
				t.Errorf("the server says %d, want %d", n, test.wire)
			}
			if watch(t, m, p); up.Load() != test.largest || down.Load() != 1452 {
				t.Errorf("with %d at the server: datagrams of %d bytes come to it and of %d to the client", test.option, up.Load(), down.Load())
			}
		})
		covers(t, "LIS-023")
	}
	for value, n := range map[string]int{"1199": 1199, "1": 1, "-1": -1} {
		wantRefused(t, "MaxUDPPayloadSize", value, "want 1200 or more", ConnectOptions{MaxUDPPayloadSize: n}, ListenOptions{MaxUDPPayloadSize: n})
	}
}

// taken returns how many bytes a peer's stream brings here if it may send as many as it
// likes and nobody reads.
func taken(t *testing.T, to, from *Session, o StreamOptions, theirs bool) int64 {
	t.Helper()
	opener := to
	if theirs {
		opener = from
	}
	st, err := opener.TryOpenStream(o)
	if err != nil {
		t.Fatal(err)
	}
	if !theirs {
		opened := st
		opened.Write([]byte("x"))
		if st, err = from.AcceptStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 { // it has most once the window is known to be shut
		st.TryWrite(make([]byte, 10_000))
		time.Sleep(time.Millisecond)
	}
	time.Sleep(5 * time.Second)
	return int64(st.Stats().BytesSent)
}

func TestMaxDataRows(t *testing.T) {
	for _, test := range []struct{ option, wire int64 }{{0, 1 << 20}, {50_000, 50_000}, {None, 0}, {1<<62 - 1, 1<<62 - 1}} {
		const stream = 1 << 21 // the limit of a stream is out of the way
		all := min(test.wire, 200*10_000)
		inPair(t, ListenOptions{}, ConnectOptions{MaxData: test.option, MaxStreamDataBidiRemote: stream}, func(t *testing.T, m *memNet, p *pair) {
			if n := received(&p.server.Session).MaxData; n != test.wire {
				t.Errorf("the client says %d, want %d", n, test.wire)
			}
			if n := taken(t, &p.client.Session, &p.server.Session, StreamOptions{}, true); n != all {
				t.Errorf("the server sends %d bytes, want %d", n, all)
			}
		})
		covers(t, "CON-021")
		inPair(t, ListenOptions{MaxData: test.option, MaxStreamDataBidiRemote: stream}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
			if n := received(&p.client.Session).MaxData; n != test.wire {
				t.Errorf("the server says %d, want %d", n, test.wire)
			}
			if n := taken(t, &p.server.Session, &p.client.Session, StreamOptions{}, true); n != all {
				t.Errorf("the client sends %d bytes, want %d", n, all)
			}
		})
		covers(t, "LIS-022")
	}
	for value, n := range map[string]int64{"-2": -2, "4611686018427387904": 1 << 62, "9223372036854775807": math.MaxInt64} {
		wantRefused(t, "MaxData", value, "1 to 4611686018427387903, or None for 0", ConnectOptions{MaxData: n}, ListenOptions{MaxData: n})
	}
}
