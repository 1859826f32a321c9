package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// testCert is one self-signed certificate for all tests.
var testCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// node is one end of a test connection: a Mux with one Conn, and crypto/tls.
type node struct {
	t       testing.TB
	name    string
	mux     *Mux
	conn    *Conn
	tls     *tls.QUICConn
	pool    *stream.List
	addr    netip.AddrPort
	cfg     *Config
	tlsConf *tls.Config
	events  []Event
	batch   *dgram.Batch
}

func testParams() wire.Parameters {
	p := wire.DefaultParameters()
	p.MaxIdleTimeout = 30 * time.Second
	p.MaxData = 1 << 20
	p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 256<<10, 256<<10, 256<<10
	p.MaxStreamsBidi, p.MaxStreamsUni = 100, 100
	p.ActiveCIDLimit = 4
	p.HasMinAckDelay, p.MinAckDelay = true, recovery.MinAckDelay
	return p
}

func newNode(t testing.TB, name string, seed uint64, addr string, edit func(*Config, *MuxConfig)) *node {
	rng := mrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(len(name))})
	n := &node{t: t, name: name, pool: new(stream.List), addr: netip.MustParseAddrPort(addr), batch: dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))}
	fill := func(b []byte) { rng.Read(b) }
	n.cfg = &Config{Params: testParams(), Rand: fill, Pool: n.pool}
	mc := MuxConfig{Rand: fill}
	if edit != nil {
		edit(n.cfg, &mc)
	}
	n.mux = NewMux(0, mc)
	n.cfg.ResetToken = n.mux.ResetToken
	n.cfg.Tokens = n.mux.Tokens()
	return n
}

func (n *node) startTLS(now mono.Time) {
	if !n.conn.Server() {
		n.tls.SetTransportParameters(n.conn.LocalParameters())
	}
	if err := n.tls.Start(context.Background()); err != nil {
		n.t.Fatalf("%s: start: %v", n.name, err)
	}
	n.pumpTLS(now)
}

func (n *node) pumpTLS(now mono.Time) {
	for {
		e := n.tls.NextEvent()
		switch e.Kind {
		case tls.QUICNoEvent:
			return
		case tls.QUICSetReadSecret:
			n.conn.Handshake(now, TLSEvent{Kind: TLSReadSecret, Level: tlsLevel(e.Level), Suite: e.Suite, Data: e.Data})
		case tls.QUICSetWriteSecret:
			n.conn.Handshake(now, TLSEvent{Kind: TLSWriteSecret, Level: tlsLevel(e.Level), Suite: e.Suite, Data: e.Data})
		case tls.QUICWriteData:
			n.conn.Handshake(now, TLSEvent{Kind: TLSWriteData, Level: tlsLevel(e.Level), Data: e.Data})
		case tls.QUICTransportParameters:
			n.conn.Handshake(now, TLSEvent{Kind: TLSParameters, Data: e.Data})
		case tls.QUICTransportParametersRequired: // the client's have come before
			n.tls.SetTransportParameters(n.conn.LocalParameters())
		case tls.QUICRejectedEarlyData:
			n.conn.Handshake(now, TLSEvent{Kind: TLSEarlyRejected})
		case tls.QUICHandshakeDone:
			n.conn.Handshake(now, TLSEvent{Kind: TLSDone})
			if n.conn.Server() {
				if err := n.tls.SendSessionTicket(tls.QUICSessionTicketOptions{EarlyData: true}); err != nil {
					n.t.Fatalf("%s: ticket: %v", n.name, err)
				}
			}
		}
	}
}

func tlsLevel(l tls.QUICEncryptionLevel) Level {
	switch l {
	case tls.QUICEncryptionLevelInitial:
		return LevelInitial
	case tls.QUICEncryptionLevelEarly:
		return LevelEarly
	case tls.QUICEncryptionLevelHandshake:
		return LevelHandshake
	}
	return LevelApp
}

// settle drains events; TLS events are fed at once.
func (n *node) settle(now mono.Time) {
	for {
		e, ok := n.conn.Next()
		if !ok {
			return
		}
		n.mux.Apply(n.conn, &e)
		if e.Kind == EventTLS {
			if err := n.tls.HandleData(quicLevel(e.Level), e.Data); err != nil {
				code := wire.InternalError
				if a := tls.AlertError(0); errors.As(err, &a) {
					code = wire.CryptoError(uint8(a))
				}
				n.conn.Handshake(now, TLSEvent{Kind: TLSError, Err: &wire.Error{Code: code, Frame: wire.FrameCrypto, Reason: err.Error()}})
			}
			n.pumpTLS(now)
			continue
		}
		n.events = append(n.events, e)
	}
}

func quicLevel(l Level) tls.QUICEncryptionLevel {
	switch l {
	case LevelInitial:
		return tls.QUICEncryptionLevelInitial
	case LevelHandshake:
		return tls.QUICEncryptionLevelHandshake
	}
	return tls.QUICEncryptionLevelApplication
}

// pair is a client and a server over a perfect link with a delay.
type pair struct {
	t              testing.TB
	now            mono.Time
	delay          time.Duration
	client, server *node
	flight         []flight
	drop           func(from *node, b []byte) bool
}

