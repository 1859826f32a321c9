package quic

import (
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Round trips, in a network where they are exact.
func TestSessionRTTRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt, ackDelay = 20 * time.Millisecond, 25 * time.Millisecond
		m := newMemNet(t, udp.NetworkOptions{Delay: rtt / 2}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{})
		if s := c.Stats(); s.LatestRTT != 0 || s.MinRTT != 0 || s.SmoothedRTT != 0 {
			t.Errorf("before the first sample: %v, least %v, smoothed %v", s.LatestRTT, s.MinRTT, s.SmoothedRTT)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := c.Stats(); s.LatestRTT != rtt || s.MinRTT != rtt || s.SmoothedRTT != rtt {
			t.Errorf("after the handshake: %v, least %v, smoothed %v", s.LatestRTT, s.MinRTT, s.SmoothedRTT)
		}
		for range 5 {
			c.Ping()
			time.Sleep(time.Second)
			s := c.Stats()
			if s.LatestRTT != rtt+ackDelay {
				t.Errorf("the last sample is %v, want %v: its answer was held back", s.LatestRTT, rtt+ackDelay)
			}
			covers(t, "SES-063")
			if s.MinRTT != rtt || s.MinRTT > s.LatestRTT {
				t.Errorf("the smallest sample is %v, want %v", s.MinRTT, rtt)
			}
			covers(t, "SES-070")
			if d := s.SmoothedRTT - rtt; d < -time.Millisecond || d > time.Millisecond {
				t.Errorf("smoothed is %v, want %v: RFC 9002 takes the peer's delay off", s.SmoothedRTT, rtt)
			}
			covers(t, "SES-091")
		}
		m.net.SetDelay(5 * rtt / 2) // a round trip takes five times as long now
		for i := range 40 {
			before := c.Stats().SmoothedRTT
			c.Ping()
			time.Sleep(time.Second)
			s := c.Stats()
			// An eighth of each sample counts (RFC 9002 §5.3), and a probe may bring another.
			low, high := (7*before+5*rtt)/8, (49*before+15*5*rtt)/64
			if s.SmoothedRTT < low-time.Millisecond || s.SmoothedRTT > high+time.Millisecond {
				t.Errorf("smoothed is %v after %v and %d longer round trips, want %v to %v", s.SmoothedRTT, before, i+1, low, high)
			}
		}
		covers(t, "SES-091")
		if s := c.Stats(); s.MinRTT != rtt || s.LatestRTT != 5*rtt+ackDelay || s.SmoothedRTT < 9*rtt/2 {
			t.Errorf("in the end: %v, least %v, smoothed %v", s.LatestRTT, s.MinRTT, s.SmoothedRTT)
		}
		covers(t, "SES-063")
		covers(t, "SES-070")
	})
}

// Datagram bytes: all that is sent, and all that comes, also after the end.
func TestSessionByteRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up, down, lost atomic.Uint64
		var lose atomic.Bool
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			n := &down
			if d.Path.Local == memServer {
				n = &up
			}
			if lose.Load() {
				n = &lost
			}
			n.Add(uint64(len(d.Data)))
			return lose.Load()
		})
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		c.End(make([]byte, 50_000))
		io.Copy(io.Discard, s)
		s.End(make([]byte, 20_000))
		io.Copy(io.Discard, c)
		time.Sleep(time.Second)
		client, server := p.client.Stats(), p.server.Stats()
		if client.BytesSent != up.Load() || server.BytesSent != down.Load() || client.BytesSent < 50_000 {
			t.Errorf("BytesSent is %d and %d, want %d and %d", client.BytesSent, server.BytesSent, up.Load(), down.Load())
		}
		if client.BytesReceived != down.Load() || server.BytesReceived != up.Load() || client.BytesReceived < 20_000 {
			t.Errorf("BytesReceived is %d and %d, want %d and %d", client.BytesReceived, server.BytesReceived, down.Load(), up.Load())
		}
		lose.Store(true)
		p.client.Ping()
		if n := p.client.Stats().BytesSent; n != up.Load()+lost.Load() || lost.Load() == 0 {
			t.Errorf("BytesSent is %d, want %d with what was lost", n, up.Load()+lost.Load())
		}
		sentForNothing(t, &p.client.Session)
		p.client.Destroy(nil)
		before := p.client.Stats()
		time.Sleep(time.Minute)
		if s := p.client.Stats(); s.BytesSent < before.BytesSent || s.BytesSent < client.BytesSent {
			t.Errorf("BytesSent has fallen to %d", s.BytesSent)
		}
		covers(t, "SES-036")
		if n := p.client.Stats().BytesReceived; n != down.Load() {
			t.Errorf("BytesReceived is %d after the end, want %d", n, down.Load())
		}
		covers(t, "SES-035")
	})
}

func TestSessionInFlightRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 50 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		idle := p.client.Stats()
		if idle.BytesInFlight != 0 {
			t.Errorf("%d bytes in flight of an idle session", idle.BytesInFlight)
		}
		c, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.Write(make([]byte, 8000))
		time.Sleep(10 * time.Millisecond)
		s := p.client.Stats()
		if s.BytesInFlight < 8000 || s.BytesInFlight > 9000 {
			t.Errorf("%d bytes in flight, want 8000 and a little", s.BytesInFlight)
		}
		if idle.MaxInFlightBytes < 1200 || idle.MaxInFlightBytes >= 8000 || s.MaxInFlightBytes != s.BytesInFlight {
			t.Errorf("%d bytes in flight at most, want %d; after the handshake it was %d", s.MaxInFlightBytes, s.BytesInFlight, idle.MaxInFlightBytes)
		}
		most := s.MaxInFlightBytes
		time.Sleep(time.Second)
		if s = p.client.Stats(); s.BytesInFlight != 0 || s.MaxInFlightBytes != most {
			t.Errorf("after the answer %d bytes in flight, %d at most, want 0 and %d", s.BytesInFlight, s.MaxInFlightBytes, most)
		}
		c.Write(make([]byte, 100))
		time.Sleep(10 * time.Millisecond)
		if s = p.client.Stats(); s.BytesInFlight == 0 || s.MaxInFlightBytes != most {
			t.Errorf("%d bytes in flight, %d at most, want some and %d", s.BytesInFlight, s.MaxInFlightBytes, most)
		}
		p.client.Destroy(nil)
		if s = p.client.Stats(); s.BytesInFlight != 0 {
			t.Errorf("%d bytes in flight after the end", s.BytesInFlight)
		}
		lostInFlight(t)
		covers(t, "SES-034")
		if s.MaxInFlightBytes != most {
			t.Errorf("%d bytes in flight at most after the end, want %d", s.MaxInFlightBytes, most)
		}
		covers(t, "SES-066")
	})
}

func TestSessionDataLeftRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{MaxData: 100_000})
		defer m.close()
		c := m.connect(ConnectOptions{})
		if n := c.Stats().MaxDataLeft; n != 0 {
			t.Errorf("MaxDataLeft is %d before the peer has granted anything", n)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Stats().MaxDataLeft; n != 100_000 {
			t.Errorf("MaxDataLeft is %d, want what the peer has granted", n)
		}
		if n := v.Stats().MaxDataLeft; n != 1<<20 {
			t.Errorf("the server's MaxDataLeft is %d, want the client's default, 1 MiB", n)
		}
		st, err := c.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.Write(make([]byte, 60_000))
		time.Sleep(time.Second)
		if n := c.Stats().MaxDataLeft; n != 40_000 {
			t.Errorf("MaxDataLeft is %d after 60000 bytes, want 40000", n)
		}
		s, err := v.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(s, make([]byte, 60_000))
		time.Sleep(time.Second)
		if n := c.Stats().MaxDataLeft; n < 100_000 {
			t.Errorf("MaxDataLeft is %d after the peer has read, want MAX_DATA to raise it", n)
		}
		c.Destroy(nil)
		if n := c.Stats().MaxDataLeft; n != 0 {
			t.Errorf("MaxDataLeft is %d after the end", n)
		}
		covers(t, "SES-065")
	})
}

