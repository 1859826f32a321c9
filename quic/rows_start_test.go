package quic

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// traffic is what has gone over the network of a test.
type traffic struct {
	mu   sync.Mutex
	list []dgram.Datagram // copies, in order; Path is the receiver's
}

func (tr *traffic) sent() []dgram.Datagram {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.list)
}

func (m *memNet) record() *traffic {
	tr := new(traffic)
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		c := *d
		c.Data = bytes.Clone(d.Data)
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.list = append(tr.list, c)
		return false
	})
	return tr
}

// A delayed session is in its initial state until StartHandshake, however long that
// takes, and then goes through all others.
func TestStatesOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secure, theirs := 0, 0
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{
			Hooks: SessionHooks{Secure: func() error { theirs++; return nil }},
		})
		defer m.close()
		tr := m.record()
		c := m.connect(ConnectOptions{DelayHandshake: true, Hooks: SessionHooks{Secure: func() error { secure++; return nil }}})
		time.Sleep(time.Hour) // past every timeout there is
		if c.HandshakeComplete() || c.HandshakeConfirmed() || c.Closing() || c.Destroyed() || secure != 0 ||
			len(tr.sent()) != 0 || c.Stats().PacketsSent != 0 || c.ServerName() != "localhost" {
			t.Errorf("initial: complete %v, closing %v, destroyed %v, %d secure, %d datagrams",
				c.HandshakeComplete(), c.Closing(), c.Destroyed(), secure, len(tr.sent()))
		}
		covers(t, "SES-002")
		if d := c.Stats().HandshakeDuration; d != 0 {
			t.Errorf("the handshake has taken %v before it began", d)
		}
		if _, err := c.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("TryOpenStream: %v", err)
		}

		start := time.Now()
		if err := c.StartHandshake(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, c.StartHandshake(), CodeInvalidState)
		time.Sleep(5 * time.Millisecond)
		if c.HandshakeComplete() || c.Closing() || c.Destroyed() || secure != 0 || len(tr.sent()) == 0 || tr.sent()[0].Path.Local != memServer {
			t.Errorf("handshake: complete %v, %d secure, %d datagrams", c.HandshakeComplete(), secure, len(tr.sent()))
		}
		covers(t, "SES-003")
		if d := c.Stats().HandshakeDuration; d != 5*time.Millisecond {
			t.Errorf("the handshake takes %v so far, want 5ms", d)
		}
		opened := make(chan *Stream, 1)
		go func() {
			st, _ := c.OpenStream(t.Context(), StreamOptions{})
			opened <- st
		}()
		synctest.Wait()
		if len(opened) != 0 || theirs != 0 {
			t.Error("a stream was opened, or the server was secure, before the end of the handshake")
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(opened) != 1 {
			t.Error("the stream that was asked for before is not open")
		}
		covers(t, "SES-004")
		if d := time.Since(start); d != 20*time.Millisecond || !c.HandshakeComplete() || secure != 1 || c.Closing() || c.Destroyed() {
			t.Errorf("ready after %v: complete %v, %d secure", d, c.HandshakeComplete(), secure)
		}
		covers(t, "X-004")
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if theirs != 1 || !s.HandshakeComplete() {
			t.Errorf("the server was secure %d times when its session was accepted", theirs)
		}
		(&pair{m.server, c, s}).exchange(t)
		time.Sleep(time.Second)
		if secure != 1 || theirs != 1 || c.Stats().HandshakeDuration != 20*time.Millisecond || s.Stats().HandshakeDuration != 20*time.Millisecond {
			t.Errorf("%d secure, handshakes took %v and %v", secure, c.Stats().HandshakeDuration, s.Stats().HandshakeDuration)
		}
		covers(t, "SES-004")
		covers(t, "SES-060")
		c = m.connect(ConnectOptions{}) // begins by itself
		wantCode(t, c.StartHandshake(), CodeInvalidState)
		if err := c.Handshake(t.Context()); err != nil {
			t.Error(err)
		}
		covers(t, "X-004")
	})
}

