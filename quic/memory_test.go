//go:build !race

package quic

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

const (
	memorySessions = 800 // below the number that makes a server ask for Retry
	kib            = 1 << 10
)

// retained returns the bytes that objects in use and stacks take, and all that were ever allocated.
func retained() (now, ever int) {
	synctest.Wait()
	for range 3 { // what pools hold goes at the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse), int(m.TotalAlloc)
}

// memoryRig has the first flights of many clients, which are gone themselves.
type memoryRig struct {
	*memNet
	flights [memorySessions][][]byte
}

// newMemoryRig makes clients without a server that would hear them.
func newMemoryRig(t *testing.T, lo ListenOptions) *memoryRig {
	many := 2 * memorySessions
	m := &memoryRig{memNet: newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: many}, lo)}
	for i := range m.flights {
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Local == memServer {
				m.flights[i] = append(m.flights[i], bytes.Clone(d.Data))
			}
			return true
		})
		c := m.connect(ConnectOptions{})
		synctest.Wait()
		c.Destroy(nil)
	}
	time.Sleep(time.Minute) // nothing is left of the clients
	return m
}

// say sends the server one datagram of each client's first flight.
func (m *memoryRig) say(which int) {
	m.t.Helper()
	m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Local != memServer })
	for i, flight := range m.flights {
		if len(flight) < 2 {
			m.t.Fatalf("a ClientHello in %d datagrams", len(flight))
		}
		from, err := m.net.Listen(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.3"), uint16(1000+i)))
		if err != nil {
			m.t.Fatal(err)
		}
		b := dgram.NewBatch(make([]byte, 0, 1500))
		b.Commit(copy(b.Next(1500)[:1500], flight[which]))
		b.Path = dgram.Path{Local: from.LocalAddr(), Remote: memServer}
		if err := from.Send(b); err != nil {
			m.t.Fatal(err)
		}
		from.Close()
		synctest.Wait()
	}
}

// each is what a session takes of so many bytes.
func each(bytes int) int { return bytes / memorySessions }

// atMost fails if a session takes more than it may.
func atMost(t *testing.T, what string, bytes, most int) {
	t.Helper()
	if bytes > most {
		t.Errorf("%s: %d bytes, and not at most %d", what, bytes, most)
	}
	t.Logf("%s: %d bytes", what, bytes)
}

// What a server holds for a client that has said half a hello, and for one that has not
// proven to be there: measured over many clients, of which none goes on. Half of the second
// figure is crypto/tls, with a stack of 8 KiB for its goroutine.
func TestMemoryOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryRig(t, ListenOptions{})
		defer m.close()
		before, _ := retained()
		m.say(0)
		half, ever := retained()
		atMost(t, "until the ClientHello is complete", each(half-before), 8*kib)
		m.say(1)
		whole, everThen := retained()
		atMost(t, "waiting for Finished", each(whole-before), 32*kib)
		t.Logf("allocated for that, garbage and all: %d bytes", each(everThen-ever))
		if st := m.server.Stats(); st.ServerSessions != memorySessions {
			t.Errorf("%d sessions", st.ServerSessions)
		}
		runtime.KeepAlive(m)
	})
	engine := memoryOfEngine(t)
	t.Logf("of these crypto/tls alone: %d bytes", engine)
}

// What a server holds for a client that says the longest ClientHello there may be, but for its last byte: the session
// within the same 8 KiB, and besides what the bytes take that have come.
func TestMemoryOfLongHellos(t *testing.T) {
	const sessions, hello, chunk = 200, 16 * kib, 3 * kib // the last chunk has that much room at most
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		say := func(n int) {
			p := evil.NewPeer(evil.Client, wire.MakeConnectionID(binary.BigEndian.AppendUint64(nil, uint64(n))), wire.MakeConnectionID([]byte("evil")))
			long := evil.TLSMessage(1, make([]byte, hello-4))
			var flight [][]byte
			for at := 0; at < hello-1; at += 1000 {
				flight = append(flight, p.Say(wire.Initial, wire.Crypto{Offset: int64(at), Data: long[at:min(at+1000, hello-1)]}))
			}
			m.replay(n, flight)
			synctest.Wait()
		}
		m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Local != memServer })
		say(sessions)
		before, _ := retained()
		for n := range sessions {
			say(n)
		}
		after, _ := retained()
		if n := m.server.Stats().ServerSessions; n != sessions+1 {
			t.Errorf("%d sessions", n)
		}
		atMost(t, "16 KiB of ClientHello, a byte missing", (after-before)/sessions, 8*kib+hello+chunk)
	})
}