// Blocked counts how often the peer's limits stopped data, of a stream or of the session.
func TestSessionBlockCountRow(t *testing.T) {
	for name, lo := range map[string]ListenOptions{
		"stream": {MaxStreamDataBidiRemote: 1000}, "session": {MaxData: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, lo)
				defer m.close()
				p := m.pair(ConnectOptions{})
				st, err := p.client.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				st.Write(make([]byte, 1000))
				time.Sleep(time.Second)
				if n := p.client.Stats().BlockCount; n != 0 {
					t.Errorf("BlockCount is %d although all could be sent", n)
				}
				for range 10 {
					st.TryWrite(make([]byte, 100))
					time.Sleep(time.Second / 100)
				}
				if n := p.client.Stats().BlockCount; n != 1 {
					t.Errorf("BlockCount is %d after one stop, want 1", n)
				}
				s, err := p.server.AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				io.ReadFull(s, make([]byte, 2000))
				time.Sleep(time.Second)
				before := p.client.Stats().BlockCount
				st.TryWrite(make([]byte, 10_000))
				time.Sleep(time.Second)
				if n := p.client.Stats().BlockCount; n <= before || n > before+2 { // a little credit that was left may come first
					t.Errorf("BlockCount is %d after another stop, want %d or one more", n, before+1)
				}
				if n := p.server.Stats().BlockCount; n != 0 {
					t.Errorf("the server's BlockCount is %d", n)
				}
			})
		})
	}
	covers(t, "SES-033")
}

func TestSessionStreamCountRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		open := func(s *Session, uni bool, n int) {
			for range n {
				st, err := s.OpenStream(t.Context(), StreamOptions{HalfOpen: uni})
				if err != nil {
					t.Fatal(err)
				}
				st.End([]byte("x"))
			}
		}
		type counts struct{ bidi, uni, self, peer uint64 }
		of := func(s *Session) counts {
			n := s.Stats()
			return counts{n.BidiStreamCount, n.UniStreamCount, n.SelfInitiatedStreamCount, n.PeerInitiatedStreamCount}
		}
		if c, s := of(&p.client.Session), of(&p.server.Session); c != (counts{}) || s != (counts{}) {
			t.Errorf("at first %+v and %+v", c, s)
		}
		open(&p.client.Session, false, 4)
		open(&p.client.Session, true, 1)
		open(&p.server.Session, false, 1)
		open(&p.server.Session, true, 2)
		check := func(when string) {
			t.Helper()
			c, s := of(&p.client.Session), of(&p.server.Session)
			if c.bidi != 5 || s.bidi != 5 {
				t.Errorf("%s: %d and %d bidirectional streams, want 5", when, c.bidi, s.bidi)
			}
			covers(t, "SES-032")
			if c.uni != 3 || s.uni != 3 {
				t.Errorf("%s: %d and %d unidirectional streams, want 3", when, c.uni, s.uni)
			}
			covers(t, "SES-094")
			if c.self != 5 || s.self != 3 {
				t.Errorf("%s: %d and %d streams opened here, want 5 and 3", when, c.self, s.self)
			}
			covers(t, "SES-089")
			if c.peer != 3 || s.peer != 5 {
				t.Errorf("%s: %d and %d streams opened by the peer, want 3 and 5", when, c.peer, s.peer)
			}
			covers(t, "SES-080")
		}
		time.Sleep(time.Second)
		check("alive")
		p.client.Destroy(nil)
		time.Sleep(time.Minute)
		check("after the end")
	})
}

