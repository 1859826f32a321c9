package quic

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// identity returns a certificate for localhost and 127.0.0.1 and the pool that
// trusts it, the same for all tests.
var identity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

func serverConfig() *tls.Config {
	cert, _ := identity()
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"test"}}
}

func clientConfig() *tls.Config {
	_, pool := identity()
	return &tls.Config{RootCAs: pool, NextProtos: []string{"test"}}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// pair is a client's session and a server's, shaken hands, over real loopback.
type pair struct {
	socket *Socket
	client *ClientSession
	server *ServerSession
}

func newPair(t testing.TB, lo ListenOptions, co ConnectOptions) *pair {
	t.Helper()
	ctx := testContext(t)
	if lo.TLS == nil {
		lo.TLS = serverConfig()
	}
	if co.TLS == nil {
		co.TLS = clientConfig()
	}
	socket, err := Listen(ctx, "127.0.0.1:0", lo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Destroy(nil) })
	client, err := Dial(ctx, socket.Address().String(), co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Destroy(nil) })
	server, err := socket.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{socket, client, server}
}

// streams opens a bidirectional stream and makes it known to the other end.
func (p *pair) streams(t testing.TB) (client, server *Stream) {
	t.Helper()
	ctx := testContext(t)
	c, err := p.client.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	s, err := p.server.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// memConn puts a socket on the in-memory network.
type memConn struct {
	net.PacketConn
	c udp.Conn
}

func (m memConn) UDPConn() udp.Conn { return m.c }
func (m memConn) Close() error      { return m.c.Close() }

// memNet is an in-memory network in a bubble, with a server socket at 10.0.0.1:4433.
type memNet struct {
	t      testing.TB
	net    *udp.Network
	server *Socket
	client *Socket
	port   uint16

	siegeOf
}

var memServer = netip.MustParseAddrPort("10.0.0.1:4433")

func newMemNet(t testing.TB, o udp.NetworkOptions, so SocketOptions, lo ListenOptions) *memNet {
	t.Helper()
	m := &memNet{t: t, net: udp.NewNetwork(o)}
	if lo.TLS == nil && lo.SecureContext == nil {
		lo.TLS = serverConfig()
	}
	so.QLog = so.QLog || siege.Logs && besieged != nil
	m.server = m.socketAt(memServer, so)
	if err := m.server.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	m.client = m.socket(SocketOptions{})
	m.stand()
	return m
}

func (m *memNet) socket(o SocketOptions) *Socket {
	m.port++
	return m.socketAt(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), 1000+m.port), o)
}

func (m *memNet) socketAt(addr netip.AddrPort, o SocketOptions) *Socket {
	m.t.Helper()
	c, err := m.net.Listen(addr)
	if err != nil {
		m.t.Fatal(err)
	}
	o.PacketConn = memConn{c: c}
	s, err := NewSocket(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *memNet) options(o ConnectOptions) ConnectOptions {
	o.QLog = o.QLog || siege.Logs && besieged != nil
	o.Address, o.Port = memServer.Addr().String(), int(memServer.Port())
	if o.TLS == nil && o.SecureContext == nil {
		o.TLS = clientConfig()
	}
	if o.ServerName == "" {
		o.ServerName = "localhost"
	}
	return o
}

func (m *memNet) connect(o ConnectOptions) *ClientSession {
	m.t.Helper()
	c, err := m.client.Connect(m.t.Context(), m.options(o))
	if err != nil {
		m.t.Fatal(err)
	}
	m.look()
	return c
}

// pair connects and shakes hands.
func (m *memNet) pair(o ConnectOptions) *pair {
	m.t.Helper()
	c := m.connect(o)
	if err := c.Handshake(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	s, err := m.server.Accept(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return &pair{m.server, c, s}
}

// close ends everything, so that the bubble can end.
func (m *memNet) close() {
	m.leave()
	m.client.Destroy(nil)
	m.server.Destroy(nil)
}

// sendInitial sends something that looks like the first packet of a client that
// speaks another version.
func sendInitial(t testing.TB, c udp.Conn, version uint32) {
	t.Helper()
	b := dgram.NewBatch(make([]byte, 0, 1200))
	room := b.Next(1200)
	room = append(room, 0xc0, byte(version>>24), byte(version>>16), byte(version>>8), byte(version))
	room = append(room, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	b.Commit(len(room[:1200]))
	b.Path = dgram.Path{Local: c.LocalAddr(), Remote: memServer}
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
}
