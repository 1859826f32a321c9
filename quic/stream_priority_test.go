package quic

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// What three streams have written together arrives in the order of their urgencies, also if one
// changes on the way (RFC 9218 §10).
func TestStreamPriority(t *testing.T) {
	const size = 200 << 10 // within all windows, and far more than the first flight
	for _, change := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			var here, there []*Stream
			for _, urgency := range []int{6, 4, 2} {
				c, s := p.streams(t)
				if err := s.SetPriority(urgency, false); err != nil {
					t.Fatal(err)
				}
				here, there = append(here, c), append(there, s)
			}
			for _, s := range there { // the last in line writes first, and fills the congestion window
				go s.End(make([]byte, size))
				synctest.Wait()
			}
			first, second, third := here[2], here[1], here[0]
			if _, err := io.ReadFull(first, make([]byte, size/2)); err != nil {
				t.Fatal(err)
			}
			if n := second.Readable() + third.Readable(); n > 20<<10 {
				t.Errorf("change %v: the others have %d bytes when half of the first is here", change, n)
			}
			if change {
				second, third = third, second
				if err := there[0].SetPriority(3, true); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []*Stream{first, second} {
				if _, err := io.ReadAll(c); err != nil {
					t.Fatal(err)
				}
				if n := third.Readable(); c == first && n > 20<<10 || n == size {
					t.Errorf("change %v: the third has %d bytes when stream %d is whole", change, n, c.ID())
				}
			}
			if b, err := io.ReadAll(third); len(b) != size || err != nil {
				t.Errorf("the third: %d bytes, %v", len(b), err)
			}
		})
	}
}

func TestSetPriority(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		c, s := p.streams(t)
		if u, incremental := c.Priority(); u != 3 || !incremental {
			t.Errorf("a new stream has %d, %v", u, incremental)
		}
		for _, urgency := range []int{-1, 8, 1 << 40} {
			var e *OptionError
			if err := c.SetPriority(urgency, false); !errors.As(err, &e) || e.Code() != CodeOutOfRange || e.Value != urgency || e.Want != "0 to 7" {
				t.Errorf("urgency %d: %v", urgency, err)
			}
		}
		for _, urgency := range []int{0, 7} {
			if err := c.SetPriority(urgency, urgency == 0); err != nil {
				t.Error(err)
			}
			if u, incremental := c.Priority(); u != urgency || incremental != (urgency == 0) {
				t.Errorf("after SetPriority(%d): %d, %v", urgency, u, incremental)
			}
		}
		half, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
		if err != nil {
			t.Fatal(err)
		}
		half.Write([]byte("x"))
		only, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := only.SetPriority(1, false); !errors.Is(err, ErrInvalidState) {
			t.Errorf("on a stream that is only read: %v", err)
		}
		c.Destroy(nil)
		s.Destroy(nil)
		<-c.Closed()
		if err := c.SetPriority(1, true); err != nil {
			t.Errorf("on a stream that is over: %v", err)
		}
		if u, incremental := c.Priority(); u != 7 || incremental {
			t.Errorf("a stream that is over has %d, %v", u, incremental)
		}
		p.client.Destroy(nil)
		if err := half.SetPriority(1, true); err != nil {
			t.Errorf("in a session that is over: %v", err)
		}
	})
}