// Key updates are counted at both ends, whoever begins.
func TestUpdateKeyRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{})
		if ok, err := c.UpdateKey(); ok || !errors.Is(err, ErrInvalidState) {
			t.Errorf("UpdateKey before the handshake: %v, %v", ok, err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.HandshakeConfirmed() {
			t.Fatal("the handshake is confirmed already")
		}
		if ok, err := c.UpdateKey(); ok || !errors.Is(err, ErrInvalidState) {
			t.Errorf("UpdateKey before the confirmation: %v, %v", ok, err)
		}
		v, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{m.server, c, v}
		a, b := p.streams(t)
		go io.Copy(b, b)
		echo := func() {
			t.Helper()
			a.Write([]byte("hello"))
			buf := make([]byte, 5)
			if _, err := io.ReadFull(a, buf); err != nil || string(buf) != "hello" {
				t.Errorf("%q, %v", buf, err)
			}
		}
		for i, s := range []*Session{&c.Session, &v.Session, &c.Session} {
			time.Sleep(5 * time.Second) // for the update before to be settled at both ends
			echo()
			ok, err := s.UpdateKey()
			if !ok || err != nil {
				t.Errorf("update %d: %v, %v", i, ok, err)
			}
			if ok, err := s.UpdateKey(); ok || err != nil {
				t.Errorf("update %d, again at once: %v, %v, want false", i, ok, err)
			}
			echo()
			if x, y := c.Stats().KeyUpdateCount, v.Stats().KeyUpdateCount; x != uint64(i+1) || y != uint64(i+1) {
				t.Errorf("KeyUpdateCount is %d and %d after %d updates", x, y, i+1)
			}
		}
		covers(t, "SES-062")
		covers(t, "SES-095")
		time.Sleep(5 * time.Second)
		c.Close()
		if ok, err := c.UpdateKey(); ok || !errors.Is(err, ErrInvalidState) {
			t.Errorf("UpdateKey while closing: %v, %v", ok, err)
		}
		c.Destroy(nil)
		if ok, err := c.UpdateKey(); ok || !errors.Is(err, ErrInvalidState) {
			t.Errorf("UpdateKey after the end: %v, %v", ok, err)
		}
		covers(t, "SES-096")
	})
}

// An acknowledgement that nothing gives a ride to goes when its time is over.
func TestAckDelayCountRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		time.Sleep(time.Second)
		before := p.server.Stats().AckDelayRetransmitCount
		for i := range uint64(3) {
			p.client.Ping()
			time.Sleep(time.Second)
			if n := p.server.Stats().AckDelayRetransmitCount; n != before+i+1 {
				t.Errorf("%d delayed acknowledgements after %d PINGs and %d before", n, i+1, before)
			}
		}
		before = p.server.Stats().AckDelayRetransmitCount
		mine := p.client.Stats().AckDelayRetransmitCount
		c.Write([]byte("hello"))
		io.ReadFull(s, make([]byte, 5))
		s.Write([]byte("hello")) // its acknowledgement rides on the answer
		io.ReadFull(c, make([]byte, 5))
		time.Sleep(time.Second)
		if n := p.server.Stats().AckDelayRetransmitCount; n != before {
			t.Errorf("%d delayed acknowledgements where data could carry them, want %d", n, before)
		}
		if n := p.client.Stats().AckDelayRetransmitCount; n != mine+1 {
			t.Errorf("%d delayed acknowledgements of the client's, want %d", n, mine+1)
		}
		covers(t, "SES-024")
	})
}

// What is lost is counted when it goes again, and nothing else is.
func TestLossCountRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		var every atomic.Int32 // the n-th datagram is lost; 0 is none
		m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.net.SetFilter(func(*dgram.Datagram) bool {
			e := every.Load()
			return e > 0 && n.Add(1)%e == 0
		})
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		send := func() {
			go c.Write(make([]byte, 200_000))
			if _, err := io.ReadFull(s, make([]byte, 200_000)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for range 5 {
			send()
		}
		if x, y := p.client.Stats().LossRetransmitCount, p.server.Stats().LossRetransmitCount; x != 0 || y != 0 {
			t.Errorf("%d and %d frames were sent again and none was lost", x, y)
		}
		// One that others follow: only the gap tells.
		probes := p.client.Stats().ProbeTimeouts
		n.Store(0)
		every.Store(10)
		go func() {
			for n.Load() < 10 {
				time.Sleep(time.Microsecond)
			}
			every.Store(0)
		}()
		send()
		gap := p.client.Stats()
		if gap.LossRetransmitCount == 0 || gap.ProbeTimeouts != probes {
			t.Errorf("%d frames were sent again although a datagram is lost, %d probes", gap.LossRetransmitCount, gap.ProbeTimeouts-probes)
		}
		every.Store(10)
		send()
		before := p.client.Stats().LossRetransmitCount
		every.Store(1)
		c.Write([]byte("x")) // lost as a whole: only the timer can tell
		synctest.Wait()
		every.Store(0)
		io.ReadFull(s, make([]byte, 1))
		if n := p.client.Stats().LossRetransmitCount; n <= before {
			t.Errorf("%d frames were sent again, want more than %d", n, before)
		}
		covers(t, "SES-064")
	})
}

func TestSessionDurationRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		start := time.Now()
		p := m.pair(ConnectOptions{})
		time.Sleep(5 * time.Second)
		if d, want := p.client.Stats().Duration, time.Since(start); d != want {
			t.Errorf("Duration is %v, want %v", d, want)
		}
		hs := p.client.Stats().HandshakeDuration
		p.client.Close()
		end := time.Since(start)
		time.Sleep(time.Minute)
		if s := p.client.Stats(); s.Duration != end || s.HandshakeDuration != hs {
			t.Errorf("Duration is %v after the end, want %v for ever; HandshakeDuration %v, want %v", s.Duration, end, s.HandshakeDuration, hs)
		}
		if d, want := p.server.Stats().Duration, end; d != want { // half a round trip less at first, and more at the end
			t.Errorf("the server's Duration is %v, want %v", d, want)
		}
		covers(t, "SES-051")
	})
}

// Regular PINGs keep a session alive that has nothing else to say.
func TestPingRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{IdleTimeout: 3 * time.Second})
		defer m.close()
		p := m.pair(ConnectOptions{})
		for range 30 {
			time.Sleep(2 * time.Second)
			before := p.client.Stats().BytesReceived
			if err := p.client.Ping(); err != nil {
				t.Fatalf("Ping: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
			if p.client.Stats().BytesReceived == before {
				t.Fatal("the peer did not answer")
			}
		}
		if err := errors.Join(p.client.Err(), p.server.Err()); err != nil {
			t.Errorf("in spite of PINGs: %v", err)
		}
		time.Sleep(4 * time.Second)
		if p.client.Err() == nil {
			t.Error("the session is alive without PINGs")
		}
		if err := p.client.Ping(); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Ping after the end: %v", err)
		}
		p = m.pair(ConnectOptions{})
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		if err := p.client.Ping(); err != nil {
			t.Errorf("Ping into the void: %v", err)
		}
		covers(t, "SES-079")
	})
}

// Addresses are the real ones, also where the socket is bound to all there are.
func TestSessionAddressRows(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	local, remote := p.client.Address(), p.client.RemoteAddress()
	if !p.client.Socket().Address().Addr().IsUnspecified() {
		t.Fatalf("the client's socket is bound to %v: the test shows nothing", p.client.Socket().Address())
	}
	if local.Addr() != netip.MustParseAddr("127.0.0.1") || p.server.Address().Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("local addresses are %v and %v", local, p.server.Address())
	}
	covers(t, "SES-026")
	if local.Port() != p.client.Socket().Address().Port() || p.server.Address() != p.socket.Address() {
		t.Errorf("local addresses are %v and %v", local, p.server.Address())
	}
	covers(t, "SES-028")
	if remote.Port() != p.server.Address().Port() || p.server.RemoteAddress().Port() != local.Port() || remote.Port() == local.Port() {
		t.Errorf("remote addresses are %v and %v", remote, p.server.RemoteAddress())
	}
	covers(t, "SES-088")
	if remote.Addr() != netip.MustParseAddr("127.0.0.1") || p.server.RemoteAddress() != local {
		t.Errorf("remote addresses are %v and %v", remote, p.server.RemoteAddress())
	}
	synctest.Test(t, addressesApart)
	covers(t, "SES-086")
	p.client.Destroy(nil)
	if a := p.client.RemoteAddress(); a.IsValid() {
		t.Errorf("RemoteAddress after the end: %v", a)
	}
	if a := p.client.RemoteAddr().String(); a != remote.String() {
		t.Errorf("RemoteAddr after the end: %v", a)
	}
	covers(t, "SES-085")
}

