package quic

import (
	"errors"
	"io"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Handshakes in which one end's second datagram is lost once, so that its data comes, and is
// acknowledged, at two times.
func TestHandshakeHistograms(t *testing.T) {
	for _, atServer := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			n := 0
			m.net.SetFilter(func(d *dgram.Datagram) bool {
				if (d.Path.Remote == memServer) == atServer {
					n++
					return n == 2
				}
				return false
			})
			c := m.connect(ConnectOptions{})
			for _, h := range []*Histogram{c.HandshakeAckHistogram(), c.HandshakeContinuationHistogram()} {
				if h.Count() != 0 || h.Min() != math.MaxInt64 || h.Max() != 0 || h.Mean() != 0 {
					t.Errorf("before the handshake: %d times", h.Count())
				}
			}
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			check := func(what string, s *Session, h *Histogram, slow bool) {
				t.Helper()
				most := int64(s.Stats().HandshakeDuration)
				if h.Count() == 0 || h.Min() < 1 || h.Max() > most {
					t.Errorf("%s: %d times, %d to %d, in a handshake of %d", what, h.Count(), h.Min(), h.Max(), most)
				}
				if slow && h.Max() < int64(10*time.Millisecond) {
					t.Errorf("%s: not more than %v although there was a loss", what, time.Duration(h.Max()))
				}
			}
			// The flight of one end came in two parts at different times, and so did its acknowledgements.
			slow, other := &c.Session, &s.Session
			if atServer {
				slow, other = other, slow
			}
			check("acknowledgements", slow, slow.HandshakeAckHistogram(), true)
			covers(t, "SES-056")
			check("continuation", other, other.HandshakeContinuationHistogram(), true)
			covers(t, "SES-057")
			count := slow.HandshakeAckHistogram().Count()
			pieces := other.HandshakeContinuationHistogram().Count()
			(&pair{m.server, c, s}).exchange(t)
			time.Sleep(time.Second)
			c.Destroy(nil)
			s.Destroy(nil)
			if slow.HandshakeAckHistogram().Count() != count || other.HandshakeContinuationHistogram().Count() != pieces {
				t.Error("what came after the handshake or its end has changed the histograms")
			}
			covers(t, "HIS-008")
		})
	}
}

// An ordinary handshake: the server's flight takes two datagrams, and the client's ClientHello
// and Finished come one after the other.
func TestHandshakeHistogramsPlain(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		time.Sleep(time.Second)
		for _, h := range []*Histogram{p.server.HandshakeAckHistogram(), p.server.HandshakeContinuationHistogram(), p.client.HandshakeContinuationHistogram()} {
			if h.Count() == 0 || h.Max() > int64(p.server.Stats().HandshakeDuration) {
				t.Errorf("%d times, up to %d", h.Count(), h.Max())
			}
		}
		covers(t, "SES-056")
		covers(t, "SES-057")
	})
}

// Pieces of known sizes at known times.
func TestStreamHistograms(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{IdleTimeout: time.Minute}, func(t *testing.T, p *pair) {
		c, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []*Histogram{c.DataAckHistogram(), c.DataRateHistogram(), c.DataSizeHistogram()} {
			if h.Count() != 0 || h.Min() != math.MaxInt64 || h.Max() != 0 {
				t.Errorf("%d values before there was anything", h.Count())
			}
		}
		var s *Stream
		for i := 1; i <= 4; i++ {
			if _, err := c.Write(make([]byte, 10*i)); err != nil {
				t.Fatal(err)
			}
			if s == nil {
				if s, err = p.server.AcceptStream(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(s, make([]byte, 10*i)); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				synctest.Wait()
				if n := s.DataRateHistogram().Count(); n != 0 || s.DataSizeHistogram().Count() != 1 {
					t.Errorf("%d times after one piece", n)
				}
			}
			time.Sleep(time.Duration(i) * time.Second)
		}
		sizes, rate, acks := s.DataSizeHistogram(), s.DataRateHistogram(), c.DataAckHistogram()
		check := func(when string) {
			t.Helper()
			if sizes.Count() != 4 || sizes.Min() != 10 || sizes.Max() != 40 || sizes.Mean() != 25 {
				t.Errorf("%s: %d pieces, %d to %d bytes, %v on average", when, sizes.Count(), sizes.Min(), sizes.Max(), sizes.Mean())
			}
			covers(t, "STR-031")
			about := func(v int64, d time.Duration) bool {
				return v > int64(d-100*time.Millisecond) && v < int64(d+100*time.Millisecond)
			}
			if rate.Count() != 3 || !about(rate.Min(), time.Second) || !about(rate.Max(), 3*time.Second) {
				t.Errorf("%s: %d times between pieces, %d to %d", when, rate.Count(), rate.Min(), rate.Max())
			}
			covers(t, "STR-030")
			if acks.Count() != 3 || !about(acks.Min(), time.Second) || !about(acks.Max(), 3*time.Second) {
				t.Errorf("%s: %d times between acknowledgements, %d to %d", when, acks.Count(), acks.Min(), acks.Max())
			}
			covers(t, "STR-029")
		}
		check("alive")
		if a, b, e := s.DataAckHistogram().Count(), c.DataRateHistogram().Count(), c.DataSizeHistogram().Count(); a+b+e != 0 {
			t.Errorf("the other direction has %d, %d, %d values", a, b, e)
		}
		c.Destroy(nil)
		s.Destroy(nil)
		time.Sleep(time.Second)
		check("after the streams' end")
		p.client.Destroy(nil)
		p.server.Destroy(nil)
		time.Sleep(time.Second)
		check("after the session's end")
		covers(t, "HIS-008")
		for _, h := range []*Histogram{sizes, rate, acks} {
			if h.Reset(); h.Count() != 0 || h.Max() != 0 {
				t.Errorf("%d values after Reset", h.Count())
			}
		}
	})
}

