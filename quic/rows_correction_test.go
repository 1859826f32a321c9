package quic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// weather makes the in-memory network lose, double and overtake datagrams: what comes
// later is sent again by a socket of its own, under the name of who sent it first.
type weather struct {
	net  *udp.Network
	conn *udp.Mem
	rng  *rand.Rand // under the network's filter lock

	mu   sync.Mutex // held while one datagram is sent again
	from netip.AddrPort

	lost, doubled, late int // under the network's filter lock
}

func newWeather(t *testing.T, m *memNet, seed uint64) *weather {
	t.Helper()
	conn, err := m.net.Listen(netip.MustParseAddrPort("10.9.9.9:9"))
	if err != nil {
		t.Fatal(err)
	}
	w := &weather{net: m.net, conn: conn, rng: rand.New(rand.NewPCG(seed, seed))}
	m.net.SetFilter(w.filter)
	return w
}

func (w *weather) filter(d *dgram.Datagram) (drop bool) {
	if d.Path.Remote == w.conn.LocalAddr() {
		d.Path.Remote = w.from
		return false
	}
	switch w.rng.IntN(20) {
	case 0:
		w.lost++
		return true
	case 1, 2:
		w.doubled++
		w.again(d)
	case 3, 4:
		w.late++
		w.again(d)
		return true
	}
	return false
}

// again sends a copy of the datagram a little later.
func (w *weather) again(d *dgram.Datagram) {
	data, to, from := bytes.Clone(d.Data), d.Path.Local, d.Path.Remote
	time.AfterFunc(time.Duration(1+w.rng.IntN(30))*time.Millisecond, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.from = from
		b := dgram.NewBatch(make([]byte, 0, len(data)))
		room := b.Next(len(data))
		b.Commit(len(append(room, data...)))
		b.Path = dgram.Path{Local: w.conn.LocalAddr(), Remote: to}
		_ = w.conn.Send(b) // a network that is gone takes nothing
	})
}

// pattern is n bytes that only one place of one stream has.
func pattern(stream, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "<%d:%d>", stream, i)
	}
	return b.Bytes()[:n]
}

// Over a path that loses, doubles and reorders, every stream delivers its bytes once
// and in order, both ways.
func TestErrorCorrectionRow(t *testing.T) {
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			const streams, size = 5, 120_000
			m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{IdleTimeout: time.Minute})
			defer m.close()
			w := newWeather(t, m, seed)
			defer w.conn.Close()
			p := m.pair(ConnectOptions{IdleTimeout: time.Minute})
			done := make(chan error, 2*streams)
			go func() {
				for range streams {
					st, err := p.server.AcceptStream(t.Context())
					if err != nil {
						done <- err
						return
					}
					go func() {
						go st.End(pattern(-int(st.ID()), size))
						done <- wantBytes(st, pattern(int(st.ID()), size))
					}()
				}
			}()
			for range streams {
				st, err := p.client.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				go st.End(pattern(int(st.ID()), size))
				go func() { done <- wantBytes(st, pattern(-int(st.ID()), size)) }()
			}
			for range 2 * streams {
				if err := <-done; err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			m.net.SetFilter(nil)
			if w.lost == 0 || w.doubled == 0 || w.late == 0 {
				t.Errorf("seed %d: %d lost, %d doubled, %d late: the test shows nothing", seed, w.lost, w.doubled, w.late)
			}
			c, s := p.client.Stats(), p.server.Stats()
			if c.LossRetransmitCount == 0 || s.LossRetransmitCount == 0 || c.PacketsIgnored == 0 || s.PacketsIgnored == 0 {
				t.Errorf("seed %d: nothing was lost or came twice: %+v\n%+v", seed, c, s)
			}
			if c.StreamBytesReceived != streams*size || s.StreamBytesReceived != streams*size {
				t.Errorf("seed %d: %d and %d stream bytes, want %d", seed, c.StreamBytesReceived, s.StreamBytesReceived, streams*size)
			}
		})
	}
	covers(t, "SES-104")
}

// wantBytes reads a stream to its end.
func wantBytes(st *Stream, want []byte) error {
	got, err := io.ReadAll(st)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("other bytes came")
	}
	if err != nil {
		err = fmt.Errorf("stream %d, %d bytes of %d: %w", st.ID(), len(got), len(want), err)
	}
	return err
}