type flight struct {
	at   mono.Time
	to   *node
	data []byte
	path dgram.Path
	ecn  dgram.ECN
}

func newPair(t testing.TB, edit func(n *node, c *Config, m *MuxConfig)) *pair {
	return newPairTLS(t, edit, nil)
}

// newPairTLS is newPair with a say in what TLS is configured with.
func newPairTLS(t testing.TB, edit func(n *node, c *Config, m *MuxConfig), editTLS func(client, server *node)) *pair {
	p := &pair{t: t, now: 1, delay: 5 * time.Millisecond}
	ed := func(name string) func(*Config, *MuxConfig) {
		return func(c *Config, m *MuxConfig) {
			if edit != nil {
				edit(&node{name: name}, c, m)
			}
		}
	}
	p.client = newNode(t, "client", 1, "10.0.0.1:1000", ed("client"))
	p.server = newNode(t, "server", 2, "10.0.0.2:443", ed("server"))
	p.server.mux.SetListening(true)
	p.server.tlsConf = &tls.Config{Certificates: []tls.Certificate{testCert()}, NextProtos: []string{"test"}, MinVersion: tls.VersionTLS13}
	p.client.tlsConf = &tls.Config{InsecureSkipVerify: true, ServerName: "server", NextProtos: []string{"test"}, MinVersion: tls.VersionTLS13}
	if editTLS != nil {
		editTLS(p.client, p.server)
	}
	p.client.conn = p.client.mux.Connect(p.now, dgram.Path{Local: p.client.addr, Remote: p.server.addr}, p.client.cfg)
	p.client.tls = tls.QUICClient(&tls.QUICConfig{TLSConfig: p.client.tlsConf})
	p.client.startTLS(p.now)
	p.flush(p.client)
	return p
}

func (p *pair) other(n *node) *node {
	if n == p.client {
		return p.server
	}
	return p.client
}

// flush drains events and sends what there is to send.
func (p *pair) flush(n *node) {
	if n.conn == nil {
		return
	}
	n.settle(p.now)
	for {
		n.batch.Reset()
		if !n.conn.Transmit(p.now, n.batch) {
			break
		}
		n.settle(p.now)
		p.send(n, n.batch)
	}
	n.settle(p.now)
}

func (p *pair) send(n *node, b *dgram.Batch) {
	for i := 0; i < b.Count(); i++ {
		data := bytes.Clone(b.Segment(i))
		if p.drop != nil && p.drop(n, data) {
			continue
		}
		p.flight = append(p.flight, flight{p.now.Add(p.delay), p.other(n), data, dgram.Path{Local: b.Path.Remote, Remote: b.Path.Local}, b.ECN})
	}
}

// step moves to the next thing that happens; false if nothing will.
func (p *pair) step() bool {
	next := mono.Never
	if len(p.flight) > 0 {
		next = p.flight[0].at
	}
	for _, n := range []*node{p.client, p.server} {
		if n.conn != nil {
			next = min(next, n.conn.Deadline())
		}
	}
	if next == mono.Never {
		return false
	}
	p.now = max(p.now, next)
	for len(p.flight) > 0 && p.flight[0].at <= p.now {
		f := p.flight[0]
		p.flight = p.flight[1:]
		p.deliver(f)
	}
	for _, n := range []*node{p.client, p.server} {
		if n.conn != nil && n.conn.Deadline() <= p.now {
			n.conn.Advance(p.now)
			p.flush(n)
		}
	}
	return true
}

func (p *pair) deliver(f flight) {
	n := f.to
	d := &dgram.Datagram{Data: f.data, Path: f.path, ECN: f.ecn}
	n.batch.Reset()
	c, v := n.mux.Route(p.now, d, n.batch)
	switch v {
	case Reply:
		p.send(n, n.batch)
	case Initial:
		c = n.mux.Accept(p.now, d, n.cfg)
		n.conn = c
		n.tls = tls.QUICServer(&tls.QUICConfig{TLSConfig: n.tlsConf})
		n.startTLS(p.now)
		fallthrough
	case Deliver:
		c.Receive(p.now, d)
		p.flush(n)
	}
}

// runUntil steps until done, at most for the given virtual time.
func (p *pair) runUntil(limit time.Duration, done func() bool) bool {
	end := p.now.Add(limit)
	for steps := 0; !done(); steps++ {
		if steps > 1_000_000 {
			p.t.Fatal("no progress in a million steps")
		}
		if p.now > end || !p.step() {
			return done()
		}
	}
	return true
}

func (n *node) saw(k EventKind) bool {
	for _, e := range n.events {
		if e.Kind == k {
			return true
		}
	}
	return false
}

func (n *node) closed() *CloseReason {
	for _, e := range n.events {
		if e.Kind == EventClosed {
			return e.Close
		}
	}
	return nil
}

func (p *pair) handshake() {
	p.t.Helper()
	if !p.runUntil(20*time.Second, func() bool {
		return p.client.conn.Confirmed() && p.server.conn != nil && p.server.conn.Confirmed()
	}) {
		p.t.Fatalf("handshake did not end: client %+v, server %+v", p.client.closed(), p.server.closed())
	}
}