// Many datagrams, some lost: every byte is in one piece.
func TestStreamHistogramsOfTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		lossy := func(*dgram.Datagram) bool { n++; return n > 100 && n%20 == 0 }
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: lossy}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		const size = 1 << 20
		go c.End(make([]byte, size-1))
		if b, err := io.ReadAll(s); len(b) != size-1 || err != nil {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		time.Sleep(time.Second)
		if h := c.DataAckHistogram(); h.Count() < 10 || h.Max() > int64(time.Minute) {
			t.Errorf("%d times between acknowledgements, up to %d", h.Count(), h.Max())
		}
		covers(t, "STR-029")
		if h := s.DataRateHistogram(); h.Count() < 10 || h.Max() > int64(time.Minute) {
			t.Errorf("%d times between pieces, up to %d", h.Count(), h.Max())
		}
		covers(t, "STR-030")
		h := s.DataSizeHistogram()
		if sum := h.Mean() * float64(h.Count()); h.Count() < 10 || h.Max() > size || math.Abs(sum-size) > 1 {
			t.Errorf("%d pieces, up to %d bytes, %v in all", h.Count(), h.Max(), sum)
		}
		covers(t, "STR-031")
	})
}

// A histogram that was asked for before there was anything to record shows what comes.
func TestHistogramAskedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c, err := m.client.Connect(t.Context(), m.options(ConnectOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		h := c.HandshakeContinuationHistogram()
		looked := make(chan bool)
		go func() { // while the machine records
			defer close(looked)
			for !c.HandshakeComplete() {
				_ = h.Mean()
				time.Sleep(100 * time.Microsecond)
			}
		}()
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-looked
		c.conn.HandshakeTimes(transport.HandshakePieces).Record(7)
		if h.Max() < 7 {
			t.Errorf("the most is %v", h.Max())
		}
	})
}

// known returns a session's histogram that holds 1000, 2000 and so on to 1,000,000, and one
// value above the range.
func known(p *pair) *Histogram {
	in := p.client.conn.HandshakeTimes(transport.HandshakeAcks)
	in.Reset()
	for v := uint64(1); v <= 1000; v++ {
		in.Record(v * 1000)
	}
	in.Record(1 << 63)
	return p.client.HandshakeAckHistogram()
}

// fewFigures looks at a histogram of so few values that it keeps them as they are.
func fewFigures(t *testing.T, p *pair) {
	t.Helper()
	h, in := p.server.HandshakeAckHistogram(), p.server.conn.HandshakeTimes(transport.HandshakeAcks)
	h.Reset()
	for _, v := range []uint64{30, 10, 50, 30, 1 << 63} {
		in.Record(v)
	}
	if h.Min() != 10 || h.Max() != 50 || h.Exceeds() != 1 || h.Count() != 4 {
		t.Errorf("%d values are %d to %d, and %d exceed the range", h.Count(), h.Min(), h.Max(), h.Exceeds())
	}
	if want := math.Sqrt(200); h.Mean() != 30 || math.Abs(h.StdDev()-want) > 1e-9 {
		t.Errorf("Mean is %v and StdDev %v, want 30 and %v", h.Mean(), h.StdDev(), want)
	}
	if v, err := h.Percentile(25); v != 10 || err != nil || !maps.Equal(h.Percentiles(), map[float64]int64{50: 30, 75: 30, 100: 50}) {
		t.Errorf("Percentile(25) is %d, %v, Percentiles %v", v, err, h.Percentiles())
	}
	h.Reset()
}