// The family is that of the path, and the local address moves with the session.
func TestSessionAddressFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if !p.client.Address().Addr().Is4() || !p.server.Address().Addr().Is4() {
			t.Errorf("local addresses are %v and %v, want IPv4", p.client.Address(), p.server.Address())
		}
		if !p.client.RemoteAddress().Addr().Is4() || !p.server.RemoteAddress().Addr().Is4() {
			t.Errorf("remote addresses are %v and %v, want IPv4", p.client.RemoteAddress(), p.server.RemoteAddress())
		}
		six := netip.MustParseAddrPort("[2001:db8::1]:4433")
		server := m.socketAt(six, SocketOptions{})
		defer server.Destroy(nil)
		if err := server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		client := m.socketAt(netip.MustParseAddrPort("[2001:db8::2]:1"), SocketOptions{})
		defer client.Destroy(nil)
		o := ConnectOptions{TLS: clientConfig(), Address: six.Addr().String(), Port: 4433, Type: UDP6, ServerName: "localhost"}
		c, err := client.Connect(t.Context(), o)
		if err == nil {
			err = c.Handshake(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if a := c.Address().Addr(); !a.Is6() || a.Is4In6() {
			t.Errorf("local address is %v, want IPv6", a)
		}
		covers(t, "SES-027")
		if c.RemoteAddress() != six || !c.RemoteAddress().Addr().Is6() {
			t.Errorf("remote address is %v, want %v", c.RemoteAddress(), six)
		}
		covers(t, "SES-087")

		if c, v := p.client.Socket(), p.server.Socket(); c != m.client || v != m.server {
			t.Error("a session does not know its socket")
		}
		time.Sleep(time.Second)
		next, before := m.socket(SocketOptions{}), p.client.Address()
		defer next.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if p.client.Socket() != next {
			t.Error("Socket is not the one that the session was moved to")
		}
		covers(t, "SES-092")
		if a := p.client.Address(); a != next.Address() || a == before || p.server.RemoteAddress() != a {
			t.Errorf("local address is %v, want %v; the server sees %v", a, next.Address(), p.server.RemoteAddress())
		}
		covers(t, "SES-025")
	})
}

// How many streams may be opened is known as soon as the peer has said it, and grows.
func TestMaxStreamsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := make(chan MaxStreams, 1)
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{
			MaxStreamsBidi: 2, MaxStreamsUni: None,
			Handler: func(v *ServerSession) error {
				if v.HandshakeComplete() {
					t.Error("the Handler runs late: the test shows nothing")
				}
				handled <- v.MaxStreams()
				v.SetHooks(SessionHooks{Stream: func(st *Stream) error { return st.Close() }})
				return nil
			},
		})
		defer m.close()
		c := m.connect(ConnectOptions{})
		if n := c.MaxStreams(); n != (MaxStreams{}) {
			t.Errorf("before the server has answered: %+v", n)
		}
		if n := <-handled; n != (MaxStreams{Bidi: 100, Uni: 3}) {
			t.Errorf("the Handler sees %+v, want the client's defaults", n)
		}
		covers(t, "SES-067")
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := c.MaxStreams(); n.Uni != 0 {
			t.Errorf("the client may open %d unidirectional streams, want none", n.Uni)
		}
		covers(t, "SES-069")
		for i := range uint64(6) {
			if n := c.MaxStreams().Bidi; n != 2+i {
				t.Errorf("the client may open %d bidirectional streams, want %d: %d are over", n, 2+i, i)
			}
			st, err := c.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			st.End(nil)
			io.ReadAll(st)
			time.Sleep(time.Second)
		}
		covers(t, "SES-068")
		c.Destroy(nil)
		if n := c.MaxStreams(); n != (MaxStreams{Bidi: 8}) {
			t.Errorf("after the end: %+v, want the last values", n)
		}
		wantUniGrows(t)
		covers(t, "SES-069")
		other := m.connect(ConnectOptions{MaxStreamsBidi: 7, MaxStreamsUni: 1000})
		if n := <-handled; n != (MaxStreams{Bidi: 7, Uni: 1000}) {
			t.Errorf("the Handler sees %+v, want what the client grants", n)
		}
		other.Destroy(nil)
	})
}

// A client's first message can be anything: it grants nothing, or what it says.
func TestOfferedStreams(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, make([]byte, 38), make([]byte, 1000), {1, 0, 0, 0}} {
		if n := offeredStreams(b); n != (MaxStreams{}) {
			t.Errorf("%x grants %+v", b, n)
		}
	}
}
