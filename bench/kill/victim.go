package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// identity is what both ends need to know of the server, in all processes.
type identity struct {
	Address string // where it is, or is to be; port 0 is any
	Cert    []byte
	Key     []byte // PKCS #8
	Secret  []byte // behind tokens, resets and tickets: 32 bytes
}

func newIdentity() (id identity, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return id, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	if id.Cert, err = x509.CreateCertificate(crand.Reader, tmpl, tmpl, key.Public(), key); err != nil {
		return id, err
	}
	id.Address, id.Secret = "127.0.0.1:0", make([]byte, 32)
	_, _ = crand.Read(id.Secret)
	id.Key, err = x509.MarshalPKCS8PrivateKey(key)
	return id, err
}

// listen starts a server that answers; closed is told of the end of every session.
func (id *identity) listen(ctx context.Context, began func(*quic.ServerSession), closed func(*quic.ServerSession)) (*quic.Socket, error) {
	addr, err := netip.ParseAddrPort(id.Address)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(id.Key)
	if err != nil {
		return nil, err
	}
	socket, err := quic.NewSocket(quic.SocketOptions{
		Endpoint:              quic.EndpointOptions{Address: addr.Addr().String(), Port: int(addr.Port())},
		MaxConnectionsPerHost: 1 << 20, MaxStatelessResetsPerHost: 1 << 20,
		StatelessResetSecret: id.Secret[:16], TokenSecret: id.Secret,
	})
	if err != nil {
		return nil, err
	}
	return socket, socket.Listen(ctx, quic.ListenOptions{
		TLS:        &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{id.Cert}, PrivateKey: key}}, NextProtos: []string{alpn}},
		TicketKeys: [][32]byte{[32]byte(id.Secret)}, IdleTimeout: idleTimeout, HandshakeTimeout: handshakeTimeout, KeepAlive: keepAlive,
		Handler: func(v *quic.ServerSession) error {
			began(v)
			v.SetHooks(quic.SessionHooks{Close: func() { closed(v) }})
			v.HandleStreams(answer)
			return nil
		},
	})
}

// answer sends back what comes.
func answer(st *quic.Stream) {
	defer st.Close()
	io.Copy(st, st)
}

// dialer makes sessions with the server.
type dialer struct {
	socket *quic.Socket
	o      quic.ConnectOptions
}

func (id *identity) dialer() (*dialer, error) {
	leaf, err := x509.ParseCertificate(id.Cert)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}})
	return &dialer{socket, quic.ConnectOptions{
		ServerName: serverName, TLS: &tls.Config{RootCAs: roots, NextProtos: []string{alpn}},
		IdleTimeout: idleTimeout, HandshakeTimeout: handshakeTimeout, KeepAlive: keepAlive,
	}}, err
}

// connect begins a session with the server at an address.
func (d *dialer) connect(ctx context.Context, address string) (*quic.ClientSession, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	o := d.o
	o.Address, o.Port = addr.Addr().String(), int(addr.Port())
	return d.socket.Connect(ctx, o)
}

// use does things with a session until it is over: one kind of thing for each.
func use(ctx context.Context, s *quic.ClientSession, r *rand.Rand) {
	if s.Handshake(ctx) != nil {
		return
	}
	kind := r.IntN(5)
	for ctx.Err() == nil && !s.Destroyed() {
		switch kind {
		case 0: // silence
			wait(ctx, time.Second)
		case 1, 2: // much, in both directions
			exchange(ctx, s, 1<<20)
		case 3: // little, often
			exchange(ctx, s, 100)
			wait(ctx, time.Millisecond)
		case 4: // close, with a stream that is not at its end
			go exchange(ctx, s, 4<<20)
			wait(ctx, time.Duration(r.Int64N(int64(200*time.Millisecond))))
			s.Close()
			<-s.Closed()
		}
	}
}

func exchange(ctx context.Context, s *quic.ClientSession, n int) {
	st, err := s.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return
	}
	defer st.Close()
	go st.End(make([]byte, n))
	io.Copy(io.Discard, st)
}

// wait returns when the time is over, or the context.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// victimClient is a process of clients, until it is killed or its standard input ends.
func victimClient(ctx context.Context, o options) error {
	id, ctx, err := orders(ctx)
	if err != nil {
		return err
	}
	d, err := id.dialer()
	if err != nil {
		return err
	}
	defer d.socket.Destroy(nil)
	addr, err := d.socket.Endpoints()[0].Bind(ctx)
	if err != nil {
		return err
	}
	fmt.Println(addr)
	var all sync.WaitGroup
	for i := range o.each {
		all.Go(func() {
			r := rand.New(rand.NewPCG(o.seed, uint64(i)))
			wait(ctx, time.Duration(r.Int64N(int64(longest/2))))
			if s, err := d.connect(ctx, id.Address); err == nil {
				use(ctx, s, r)
			}
		})
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

// victimServer is a process with a server, likewise.
func victimServer(ctx context.Context) error {
	id, ctx, err := orders(ctx)
	if err != nil {
		return err
	}
	none := func(*quic.ServerSession) {}
	socket, err := id.listen(ctx, none, none)
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	fmt.Println(socket.Address())
	<-ctx.Done()
	return nil
}

// orders reads what the process has to know. The context ends with standard input.
func orders(ctx context.Context) (id identity, _ context.Context, err error) {
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&id); err != nil {
		return id, ctx, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return id, ctx, nil
}

// victim is a process that is going to be killed.
type victim struct {
	*exec.Cmd
	stdin   io.WriteCloser
	address string // of its socket
}

func startVictim(ctx context.Context, role string, id identity, o options, seed uint64) (*victim, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	v := &victim{Cmd: exec.CommandContext(ctx, self, "-role", role, "-each", fmt.Sprint(o.each), "-seed", fmt.Sprint(seed))}
	v.Stderr = os.Stderr
	if v.stdin, err = v.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.Start(); err != nil {
		return nil, err
	}
	err = json.NewEncoder(v.stdin).Encode(id)
	if err == nil {
		_, err = fmt.Fscan(bufio.NewReader(out), &v.address)
	}
	if err != nil {
		v.kill()
		return nil, fmt.Errorf("a process with a %s does not start: %w", role, err)
	}
	return v, nil
}

// kill ends the process without a chance to say anything.
func (v *victim) kill() {
	v.Process.Kill()
	v.stdin.Close()
	v.Wait()
}