// The figures of no values, and of known ones.
func TestHistogramFigures(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		empty, h := p.server.HandshakeAckHistogram(), known(p)
		empty.Reset()
		if empty.Min() != math.MaxInt64 || h.Min() != 1000 {
			t.Errorf("Min is %d and %d", empty.Min(), h.Min())
		}
		fewFigures(t, p)
		covers(t, "HIS-001")
		if empty.Max() != 0 || h.Max() != 1_000_000 {
			t.Errorf("Max is %d and %d", empty.Max(), h.Max())
		}
		covers(t, "HIS-002")
		if empty.Mean() != 0 || math.Abs(h.Mean()-500_500) > 1e-3 {
			t.Errorf("Mean is %v and %v", empty.Mean(), h.Mean())
		}
		skewed := p.server.HandshakeContinuationHistogram()
		skewed.Reset()
		in := p.server.conn.HandshakeTimes(transport.HandshakePieces)
		for n := range uint64(100) { // few values are kept in another way than many
			in.Record((n + 1) * (n + 1))
			k := float64(n + 1)
			if want := (k + 1) * (2*k + 1) / 6; math.Abs(skewed.Mean()-want) > 1e-6*want {
				t.Errorf("Mean of the first %v squares is %v, want %v", k, skewed.Mean(), want)
			}
		}
		covers(t, "HIS-003")
		if want := 1000 * math.Sqrt(999_999./12); empty.StdDev() != 0 || math.Abs(h.StdDev()-want) > 1e-3 {
			t.Errorf("StdDev is %v and %v, want 0 and %v", empty.StdDev(), h.StdDev(), want)
		}
		covers(t, "HIS-004")
		if empty.Exceeds() != 0 || h.Exceeds() != 1 || empty.Count() != 0 || h.Count() != 1000 {
			t.Errorf("Exceeds is %d and %d, Count %d and %d", empty.Exceeds(), h.Exceeds(), empty.Count(), h.Count())
		}
		covers(t, "HIS-005")
	})
}

// Percentiles of known values, of none, and those there are not; and what Reset leaves.
func TestHistogramPercentiles(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		h := known(p)
		for _, pc := range []float64{0.001, 1, 25, 50, 90, 99, 99.9, 100} {
			want := 1000 * math.Max(1, math.Ceil(pc*10-1e-6))
			got, err := h.Percentile(pc)
			if err != nil || math.Abs(float64(got)-want) > want/128 || got < h.Min() || got > h.Max() {
				t.Errorf("Percentile(%v) is %d, %v, want %v", pc, got, err, want)
			}
		}
		for _, pc := range []float64{0, -1, 100.001, math.Inf(1), math.NaN()} {
			var oe *OptionError
			if _, err := h.Percentile(pc); !errors.As(err, &oe) || oe.Code() != CodeInvalidArgValue || oe.Option != "Percentile.p" {
				t.Errorf("Percentile(%v): %v", pc, err)
			}
		}
		covers(t, "HIS-006")
		all := h.Percentiles()
		if len(all) != 10 || all[100] != 1_000_000 || math.Abs(float64(all[50]-500_000)) > 4000 || math.Abs(float64(all[87.5]-875_000)) > 7000 {
			t.Errorf("Percentiles %v", all)
		}
		if within := h.Precision(); within != 1./128 {
			t.Errorf("they are within %v", within)
		}
		for pc, v := range all {
			if want, err := h.Percentile(pc); err != nil || v != want {
				t.Errorf("%d at %v, want %d, %v", v, pc, want, err)
			}
		}
		covers(t, "HIS-007")
		h.Reset()
		if h.Count() != 0 || h.Exceeds() != 0 || h.Max() != 0 || h.Min() != math.MaxInt64 || h.Mean() != 0 || h.StdDev() != 0 || h.Precision() != 0 {
			t.Errorf("after Reset: %d values up to %d", h.Count(), h.Max())
		}
		covers(t, "HIS-008")
		if v, err := h.Percentile(50); v != 0 || err != nil || len(h.Percentiles()) != 0 {
			t.Errorf("percentiles of nothing: %d, %v, %v", v, err, h.Percentiles())
		}
		covers(t, "HIS-006")
		fewFigures(t, p)
		covers(t, "HIS-007")
		streamReset(t, p)
		covers(t, "HIS-008")
	})
}

// Histograms are read and reset while they grow.
func TestHistogramConcurrently(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	c, s := p.streams(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, s)
	}()
	go c.End(make([]byte, 4<<20))
	rate := s.DataRateHistogram()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		if v, err := rate.Percentile(99); err != nil || v < 0 {
			t.Fatalf("%d, %v", v, err)
		}
		rate.Percentiles()
		rate.Reset()
		s.DataSizeHistogram().StdDev()
		c.DataAckHistogram().Mean()
	}
	covers(t, "HIS-008")
}

// streamReset empties the histograms of a stream, with few pieces and with more.
func streamReset(t *testing.T, p *pair) {
	t.Helper()
	for _, pieces := range []int{3, 40} {
		c, s := p.streams(t)
		for range pieces {
			c.Write([]byte("piece"))
			io.ReadFull(s, make([]byte, 5))
			time.Sleep(time.Second)
		}
		for _, h := range []*Histogram{c.DataAckHistogram(), s.DataRateHistogram(), s.DataSizeHistogram()} {
			before := h.Count()
			if h.Reset(); before == 0 || h.Count() != 0 || h.Max() != 0 {
				t.Errorf("of %d values of a stream's, Reset leaves %d", before, h.Count())
			}
		}
		c.Destroy(nil)
	}
}
