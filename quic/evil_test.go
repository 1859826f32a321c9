package quic

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// evilEnd is an evil peer on the in-memory network of a bubble, at 10.0.0.66:6666.
type evilEnd struct {
	*evil.Talker
	t    *testing.T
	net  *memNet
	conn *udp.Mem
	to   netip.AddrPort

	mu    sync.Mutex
	heard [][]byte
}

var evilAddress = netip.MustParseAddrPort("10.0.0.66:6666")

func newEvilEnd(t *testing.T, m *memNet) *evilEnd {
	e := &evilEnd{t: t, net: m, to: memServer}
	var err error
	if e.conn, err = m.net.Listen(evilAddress); err != nil {
		t.Fatal(err)
	}
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		if d.Path.Local != evilAddress {
			return false
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, bytes.Clone(d.Data))
		e.to = d.Path.Remote
		return true
	})
	return e
}

// take returns what has arrived since it was called last.
func (e *evilEnd) take() [][]byte {
	synctest.Wait()
	e.net.look()
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := e.heard
	e.heard = nil
	return heard
}

// peer returns where our end was heard from last.
func (e *evilEnd) peer() netip.AddrPort {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.to
}

func (e *evilEnd) send(data []byte) {
	b := dgram.NewBatch(make([]byte, 0, len(data)))
	b.Next(len(data))
	b.Commit(copy(b.Next(len(data))[:len(data)], data))
	b.Path = dgram.Path{Local: evilAddress, Remote: e.peer()}
	if err := e.conn.Send(b); err != nil {
		e.t.Fatal(err)
	}
}

// talk goes on with the handshake until neither end has anything to say.
func (e *evilEnd) talk() {
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

// evilRun is one handshake between one of our ends and an evil peer.
type evilRun struct {
	config func(*tls.Config)                             // of the evil peer
	edit   func(typ wire.PacketType, data []byte) []byte // its handshake bytes
	after  func(e *evilEnd)                              // once the handshake has gone as far as it goes
	client ConnectOptions                                // of our client
}

// errorOf runs a handshake against our server, or our client, and returns the code that
// the evil peer was told.
func (r evilRun) errorOf(t *testing.T, server bool) (code wire.ErrorCode) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		e := newEvilEnd(t, m)
		defer e.conn.Close()
		if server {
			e.attackServer(r)
		} else {
			e.attackClient(r)
		}
		defer e.Close()
		e.talk()
		if r.after != nil && e.Closed == nil {
			if !e.Done {
				t.Fatalf("the handshake does not end: %v", e.Err)
			}
			r.after(e)
			e.talk()
		}
		if e.Closed == nil {
			t.Fatalf("no CONNECTION_CLOSE; of TLS: %v", e.Err)
		}
		code = wire.ErrorCode(e.Closed.Code)
		m.attacked.Ended(code.String())
	})
	return code
}

// attackServer makes the evil peer a client of our server.
func (e *evilEnd) attackServer(r evilRun) {
	p := evil.NewPeer(evil.Client, wire.MakeConnectionID([]byte("original")), wire.MakeConnectionID([]byte("evil-one")))
	params := wire.DefaultParameters()
	params.HasInitialSCID, params.InitialSCID = true, p.ID
	config := clientConfig()
	config.ServerName = "localhost"
	e.begin(p, config, params, r)
}

// attackClient makes our client connect to the evil peer.
func (e *evilEnd) attackClient(r evilRun) {
	e.net.victim = e.net.client
	o := e.net.options(r.client)
	o.Address, o.Port = evilAddress.Addr().String(), int(evilAddress.Port())
	if _, err := e.net.client.Connect(e.t.Context(), o); err != nil {
		e.t.Fatal(err)
	}
	first := e.take()
	h, ok := wire.ParseLong(first[0])
	if !ok {
		e.t.Fatal("the client's first datagram is no packet")
	}
	p := evil.NewPeer(evil.Server, h.DCID, wire.MakeConnectionID([]byte("evil-one")))
	p.DCID = h.SCID
	params := wire.DefaultParameters()
	params.HasInitialSCID, params.InitialSCID = true, p.ID
	params.HasOriginalDCID, params.OriginalDCID = true, h.DCID
	e.begin(p, serverConfig(), params, r)
	for _, d := range first {
		e.Hear(0, d)
	}
}

func (e *evilEnd) begin(p *evil.Peer, config *tls.Config, params wire.Parameters, r evilRun) {
	if r.config != nil {
		r.config(config)
	}
	e.Talker = evil.NewTalker(p, config, params.Append(nil), r.edit)
}
