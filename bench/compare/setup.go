package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	serverName = "localhost"
	alpn       = "cinnabar-bench"

	// datagramSize is what QUIC implementations are told to send, where they can be told.
	datagramSize = 1452
	// socketBuffer is what every socket asks of the kernel, in each direction.
	socketBuffer = 7 << 20
)

// newCertificate returns a self-signed certificate and its key, both DER.
func newCertificate() (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: serverName},
		DNSNames:     []string{serverName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, k.Public(), k); err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalPKCS8PrivateKey(k)
	return cert, key, err
}

func curveByName(name string) (tls.CurveID, error) {
	switch name {
	case "X25519MLKEM768":
		return tls.X25519MLKEM768, nil
	case "X25519":
		return tls.X25519, nil
	case "P-256":
		return tls.CurveP256, nil
	}
	return 0, fmt.Errorf("unknown curve %q", name)
}

// tlsConfigs returns the two configurations that every implementation works with.
// The suite needs no setting: crypto/tls prefers TLS_AES_128_GCM_SHA256 on
// hardware with AES, and sawTLS refuses a run where it was not chosen.
func tlsConfigs(s spec) (server, client *tls.Config, _ *ticketCounter, _ error) {
	leaf, err := x509.ParseCertificate(s.Cert)
	if err != nil {
		return nil, nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, nil, nil, err
	}
	curve, err := curveByName(s.Curve)
	if err != nil {
		return nil, nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	tickets := &ticketCounter{}
	server = &tls.Config{
		Certificates:     []tls.Certificate{{Certificate: [][]byte{s.Cert}, PrivateKey: key, Leaf: leaf}},
		MinVersion:       tls.VersionTLS13,
		NextProtos:       []string{alpn},
		CurvePreferences: []tls.CurveID{curve},
	}
	client = &tls.Config{
		RootCAs:            roots,
		ServerName:         serverName,
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{alpn},
		CurvePreferences:   []tls.CurveID{curve},
		ClientSessionCache: tickets,
	}
	return server, client, tickets, nil
}

// ticketCounter is a session cache that forgets: without a cache, clients do
// not ask for tickets and servers issue none; with one that remembers, they resume.
type ticketCounter struct{ n atomic.Int64 }

// Get finds nothing.
func (c *ticketCounter) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put counts.
func (c *ticketCounter) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.n.Add(1)
	}
}

// listenUDP opens a UDP socket on a free port of the loopback address with the
// buffers that all implementations get.
func listenUDP(b *bench) (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) { setBuffers(int(fd)) }); err != nil {
		return nil, err
	}
	noteBuffers(b, c)
	return c, nil
}

// setBuffers asks for the buffers, beyond the system's limit if the process may.
func setBuffers(fd int) {
	for _, opt := range []struct{ plain, force int }{{unix.SO_RCVBUF, rcvBufForce}, {unix.SO_SNDBUF, sndBufForce}} {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt.plain, socketBuffer)
		if got, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt.plain); got < socketBuffer && opt.force != 0 {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt.force, socketBuffer)
		}
	}
}

// noteBuffers tells what the kernel says a socket has. Linux says twice what it granted.
func noteBuffers(b *bench, c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		r, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		s, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		b.note("the kernel reports socket buffers of %d KiB to receive, %d KiB to send", r>>10, s>>10)
	})
}

// versions lists the modules that are compared, as the binary has them.
func versions() []string {
	var list []string
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, m := range info.Deps {
		for _, want := range []string{"quic-go/quic-go", "golang.org/x/net", "cinnabar-quic/cinnabar"} {
			if strings.HasSuffix(m.Path, want) {
				v := m.Version
				if m.Replace != nil {
					v = "this tree"
				}
				list = append(list, m.Path+" "+v)
			}
		}
	}
	return list
}

// kernel returns ", Linux 6.1" or the like.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return ", " + unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
