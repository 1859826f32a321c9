package http3

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// evilEnd is a QUIC peer that keeps to no limit, on an in-memory network.
type evilEnd struct {
	*evil.Talker
	t    *testing.T
	conn *udp.Mem

	mu    sync.Mutex
	to    netip.AddrPort // whom it talks to
	heard [][]byte
}

var evilAddress = netip.MustParseAddrPort("10.0.0.66:6666")

func newEvilEnd(t *testing.T, n *udp.Network) *evilEnd {
	t.Helper()
	conn, err := n.Listen(evilAddress)
	must(t, err)
	e := &evilEnd{t: t, conn: conn, to: memServer}
	n.SetFilter(func(d *dgram.Datagram) bool {
		if d.Path.Local != evilAddress {
			return false
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard, e.to = append(e.heard, bytes.Clone(d.Data)), d.Path.Remote
		return true
	})
	return e
}

// take returns what has arrived since it was called last.
func (e *evilEnd) take() [][]byte {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := e.heard
	e.heard = nil
	return heard
}

func (e *evilEnd) send(data []byte) {
	e.t.Helper()
	e.mu.Lock()
	to := e.to
	e.mu.Unlock()
	b := dgram.NewBatch(make([]byte, 0, len(data)))
	b.Next(len(data))
	b.Commit(copy(b.Next(len(data))[:len(data)], data))
	b.Path = dgram.Path{Local: evilAddress, Remote: to}
	must(e.t, e.conn.Send(b))
}

// talk goes on until neither end has anything to say.
func (e *evilEnd) talk() {
	e.t.Helper()
	for range 50 {
		said := e.Speak()
		for _, d := range said {
			e.send(d)
		}
		heard := e.take()
		for _, d := range heard {
			e.Hear(0, d)
		}
		if len(said)+len(heard) == 0 {
			return
		}
	}
	e.t.Fatal("the two do not come to rest")
}

// begin makes the handshake. The peer may open streams as it likes.
func (e *evilEnd) begin(p *evil.Peer, config *tls.Config, original *wire.ConnectionID, first [][]byte) {
	e.t.Helper()
	params := wire.DefaultParameters()
	params.HasInitialSCID, params.InitialSCID = true, p.ID
	if original != nil {
		params.HasOriginalDCID, params.OriginalDCID = true, *original
	}
	params.MaxData, params.MaxStreamsBidi, params.MaxStreamsUni = 1<<20, 100, 100
	params.MaxStreamDataBidiLocal, params.MaxStreamDataBidiRemote, params.MaxStreamDataUni = 1<<16, 1<<16, 1<<16
	config.NextProtos = []string{ALPN}
	e.Talker = evil.NewTalker(p, config, params.Append(nil), nil)
	for _, d := range first {
		e.Hear(0, d)
	}
	if e.talk(); !e.Done || e.Closed != nil {
		e.t.Fatalf("the handshake comes to %v, %v", e.Err, e.Closed)
	}
}

// wantStreamLimit opens the last stream that there may be, of those that begin with a number, and then the next,
// which ends the session. socket is the victim's.
func (e *evilEnd) wantStreamLimit(first int64, most int, socket *quic.Socket) {
	e.t.Helper()
	open := func(n int) {
		e.send(e.Say(wire.OneRTT, wire.Stream{ID: first + 4*int64(n), Data: []byte{0x40}, HasLen: true})) // half a number
		e.talk()
	}
	if open(most - 1); e.Closed != nil || socket.Stats().LimitErrors != 0 {
		e.t.Fatalf("stream %d of %d: %v, %d errors are counted", most, most, e.Closed, socket.Stats().LimitErrors)
	}
	open(most)
	if c := e.Closed; c == nil || c.App || wire.ErrorCode(c.Code) != wire.StreamLimitError {
		e.t.Errorf("stream %d: %+v, want %v", most+1, c, wire.StreamLimitError)
	}
	if n := socket.Stats().LimitErrors; n != 1 {
		e.t.Errorf("%d errors are counted", n)
	}
}

// A server takes so many requests and unidirectional streams at once, and no more from whom does not care.
func TestServerStreams(t *testing.T) {
	requests, uni := limits.Bound(t, "http3-requests"), limits.Bound(t, "http3-unidirectional")
	for first, most := range map[int64]int{0: requests, 2: uni} {
		synctest.Test(t, func(t *testing.T) {
			s := handler(func(http.ResponseWriter, *http.Request) {})
			m := newMemNet(t, s)
			e := newEvilEnd(t, m.net)
			defer e.conn.Close()
			config := clientTLS()
			config.ServerName = "localhost"
			e.begin(evil.NewPeer(evil.Client, wire.MakeConnectionID([]byte("original")), wire.MakeConnectionID([]byte("evil-one"))), config, nil, nil)
			defer e.Close()
			var socket *quic.Socket
			s.mu.Lock()
			for socket = range s.sockets { // there is one
			}
			s.mu.Unlock()
			e.wantStreamLimit(first, most, socket)
			if c := m.dial(Options{}, quic.ConnectOptions{}).known(); c.q.Err() != nil {
				t.Errorf("another client: %v", c.q.Err())
			}
		})
	}
}

// A Transport takes so many unidirectional streams of a server's at once, and of bidirectional ones none.
func TestClientStreams(t *testing.T) {
	most := limits.Bound(t, "http3-unidirectional-back")
	synctest.Test(t, func(t *testing.T) {
		m := &memNet{t, udp.NewNetwork(udp.NetworkOptions{})}
		e := newEvilEnd(t, m.net)
		defer e.conn.Close()
		socket, err := quic.NewSocket(m.at(memClient))
		must(t, err)
		defer socket.Destroy(nil)
		tr := &Transport{TLSClientConfig: clientTLS(), Socket: socket}
		defer tr.Close()
		tr.TLSClientConfig.ServerName = "localhost"
		result := make(chan error, 1)
		go func() {
			_, err := tr.RoundTrip(newRequest(t, "GET", "https://"+evilAddress.String(), nil))
			result <- err
		}()
		first := e.take()
		h, ok := wire.ParseLong(first[0])
		if !ok {
			t.Fatal("the client's first datagram is no packet")
		}
		p := evil.NewPeer(evil.Server, h.DCID, wire.MakeConnectionID([]byte("evil-one")))
		p.DCID = h.SCID
		e.begin(p, serverTLS(), &h.DCID, first)
		defer e.Close()
		e.wantStreamLimit(3, most, socket)
		if err := <-result; err == nil { // after another session, which the evil peer did not answer
			t.Error("the request has a response")
		}
	})
}