// memoryOfEngine measures what crypto/tls takes by itself for a client that it awaits Finished of.
func memoryOfEngine(t *testing.T) (bytes int) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := &tls.QUICConfig{TLSConfig: serverConfig()}, &tls.QUICConfig{TLSConfig: clientConfig()}
		theirs.TLSConfig.ServerName = "localhost"
		ours.TLSConfig.MinVersion, theirs.TLSConfig.MinVersion = tls.VersionTLS13, tls.VersionTLS13
		var hellos [memorySessions][]byte
		for i := range hellos {
			c := tls.QUICClient(theirs)
			c.SetTransportParameters(nil)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for e := c.NextEvent(); e.Kind != tls.QUICNoEvent; e = c.NextEvent() {
				if e.Kind == tls.QUICWriteData {
					hellos[i] = append(hellos[i], e.Data...)
				}
			}
			c.Close()
		}
		before, _ := retained()
		var engines [memorySessions]*tls.QUICConn
		for i := range engines {
			e := tls.QUICServer(ours)
			engines[i] = e
			e.SetTransportParameters(nil)
			if err := e.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := e.HandleData(tls.QUICEncryptionLevelInitial, hellos[i]); err != nil {
				t.Fatal(err)
			}
			for e.NextEvent().Kind != tls.QUICNoEvent {
			}
		}
		after, _ := retained()
		bytes = each(after - before)
		for i := range engines {
			engines[i].Close()
		}
		runtime.KeepAlive(hellos)
	})
	return bytes
}

// heldSigner is a key that signs when the gate opens.
type heldSigner struct {
	crypto.Signer
	gate chan struct{}
}

func (h heldSigner) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	<-h.gate
	return h.Signer.Sign(rand, digest, o)
}

// What a server holds where a handshake takes most: while TLS is about to sign, on two goroutines
// a session, whose stacks count.
func TestMemoryAtThePeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		config := serverConfig()
		config.Certificates = slices.Clone(config.Certificates)
		config.Certificates[0].PrivateKey = heldSigner{config.Certificates[0].PrivateKey.(crypto.Signer), gate}
		m := newMemoryRig(t, ListenOptions{TLS: config})
		defer m.close()
		defer close(gate)
		before, _ := retained()
		m.say(0)
		m.say(1)
		peak, _ := retained()
		atMost(t, "at the peak of a handshake", each(peak-before), 64*kib)
		runtime.KeepAlive(m)
	})
}

// What an idle session holds at either end: alive, with a stream behind it.
func TestMemoryOfIdleSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const long = 10 * time.Minute
		many := 2 * memorySessions
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: many}, ListenOptions{IdleTimeout: long})
		defer m.close()
		var pairs []*pair
		exchange := func() {
			p := m.pair(ConnectOptions{IdleTimeout: long})
			pairs = append(pairs, p)
			c, err := p.client.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.End(make([]byte, 100))
			s, err := p.server.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, s)
			s.End(make([]byte, 1000))
			io.Copy(io.Discard, c)
		}
		exchange()
		time.Sleep(2 * engineLife)
		before, _ := retained()
		for range memorySessions {
			exchange()
		}
		time.Sleep(2 * engineLife)
		both, _ := retained()
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		for _, p := range pairs {
			if p.client.Err() != nil || p.server.Err() != nil {
				t.Fatal("a session is over")
			}
			p.client.Destroy(nil)
			p.client = nil
		}
		time.Sleep(engineLife)
		servers, _ := retained()
		atMost(t, "an idle server session", each(servers-before), 16*kib)
		atMost(t, "an idle client session", each(both-servers), 16*kib)
		for _, p := range pairs {
			if p.server.Err() != nil {
				t.Fatal("a server session is over")
			}
		}
	})
}