// No stream of an ordinary session carries anything before the handshake is complete.
func TestStreamsWaitForHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{})
		start := time.Now()
		st, err := c.OpenStream(t.Context(), StreamOptions{}) // waits
		if err != nil || time.Since(start) != 20*time.Millisecond || !c.HandshakeComplete() {
			t.Fatalf("OpenStream: %v after %v", err, time.Since(start))
		}
		st.End([]byte("hello"))
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sst, err := s.AcceptStream(t.Context())
		if err != nil || !s.HandshakeComplete() || sst.Early() {
			t.Fatalf("AcceptStream: %v", err)
		}
		if b, err := io.ReadAll(sst); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// A delayed session that ends is gone without a word, and cannot be started.
func TestDelayedSessionEnds(t *testing.T) {
	boom := errors.New("boom")
	for name, end := range map[string]func(*ClientSession){
		"Close":          func(c *ClientSession) { c.Close() },
		"Destroy":        func(c *ClientSession) { c.Destroy(boom) },
		"CloseWithError": func(c *ClientSession) { c.CloseWithError(7, "no") },
		"the socket's":   func(c *ClientSession) { c.Socket().Destroy(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
				defer m.close()
				tr := m.record()
				c := m.connect(ConnectOptions{DelayHandshake: true})
				c.Ping()
				end(c)
				<-c.Closed()
				if err := c.StartHandshake(); !errors.Is(err, ErrInvalidState) {
					t.Errorf("StartHandshake: %v", err)
				}
				if err := c.Handshake(t.Context()); err == nil || name == "Destroy" && !errors.Is(err, boom) {
					t.Errorf("Handshake: %v", err)
				}
				time.Sleep(time.Minute)
				if len(tr.sent()) != 0 {
					t.Errorf("%d datagrams", len(tr.sent()))
				}
				if n := m.client.mux.Conns(); n != 0 {
					t.Errorf("%d sessions are still routed to", n)
				}
			})
		})
	}
}

