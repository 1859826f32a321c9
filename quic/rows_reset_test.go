package quic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// raw is somebody on the in-memory network who writes datagrams of its own.
type raw struct {
	t    testing.TB
	conn udp.Conn
	got  chan []byte
}

func (m *memNet) raw(address string) *raw {
	m.t.Helper()
	c, err := m.net.Listen(netip.MustParseAddrPort(address))
	if err != nil {
		m.t.Fatal(err)
	}
	r := &raw{t: m.t, conn: c, got: make(chan []byte, 1000)}
	go func() {
		var in [2 * dgram.MaxSegments]dgram.Datagram
		for {
			n, slab, err := c.Receive(&slabs, in[:])
			if err != nil {
				return
			}
			for i := range n {
				r.got <- bytes.Clone(in[i].Data)
			}
			slabs.Put(slab)
		}
	}()
	return r
}

// ask sends a datagram and returns the answer, nil if there is none.
func (r *raw) ask(to netip.AddrPort, data []byte) []byte {
	r.t.Helper()
	b := dgram.NewBatch(make([]byte, 0, len(data)))
	b.Commit(copy(b.Next(len(data))[:len(data)], data))
	b.Path = dgram.Path{Local: r.conn.LocalAddr(), Remote: to}
	if err := r.conn.Send(b); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	select {
	case answer := <-r.got:
		return answer
	default:
		return nil
	}
}

// stray returns a packet with a short header for a session that nobody has.
func stray(id string, size int) []byte {
	return append([]byte("\x40"+id), make([]byte, size-1-len(id))...)
}

// token returns the last 16 bytes of a stateless reset.
func token(b []byte) string { return string(b[max(0, len(b)-16):]) }

// What a stateless reset looks like, and what its token hangs on.
func TestStatelessResetPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []byte("0123456789abcdef")
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{StatelessResetSecret: secret, MaxStatelessResetsPerHost: 1000}, ListenOptions{})
		defer m.close()
		r := m.raw("10.0.0.9:9")
		defer r.conn.Close()
		var tokens [2]string
		resets := uint64(0)
		for i, id := range []string{"12345678", "abcdefgh"} {
			for _, size := range []int{22, 30, 44, 100, 1200} {
				b := r.ask(memServer, stray(id, size))
				resets++
				if len(b) < 21 || len(b) >= size || b[0]&0xc0 != 0x40 {
					t.Fatalf("%d bytes are answered with %x", size, b)
				}
				if tokens[i] == "" {
					tokens[i] = token(b)
				}
				if token(b) != tokens[i] {
					t.Errorf("another token for the same connection ID")
				}
			}
		}
		if b := r.ask(memServer, stray("12345678", 21)); b != nil {
			t.Errorf("21 bytes are answered with %x, which cannot be shorter", b)
		}
		if tokens[0] == tokens[1] {
			t.Error("two connection IDs have one token")
		}
		if n := m.server.Stats().StatelessResetCount; n != resets {
			t.Errorf("StatelessResetCount is %d, want %d", n, resets)
		}
		covers(t, "SOC-063")

		tokenOf := func(port uint16, o SocketOptions) string {
			at := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.3"), port)
			s := m.socketAt(at, o)
			defer s.Destroy(nil)
			if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
				t.Fatal(err)
			}
			return token(r.ask(at, stray("12345678", 100)))
		}
		if got := tokenOf(1, SocketOptions{StatelessResetSecret: bytes.Clone(secret)}); got != tokens[0] {
			t.Error("another socket with the secret has another token")
		}
		if got := tokenOf(2, SocketOptions{StatelessResetSecret: []byte("0123456789abcdeX")}); got == tokens[0] || got == "" {
			t.Error("another secret gives the same token, or none")
		}
		if a, b := tokenOf(3, SocketOptions{}), tokenOf(4, SocketOptions{}); a == b || a == "" {
			t.Error("sockets without a secret share one")
		}
		for _, n := range []int{0, 15, 17, 32} {
			_, err := NewSocket(SocketOptions{StatelessResetSecret: make([]byte, n)})
			wantOption(t, err, "SocketOptions.StatelessResetSecret", CodeInvalidArgValue)
			if err == nil || !strings.Contains(err.Error(), "16 bytes") {
				t.Errorf("%v", err)
			}
		}
		covers(t, "CQS-015")
	})
}

func TestStatelessResetsPerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i, most := range []int{0, 3} { // 0 is 10
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxStatelessResetsPerHost: most}, ListenOptions{})
			want := most
			if i == 0 {
				want = limits.Bound(t, "resets-per-host-default")
			}
			burst := func(address string) (n int) {
				r := m.raw(address)
				defer r.conn.Close()
				for range 25 {
					if r.ask(memServer, stray("12345678", 100)) != nil {
						n++
					}
				}
				return n
			}
			if n := burst("10.0.0.9:9"); n != want {
				t.Errorf("%d resets to one host, want %d", n, want)
			}
			st := m.server.Stats()
			if st.StatelessResetCount != uint64(want) || st.PacketsIgnored != uint64(25-want) || st.RepliesSuppressed != uint64(25-want) {
				t.Errorf("%+v", st)
			}
			if n := burst("10.0.0.9:10"); n != 0 {
				t.Errorf("%d resets to the host's other port", n)
			}
			if n := burst("10.0.0.8:9"); n != want {
				t.Errorf("%d resets to another host, want %d", n, want)
			}
			time.Sleep(30 * time.Second)
			if n := burst("10.0.0.9:9"); n != want {
				t.Errorf("%d resets to a host that was quiet for 30 s, want %d", n, want)
			}
			m.close()
		}
		for _, n := range []int{None, -7, 1 << 53} {
			_, err := NewSocket(SocketOptions{MaxStatelessResetsPerHost: n})
			wantOption(t, err, "SocketOptions.MaxStatelessResetsPerHost", CodeOutOfRange)
			if err == nil || !strings.Contains(err.Error(), "1 to 9007199254740991") {
				t.Errorf("%v", err)
			}
		}
		covers(t, "CQS-011")
	})
}

func TestStatelessResetSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{DisableStatelessReset: true}, ListenOptions{})
		defer m.close()
		r := m.raw("10.0.0.9:9")
		defer r.conn.Close()
		if m.server.StatelessReset() || r.ask(memServer, stray("12345678", 100)) != nil || m.server.Stats().StatelessResetCount != 0 {
			t.Error("DisableStatelessReset disables nothing")
		}
		if !m.client.StatelessReset() {
			t.Error("the default is off")
		}
		if err := m.server.SetStatelessReset(true); err != nil {
			t.Fatal(err)
		}
		if !m.server.StatelessReset() || r.ask(memServer, stray("12345678", 100)) == nil || m.server.Stats().StatelessResetCount != 1 {
			t.Error("SetStatelessReset(true) switches nothing on")
		}
		covers(t, "CQS-003")
		if err := m.server.SetStatelessReset(false); err != nil {
			t.Fatal(err)
		}
		if m.server.StatelessReset() || r.ask(memServer, stray("12345678", 100)) != nil || m.server.Stats().StatelessResetCount != 1 {
			t.Error("SetStatelessReset(false) switches nothing off")
		}
		covers(t, "SOC-062")
		m.server.Destroy(nil)
		err := m.server.SetStatelessReset(true)
		if !errors.Is(err, ErrInvalidState) || m.server.StatelessReset() {
			t.Errorf("after the end: %v, %v", err, m.server.StatelessReset())
		}
		wantCode(t, err, CodeInvalidState)
		covers(t, "SOC-060")
	})
}

const resetHelper = "CINNABAR_TEST_RESET_SERVER"

// TestStatelessResetServer is the other process of the test below, and nothing by itself.
func TestStatelessResetServer(t *testing.T) {
	address := os.Getenv(resetHelper)
	if address == "" {
		return
	}
	s, err := NewSocket(SocketOptions{
		Endpoint:             EndpointOptions{Address: "127.0.0.1", Port: int(netip.MustParseAddrPort(address).Port())},
		StatelessResetSecret: []byte("of both servers!"),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Listen(context.Background(), ListenOptions{TLS: serverConfig(), Handler: func(v *ServerSession) error {
		v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
			go io.Copy(st, st)
			return nil
		}})
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("at " + s.Address().String() + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the other end is gone
	os.Exit(0)
}

// resetServer starts a server in a process of its own, and returns its address and its end.
func resetServer(t *testing.T, address string) (string, func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStatelessResetServer$")
	cmd.Env = append(os.Environ(), resetHelper+"="+address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if at, ok := strings.CutPrefix(lines.Text(), "at "); ok {
			return at, end
		}
	}
	t.Fatal("the server does not start")
	return "", nil
}

// A server is killed, and another one with its secret tells the client so.
func TestStatelessResetAcrossProcesses(t *testing.T) {
	ctx := testContext(t)
	at, kill := resetServer(t, "127.0.0.1:0")
	config := clientConfig()
	config.InsecureSkipVerify = true // the other process has made its own certificate
	c, err := Dial(ctx, at, ConnectOptions{TLS: config, IdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(nil)
	st, err := c.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	echo := func() error {
		if _, err := st.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(st, make([]byte, 1))
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	kill()
	resetServer(t, at)
	var reset *StatelessResetError
	if err := echo(); !errors.As(err, &reset) {
		t.Errorf("the stream ends with %v", err)
	}
	<-c.Closed()
	if err := c.Err(); !errors.As(err, &reset) || !c.Stats().StatelessReset || c.Stats().IdleTimeout {
		t.Errorf("the session ends with %v, %+v", err, c.Stats())
	}
	wantCode(t, c.Err(), CodeStatelessReset)
	probe, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	for _, size := range []int{22, 43, 1200} {
		if _, err := probe.Write(stray("12345678", size)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 2000)
		n, err := probe.Read(answer)
		if err != nil || n < 21 || n >= size || answer[0]&0xc0 != 0x40 {
			t.Errorf("%d bytes are answered with %x, %v", size, answer[:n], err)
		}
	}
	covers(t, "SOC-061")
}
