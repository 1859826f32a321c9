package quic

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Every endpoint that is not bound yet gets its port from the first Listen or Connect, or
// from a Bind of its own, and the socket is ready once when the last one has it.
func TestLazyBinding(t *testing.T) {
	for _, how := range []string{"Listen", "Connect", "Bind"} {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			var s *Socket
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			defer m.close()
			s = socketOn(t, m.net, SocketOptions{Hooks: j.socket(&s), Server: ListenOptions{TLS: serverConfig()}}, "10.0.1.1:1", "10.0.1.2:2", "10.0.1.3:3")
			defer func() { s.Destroy(nil) }()
			time.Sleep(time.Hour)
			list := s.Endpoints()
			bound := func(want ...bool) {
				t.Helper()
				all := true
				for i, e := range list {
					at := netip.AddrPort{}
					if want[i] {
						at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)}), uint16(i+1))
					}
					if e.Bound() != want[i] || e.Address() != at {
						t.Errorf("%s: endpoint %d: bound %v at %v", how, i, e.Bound(), e.Address())
					}
					all = all && want[i]
				}
				if s.Bound() != all {
					t.Errorf("%s: the socket is bound: %v", how, s.Bound())
				}
			}
			bound(false, false, false)
			j.want(t)
			mustBind(t, list[1])
			bound(false, true, false)
			j.want(t) // two are not bound yet
			var err error
			after := []string{"ready, bound true"}
			switch how {
			case "Listen":
				err = s.Listen(t.Context(), ListenOptions{})
				after = append(after, "listening true")
			case "Connect":
				_, err = s.Connect(t.Context(), m.options(ConnectOptions{}))
			case "Bind":
				mustBind(t, list[2])
				bound(false, true, true)
				j.want(t)
				mustBind(t, list[0])
			}
			if err != nil {
				t.Errorf("%s: %v", how, err)
			}
			covers(t, "EP-005")
			bound(true, true, true)
			covers(t, "EP-011")
			j.want(t, after...)
			covers(t, "SOC-012")
			if err := s.bind(t.Context(), "again"); err != nil {
				t.Error(err)
			}
			j.want(t)
			covers(t, "SOC-026")
			s.Destroy(nil)
			bound(false, false, false)
		})
	}
}

// A client whose server has lost its state is told so once, by whoever has the secret.
func TestStatelessResetEndsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []byte("0123456789abcdef")
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{StatelessResetSecret: secret}, ListenOptions{})
		defer m.close()
		p, other := m.pair(ConnectOptions{}), m.pair(ConnectOptions{})
		p.exchange(t)
		other.exchange(t)
		time.Sleep(time.Second)
		m.net.SetFilter(func(*dgram.Datagram) bool { return true }) // nobody hears of the end
		m.server.Destroy(nil)
		time.Sleep(time.Second)
		restart := func(secret []byte, c *ClientSession) *traffic {
			t.Helper()
			m.server = m.socketAt(memServer, SocketOptions{StatelessResetSecret: secret})
			if err := m.server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
				t.Fatal(err)
			}
			tr := m.record()
			c.Ping()
			time.Sleep(5 * time.Millisecond)
			return tr
		}
		sent := restart(secret, p.client).sent()
		var reset *StatelessResetError
		if err := p.client.Err(); !p.client.Destroyed() || !errors.As(err, &reset) || !p.client.Stats().StatelessReset {
			t.Fatalf("the session ends with %v", err)
		}
		time.Sleep(time.Second)
		if n := m.server.Stats().StatelessResetCount; n != 1 {
			t.Errorf("StatelessResetCount is %d", n)
		}
		covers(t, "SOC-063")
		i := slices.IndexFunc(sent, func(d dgram.Datagram) bool { return d.Path.Remote == memServer })
		if i < 1 {
			t.Fatalf("%d datagrams, the answer is number %d", len(sent), i)
		}
		trigger, answer := sent[i-1].Data, sent[i].Data
		if len(answer) < 21 || len(answer) >= len(trigger) || answer[0]&0xc0 != 0x40 {
			t.Errorf("%x is answered with %x", trigger, answer)
		}
		m.net.SetFilter(nil)
		m.net.SetDelay(0)
		r := m.raw("10.0.0.9:9")
		defer r.conn.Close()
		if b := r.ask(memServer, stray(string(trigger[1:9]), 100)); len(b) < 21 || token(b) != token(answer) {
			t.Errorf("%x and %x do not end with one token", answer, b)
		}
		if b := r.ask(memServer, stray("12345678", 100)); len(b) < 21 || token(b) == token(answer) {
			t.Errorf("another connection ID is answered with %x", b)
		}
		m.server.Destroy(nil)
		restart(bytes.Repeat([]byte{1}, 16), other.client)
		if n := m.server.Stats().StatelessResetCount; n == 0 || other.client.Destroyed() {
			t.Errorf("%d resets by somebody without the secret, the session's end: %v", n, other.client.Err())
		}
		covers(t, "SOC-061")
	})
}

// sentToKernel compares what a socket says that it has sent with what comes out.
func sentToKernel(t *testing.T) {
	t.Helper()
	for _, wrapped := range []bool{false, true} {
		peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		o := SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}}
		if wrapped {
			c, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o = SocketOptions{PacketConn: struct{ net.PacketConn }{c}}
		}
		s := newSocket(t, o)
		_, err = s.Connect(t.Context(), ConnectOptions{Port: peer.LocalAddr().(*net.UDPAddr).Port, Type: UDP4, TLS: clientConfig()})
		if err != nil {
			t.Fatal(err)
		}
		var bytes, datagrams uint64
		for try := 0; ; try++ {
			if st := s.Stats(); bytes > 0 && st.BytesSent == bytes && st.PacketsSent == datagrams {
				break
			}
			if try == 100 {
				t.Fatalf("wrapped %v: %d bytes in %d datagrams have come: %+v", wrapped, bytes, datagrams, s.Stats())
			}
			_ = peer.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if n, _, err := peer.ReadFrom(make([]byte, 2000)); err == nil {
				bytes += uint64(n)
				datagrams++
			}
		}
	}
}