// A session that is not delayed cannot be started; one that Dial made can.
func TestStartHandshake(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	wantCode(t, p.client.StartHandshake(), CodeInvalidState)
	c, err := Dial(testContext(t), p.socket.Address().String(), ConnectOptions{TLS: clientConfig(), DelayHandshake: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(nil)
	if c.HandshakeComplete() {
		t.Error("the handshake has begun")
	}
	if err := c.StartHandshake(); err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(testContext(t)); err != nil {
		t.Error(err)
	}
}

// The connection ID of the options is the one on the wire, if it is one that may be.
func TestDCID(t *testing.T) {
	for _, n := range []int{8, 13, 20} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			defer m.close()
			tr := m.record()
			dcid := bytes.Repeat([]byte{0xd0 + byte(n)}, n)
			p := m.pair(ConnectOptions{DCID: dcid})
			if h, ok := wire.ParseLong(tr.sent()[0].Data); !ok || h.Type != wire.Initial || !bytes.Equal(h.DCID.Bytes(), dcid) {
				t.Errorf("%d bytes: the first packet goes to %x", n, h.DCID.Bytes())
			}
			covers(t, "X-005")
			p.exchange(t)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		tr := m.record()
		for _, n := range []int{0, 1, 7, 21} {
			_, err := m.client.Connect(t.Context(), m.options(ConnectOptions{DCID: make([]byte, n)}))
			wantCode(t, err, CodeInvalidArgValue)
			if err == nil || !strings.Contains(err.Error(), "ConnectOptions.DCID") || !strings.Contains(err.Error(), "8 to 20 bytes") {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if len(tr.sent()) != 0 || m.client.Stats().ClientSessions != 0 {
			t.Error("a bad connection ID made a session")
		}
		seen := make(map[string]bool) // by the first packet of each session
		for range 3 {
			synctest.Wait()
			before := len(tr.sent())
			m.connect(ConnectOptions{})
			h, ok := wire.ParseLong(tr.sent()[before].Data)
			if !ok || h.Type != wire.Initial || h.DCID.Len() < 8 {
				t.Errorf("a connection ID that was not given is %x", h.DCID.Bytes())
			}
			seen[string(h.DCID.Bytes())] = true
		}
		if len(seen) != 3 {
			t.Errorf("three sessions went to %d connection IDs", len(seen))
		}
	})
}

// A server that speaks no version of ours ends the session, with what it speaks.
func TestVersionNegotiationError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		raw, err := m.net.Listen(netip.MustParseAddrPort("10.0.0.9:9"))
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		reported := make(chan error, 1)
		answer := func(relayed bool, versions ...uint32) *ClientSession {
			tr := m.record()
			c, err := m.client.Connect(t.Context(), ConnectOptions{
				Address: "10.0.0.9", Port: 9, TLS: clientConfig(), ServerName: "localhost",
				Hooks: SessionHooks{Error: func(err error) { reported <- err }},
			})
			if err != nil {
				t.Fatal(err)
			}
			d := tr.sent()[0]
			h, ok := wire.ParseLong(d.Data)
			if !ok {
				t.Fatal("no long header")
			}
			client := d.Path.Remote
			if relayed { // what a real server has to say comes first
				for _, d := range tr.sent() {
					sendRaw(t, raw, memServer, d.Data)
				}
				for heard := false; !heard; {
					var got [2 * dgram.MaxSegments]dgram.Datagram
					n, _, err := raw.Receive(&slabs, got[:])
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range got[:n] { // the clients' are there too
						if heard = d.Path.Remote == memServer; heard {
							sendRaw(t, raw, client, d.Data)
							break
						}
					}
				}
				synctest.Wait()
			}
			sendRaw(t, raw, client, wire.AppendVersionNegotiation(nil, 0, h.SCID.Bytes(), h.DCID.Bytes(), versions...))
			return c
		}
		c := answer(false, 0x709a50c4, 0xff00001d)
		err = c.Handshake(t.Context())
		var v *VersionNegotiationError
		if !errors.As(err, &v) || v.Code() != "ERR_QUIC_VERSION_NEGOTIATION" || v.Version != 1 ||
			!slices.Equal(v.RequestedVersions, []uint32{0x709a50c4, 0xff00001d}) || !slices.Equal(v.SupportedVersions, []uint32{1, 0x6b3343cf}) {
			t.Errorf("Handshake: %#v", err)
		}
		if got := <-reported; got != err || c.Err() != err || !c.Destroyed() {
			t.Errorf("the Error hook was told %v", got)
		}
		covers(t, "X-018")
		for what, c := range map[string]*ClientSession{ // neither can be true: RFC 9000 §6.2
			"a list with our version":    answer(false, 0x6b3343cf, 1),
			"a list after other packets": answer(true, 0x6b3343cf),
		} {
			time.Sleep(time.Second)
			if c.Destroyed() {
				t.Errorf("%s ended the session: %v", what, c.Err())
			}
			c.Destroy(nil)
		}
	})
}

// sendRaw sends a datagram from a conn that is no socket's.
func sendRaw(t testing.TB, c udp.Conn, to netip.AddrPort, data []byte) {
	t.Helper()
	b := dgram.NewBatch(make([]byte, 0, 1500))
	copy(b.Next(len(data))[:len(data)], data)
	b.Commit(len(data))
	b.Path = dgram.Path{Local: c.LocalAddr(), Remote: to}
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
}

// What is on the wire is version 1, in both directions.
func TestWireVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "h3"})
		defer m.close()
		tr := m.record()
		p := m.pair(ConnectOptions{ALPN: "h3"})
		p.exchange(t)
		long := make(map[bool]int) // by direction: to the server
		for _, d := range tr.sent() {
			if d.Data[0]&0x80 == 0 {
				continue
			}
			long[d.Path.Local == memServer]++
			if v := d.Data[1:5]; !bytes.Equal(v, []byte{0, 0, 0, 1}) {
				t.Errorf("a packet of version %x", v)
			}
		}
		if long[true] == 0 || long[false] == 0 || p.server.ALPNProtocol() != "h3" {
			t.Errorf("%v long headers, ALPN %q", long, p.server.ALPNProtocol())
		}
		covers(t, "X-022")
	})
}