func TestHandshake(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	for _, n := range []*node{p.client, p.server} {
		if !n.saw(EventSecure) || !n.saw(EventConfirmed) {
			t.Errorf("%s: events %v", n.name, n.events)
		}
	}
}

func TestRetry(t *testing.T) {
	p := newPair(t, func(n *node, c *Config, m *MuxConfig) { m.ValidateAddress = true })
	p.handshake()
	// The first flight takes two datagrams, and each is answered; the client
	// takes the first answer only.
	if got := p.server.mux.Stats().Retries; got != 2 {
		t.Errorf("%d Retry packets sent, want 2", got)
	}
	if !p.server.conn.paths.active().validated {
		t.Error("address counts as not validated")
	}
}

// end is one end of a transfer: what it still has to write, and what it has read.
type end struct {
	n         *node
	s         *Stream
	out, in   []byte
	fin, done bool
}

// transfer moves size bytes both ways on one stream.
func (p *pair) transfer(size int) {
	p.t.Helper()
	data := make([]byte, size)
	r := mrand.New(mrand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	cs := p.client.conn.OpenStream(p.now, false)
	if cs == nil {
		p.t.Fatal("no stream")
	}
	ends := []*end{{n: p.client, s: cs, out: data}, {n: p.server, out: data}}
	buf := make([]byte, 32<<10)
	act := func() bool {
		all := true
		for _, e := range ends {
			if e.s == nil {
				e.s = e.n.opened(cs.ID())
			}
			if e.s == nil {
				all = false
				continue
			}
			p.write(e)
			p.read(e, buf)
			p.flush(e.n)
			all = all && e.done && e.fin
		}
		return all
	}
	if !p.runUntil(time.Minute, act) {
		for _, e := range ends {
			p.t.Logf("%s: got %d of %d, left to write %d, closed %+v\n%+v", e.n.name, len(e.in), size, len(e.out), e.n.closed(), e.n.conn.Stats())
		}
		p.t.Fatal("transfer did not end")
	}
	for _, e := range ends {
		if !bytes.Equal(e.in, data) {
			p.t.Fatalf("%s: bytes differ", e.n.name)
		}
	}
}

// opened returns the stream of the peer's with that number, nil if there is none yet.
func (n *node) opened(id int64) *Stream {
	for _, e := range n.events {
		if e.Kind == EventStream && e.Stream.ID() == id {
			return e.Stream
		}
	}
	return nil
}

// write writes as much as an end may, and its FIN.
func (p *pair) write(e *end) {
	p.t.Helper()
	for len(e.out) > 0 {
		n, err := e.n.conn.Write(e.s, e.out)
		if err != nil {
			p.t.Fatalf("%s: write: %v", e.n.name, err)
		}
		e.out = e.out[n:]
		p.flush(e.n)
		if n == 0 {
			break
		}
	}
	if len(e.out) == 0 && !e.fin {
		e.fin = true
		if err := e.n.conn.CloseWrite(e.s); err != nil {
			p.t.Fatal(err)
		}
	}
}

// read reads what an end has got.
func (p *pair) read(e *end, buf []byte) {
	p.t.Helper()
	for !e.done {
		n, err := e.n.conn.Read(p.now, e.s, buf)
		e.in = append(e.in, buf[:n]...)
		if err == io.EOF {
			e.done = true
		} else if err != nil {
			p.t.Fatalf("%s: read: %v", e.n.name, err)
		}
		if n == 0 {
			break
		}
	}
}

func TestTransfer(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	p.transfer(3 << 20)
	p.runUntil(5*time.Second, func() bool { return p.client.conn.Streams()+p.server.conn.Streams() == 0 })
	if n := p.client.conn.Streams() + p.server.conn.Streams(); n != 0 {
		t.Errorf("%d streams left", n)
	}
	if n := p.client.pool.Outstanding() + p.server.pool.Outstanding(); n != 0 {
		t.Errorf("%d chunks left", n)
	}
	if mtu := p.client.conn.Stats().MTU; mtu != 1452 {
		t.Errorf("MTU %d, want 1452", mtu)
	}
}

func TestTransferLossy(t *testing.T) {
	for seed := uint64(0); seed < 30; seed++ {
		p := newPair(t, nil)
		r := mrand.New(mrand.NewPCG(seed, 7))
		p.drop = func(*node, []byte) bool { return r.IntN(100) < 5 }
		p.handshake()
		p.transfer(300 << 10)
	}
}

func TestClose(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	p.client.conn.Close(p.now, true, 7, "bye")
	p.flush(p.client)
	p.runUntil(time.Minute, func() bool { return p.client.saw(EventGone) && p.server.saw(EventGone) })
	if r := p.server.closed(); r == nil || r.Kind != ClosePeer || !r.App || r.Code != 7 || r.Reason != "bye" {
		t.Errorf("server saw %+v", r)
	}
	if n := p.client.mux.Conns() + p.server.mux.Conns(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}
