package cases

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/quic"
)

var (
	client4   = netip.MustParseAddrPort("193.167.0.100:40000")
	server4   = netip.MustParseAddrPort("193.167.100.100:443")
	secondary = netip.MustParseAddrPort("193.167.100.100:444")
	client6   = netip.MustParseAddrPort("[fd00:cafe:cafe:0::100]:40000")
	server6   = netip.MustParseAddrPort("[fd00:cafe:cafe:100::100]:443")
)

// setup is what a case wants. The zero setup is the default network and an endpoint without
// anything special.
type setup struct {
	delay              time.Duration // one way; 0 is 15 ms
	up, down           []sim.Node    // faults at the far end of either direction
	movedUp, movedDown []sim.Node    // and on the way to the preferred address
	ipv6               bool
	moves              bool // the server prefers another port
	chain              *tls.Certificate
	socket             quic.SocketOptions
	listen             quic.ListenOptions
	limit              time.Duration // of virtual time; 0 is 60 s
	seed               uint64
	serve              func(w *world, o *setup) // nil is HTTP/0.9
}

// seedVariable is the environment variable with the seed of the network's faults. Keys and
// connection IDs are new each time, so that it repeats them nearly and not to the byte.
const seedVariable = "CINNABAR_CASES_SEED"

// world is a server that serves files, and a client's socket, with the network between.
type world struct {
	t      *testing.T
	ctx    context.Context
	net    *network
	client *quic.Socket
	server *quic.Socket
	at     netip.AddrPort
	tls    *tls.Config // the client's
	files  sync.Map    // content by path
	stop   func()      // ends the server, if its socket's Destroy does not

	// patience is how long both ends wait for a handshake, and for anything at all. It takes
	// so little luck to lose each of five flights of 30 s where a third of all is lost, that
	// such cases have it as long as they may take.
	patience time.Duration

	keysMu sync.Mutex
	keys   bytes.Buffer
}

// log is the KeyLog hook of clients.
func (w *world) log(line []byte) error {
	w.keysMu.Lock()
	defer w.keysMu.Unlock()
	w.keys.Write(line)
	return nil
}

// play lets a client do what a case has it do, and returns what was on the wire. Whatever the
// case, nobody may get more than three times what came from an address without validation.
func play(t *testing.T, o setup, client func(w *world) error, checks ...trace.Check) {
	t.Helper()
	o.seed = mrand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		if _, err := fmt.Sscan(text, &o.seed); err != nil {
			t.Fatalf("%s=%s: %v", seedVariable, text, err)
		}
	}
	t.Logf("the network's faults: %s=%d", seedVariable, o.seed)
	var run *trace.Run
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &o)
		limit := o.limit
		if limit == 0 {
			limit = time.Minute
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		w.ctx = ctx
		err := client(w)
		took := time.Since(w.net.start)
		synctest.Wait()
		w.client.Destroy(nil)
		if w.server.Destroy(nil); w.stop != nil {
			w.stop()
		}
		synctest.Wait()
		w.keysMu.Lock()
		defer w.keysMu.Unlock()
		run = w.net.run(w.keys.Bytes())
		if err != nil {
			t.Errorf("after %v: %v", took, err)
		}
		t.Logf("%v of virtual time, %d datagrams at the client, %d at the server, amplification %.3f; %v",
			took, len(w.net.client), len(w.net.server), run.Amplification(), w.net.sim)
	})
	for _, check := range append(checks, trace.Bounded, trace.Opened) {
		if err := check(run); err != nil {
			t.Error(err)
		}
	}
}

func newWorld(t *testing.T, o *setup) *world {
	w := &world{t: t, net: newNetwork(t, o.seed), at: server4, patience: 30 * time.Second}
	if o.limit > 0 {
		w.patience = o.limit
	}
	from := client4
	if o.ipv6 {
		from, w.at = client6, server6
	}
	w.net.servers = []netip.AddrPort{w.at}
	way := func(faults []sim.Node) []sim.Node {
		nodes := sim.Interop(faults...)
		if o.delay != 0 {
			nodes[1] = sim.Delay(o.delay, 0)
		}
		return nodes
	}
	w.net.sim.Link(from, w.at, way(o.up), way(o.down))
	o.socket.Endpoint = w.net.endpoint(t, w.at)
	var err error
	if w.server, err = quic.NewSocket(o.socket); err != nil {
		t.Fatal(err)
	}
	if o.moves {
		w.net.servers = append(w.net.servers, secondary)
		w.net.sim.Link(from, secondary, way(o.movedUp), way(o.movedDown))
		if _, err := w.server.AddEndpoint(w.net.endpoint(t, secondary)); err != nil {
			t.Fatal(err)
		}
		o.listen.PreferredAddress = []quic.PreferredAddress{{Address: secondary.Addr().String(), Port: int(secondary.Port())}}
	}
	if w.client, err = quic.NewSocket(quic.SocketOptions{Endpoint: w.net.endpoint(t, from)}); err != nil {
		t.Fatal(err)
	}
	w.listen(o)
	return w
}

