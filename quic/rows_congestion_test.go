package quic

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// afterLoss is what one loss in the middle of a transfer does to a sender's congestion window.
type afterLoss struct {
	name   string   // in the figures
	logged []string // in the log
	kept   float64  // what is left of the window
	grown  float64  // datagrams it grows by in the ten round trips after that
}

// loseOne sends from one end of a session, drops a single datagram when the window has
// become large, and follows the window.
func loseOne(t *testing.T, client, server string, fromServer bool) (a afterLoss) {
	synctest.Test(t, func(t *testing.T) {
		const plenty = 64 << 20
		m := newMemNet(t, udp.NetworkOptions{Delay: 100 * time.Millisecond, MTU: 1300}, SocketOptions{QLog: true},
			ListenOptions{CongestionAlgorithm: server, MaxData: plenty, MaxStreamDataBidiRemote: plenty})
		defer m.close()
		p := m.pair(ConnectOptions{QLog: true, CongestionAlgorithm: client, MaxData: plenty, MaxStreamDataBidiLocal: plenty})
		from, to := p.streams(t)
		sender := &p.client.Session
		if fromServer {
			from, to, sender = to, from, &p.server.Session
		}
		synctest.Wait()
		log := readLog(sender.QLog())
		drain := readLog(to)
		go func() {
			for {
				if _, err := from.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}()
		for sender.Stats().CongestionWindow < 200_000 {
			time.Sleep(10 * time.Millisecond)
		}
		dropped := false
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if fromServer != (d.Path.Remote == memServer) || dropped || len(d.Data) < 1000 {
				return false
			}
			dropped = true
			return true
		})
		before, s := uint64(0), sender.Stats()
		for s.CongestionEvents == 0 {
			before = s.CongestionWindow
			time.Sleep(time.Millisecond)
			s = sender.Stats()
		}
		after := s.CongestionWindow
		a.name, a.kept = s.CongestionAlgorithm, float64(after)/float64(before)
		time.Sleep(10 * 200 * time.Millisecond)
		s = sender.Stats()
		a.grown = (float64(s.CongestionWindow) - float64(after)) / float64(s.MTU)
		if s.CongestionEvents != 1 || s.PacketsLost != 1 {
			t.Errorf("%d losses, %d reductions of the window, want one", s.PacketsLost, s.CongestionEvents)
		}
		_ = p.client.CloseWithError(0, "")
		time.Sleep(time.Minute)
		drain()
		_, events := parseLog(t, QLogSeq, log())
		a.logged = (&endLog{events: events}).values("recovery_parameters_set", "congestion_controller")
	})
	return a
}

// wantReno and wantCubic hold the window against RFC 9002 §7.3 and RFC 9438 §4: NewReno goes
// to a half and grows by about a datagram a round trip, CUBIC goes to 0.7 and is much faster
// at first where the round trip is long.
func (a afterLoss) wantReno(t *testing.T) {
	t.Helper()
	if a.name != "reno" || !slices.Equal(a.logged, []string{"reno"}) || a.kept < 0.48 || a.kept > 0.52 || a.grown < 5 || a.grown > 12 {
		t.Errorf("not reno: %+v", a)
	}
}

func (a afterLoss) wantCubic(t *testing.T) {
	t.Helper()
	if a.name != "cubic" || !slices.Equal(a.logged, []string{"cubic"}) || a.kept < 0.68 || a.kept > 0.72 || a.grown < 25 {
		t.Errorf("not cubic: %+v", a)
	}
}

func TestCongestionAlgorithmOfClient(t *testing.T) {
	loseOne(t, "", "cubic", false).wantReno(t)
	loseOne(t, "reno", "cubic", false).wantReno(t)
	loseOne(t, "cubic", "reno", false).wantCubic(t)
	m := ConnectOptions{CongestionAlgorithm: "bbr", Address: "127.0.0.1", Port: 1, TLS: clientConfig()}
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	_, err = s.Connect(t.Context(), m)
	wantOption(t, err, "ConnectOptions.CongestionAlgorithm", CodeInvalidArgValue)
	_, err = NewSocket(SocketOptions{Client: ConnectOptions{CongestionAlgorithm: "Reno"}})
	wantOption(t, err, "SocketOptions.Client.CongestionAlgorithm", CodeInvalidArgValue)
	covers(t, "CON-019")
}

func TestCongestionAlgorithmOfServer(t *testing.T) {
	loseOne(t, "cubic", "", true).wantReno(t)
	loseOne(t, "cubic", "reno", true).wantReno(t)
	loseOne(t, "reno", "cubic", true).wantCubic(t)
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	err = s.Listen(t.Context(), ListenOptions{CongestionAlgorithm: "bbr", TLS: serverConfig()})
	wantOption(t, err, "ListenOptions.CongestionAlgorithm", CodeInvalidArgValue)
	_, err = NewSocket(SocketOptions{Server: ListenOptions{CongestionAlgorithm: "vegas"}})
	wantOption(t, err, "SocketOptions.Server.CongestionAlgorithm", CodeInvalidArgValue)
	covers(t, "LIS-020")
}