// listen starts the server.
func (w *world) listen(o *setup) {
	id := ordinary()
	cert := id.cert
	if o.chain != nil {
		cert = *o.chain
	}
	o.listen.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{hq.ALPN}}
	o.listen.HandshakeTimeout, o.listen.IdleTimeout = w.patience, w.patience
	w.tls = &tls.Config{RootCAs: id.roots, NextProtos: []string{hq.ALPN}}
	if o.serve != nil {
		o.serve(w, o)
		return
	}
	if err := w.server.Listen(w.t.Context(), o.listen); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for {
			s, err := w.server.Accept(context.Background())
			if err != nil {
				return
			}
			go hq.Serve(context.Background(), &s.Session, w.open)
		}
	}()
}

func (w *world) open(path string) (io.ReadCloser, error) {
	b, ok := w.files.Load(path)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b.([]byte))), nil
}

// put makes files of the given sizes with random content, and returns their paths.
func (w *world) put(sizes ...int) []string {
	var paths []string
	for range sizes {
		paths = append(paths, w.name(12))
	}
	for i, size := range sizes {
		b := make([]byte, size)
		rand.Read(b)
		w.files.Store(paths[i], b)
	}
	return paths
}

// name returns a random path with a name of n characters.
func (w *world) name(n int) string {
	var b strings.Builder
	b.WriteByte('/')
	for range n {
		b.WriteByte(byte('a' + mrand.IntN(26)))
	}
	return b.String()
}

// many returns n times a size.
func many(n, size int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = size
	}
	return list
}

// dial starts a session. It returns before the handshake is complete.
func (w *world) dial(o quic.ConnectOptions) (*quic.ClientSession, error) {
	o.Address, o.Port, o.ServerName = w.at.Addr().String(), int(w.at.Port()), "server"
	if w.at.Addr().Is6() {
		o.Type = quic.UDP6
	}
	if o.TLS == nil && o.SecureContext == nil {
		o.TLS = w.tls
	}
	o.HandshakeTimeout, o.IdleTimeout = w.patience, w.patience
	o.Hooks.KeyLog = w.log
	// Small at first, so that they have to grow.
	o.MaxData, o.MaxStreamDataBidiLocal = 96<<10, 32<<10
	return w.client.Connect(w.ctx, o)
}

// fetch asks for all paths at once and compares what comes.
func (w *world) fetch(s *quic.ClientSession, paths ...string) error {
	errs := make(chan error)
	for _, path := range paths {
		go func() {
			sum := sha256.New()
			n, err := hq.Get(w.ctx, &s.Session, path, sum)
			if err == nil {
				err = w.compare(path, n, sum.Sum(nil))
			}
			errs <- err
		}()
	}
	var first error
	for range paths {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (w *world) compare(path string, n int64, sum []byte) error {
	b, _ := w.files.Load(path)
	if want := sha256.Sum256(b.([]byte)); int(n) != len(b.([]byte)) || !bytes.Equal(sum, want[:]) {
		return fmt.Errorf("%s: %d bytes came, want %d, or they differ", path, n, len(b.([]byte)))
	}
	return nil
}

// transfer fetches files over one session.
func transfer(sizes ...int) func(w *world) error {
	return func(w *world) error { return w.once(quic.ConnectOptions{}, w.put(sizes...)...) }
}

// multiconnect fetches each file over a session of its own.
func multiconnect(n, size int) func(w *world) error {
	return func(w *world) error {
		for i, path := range w.put(many(n, size)...) {
			if err := w.once(quic.ConnectOptions{}, path); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
		}
		return nil
	}
}

// once fetches files over a session of its own.
func (w *world) once(o quic.ConnectOptions, paths ...string) error {
	s, err := w.dial(o)
	if err != nil {
		return err
	}
	if err := w.fetch(s, paths...); err != nil {
		return err
	}
	return s.Shutdown(w.ctx)
}

// identity is a server's certificate and who trusts it.
type identity struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var root = sync.OnceValue(func() authority { return authority{}.issue("root", nil) })

// ordinary returns the certificate of most cases.
var ordinary = sync.OnceValue(func() *identity { return newIdentity(0, nil) })

// newIdentity returns a leaf under so many intermediate authorities, with further names.
func newIdentity(between int, names []string) *identity {
	id := &identity{roots: x509.NewCertPool()}
	id.roots.AddCert(root().cert)
	var chain [][]byte
	issuer := root()
	for i := range between {
		issuer = issuer.issue(fmt.Sprintf("intermediate %d", i), nil)
		chain = append([][]byte{issuer.cert.Raw}, chain...)
	}
	leaf := issuer.issue("", append([]string{"server", "server4", "server6", "server46"}, names...))
	id.cert = tls.Certificate{Certificate: append([][]byte{leaf.cert.Raw}, chain...), PrivateKey: leaf.key, Leaf: leaf.cert}
	return id
}

// issue signs an authority with a common name, or a leaf with DNS names. Without an issuer it
// signs itself.
func (a authority) issue(name string, dns []string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(mrand.Int64()), Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: dns == nil,
	}
	if template.IsCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return authority{cert, key}
}
