package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// demoALPN is the demo's protocol: on a bidirectional stream the client sends the
// size, 8 bytes, and a body, and the server sends the same back as it comes.
const demoALPN = "cinnabar-demo/1"

// demoSize is how much is generated if no other size is given.
const demoSize = 256 << 20

type demoCommand struct {
	File string    `arg:"" optional:"" help:"File to send. Without one, data is generated."`
	Size *byteSize `placeholder:"SIZE" help:"How much data to generate (256 MiB)."`
	JSON bool      `name:"json" help:"Print what was measured as JSON."`

	dialVersions `embed:""`
}

// Help is shown below the flags.
func (*demoCommand) Help() string {
	return `Server and client talk over UDP on the loopback interface, with TLS 1.3 and a certificate made for the
occasion. The server says hello on a stream of its own; the client sends the data on another and gets it back. Both ends
check its SHA-256. The exit status is 0 only if every byte came back.

Examples:

    cinnabar demo
    cinnabar demo --size 1G
    cinnabar demo video.mkv`
}

// Run runs both ends.
func (c *demoCommand) Run(a *app) error {
	if err := c.dialVersions.check(); err != nil {
		return err
	}
	data, size, err := c.data()
	if err != nil {
		return err
	}
	defer data.Close()
	d := &demo{app: a, quiet: c.JSON, data: data, size: size, versions: &c.dialVersions}
	r, err := d.run()
	switch {
	case a.ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return err
	case c.JSON:
		return r.writeJSON(a.stdout)
	}
	return r.writeTable(a.stdout)
}

// data opens what is to be sent.
func (c *demoCommand) data() (io.ReadCloser, int64, error) {
	if c.File == "" {
		size := byteSize(demoSize)
		if c.Size != nil {
			size = *c.Size
		}
		return io.NopCloser(generated()), int64(size), nil
	}
	if c.Size != nil {
		return nil, 0, usagef("--size is for generated data; leave it out, or leave out %s", c.File)
	}
	files, err := outgoing([]string{c.File})
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot send %s: %w", c.File, reason(err))
	}
	return f, files[0].head.Size, nil
}

// generated returns data without end in which no part is like another, always the same.
func generated() io.Reader {
	return rand.NewChaCha8([32]byte([]byte("cinnabar: data for demonstration")))
}

// demo is one run of both ends.
type demo struct {
	app   *app
	quiet bool
	data  io.Reader
	size  int64

	versions *dialVersions // of both ends
}

// end is what one end has to tell afterwards.
type end struct {
	stats    quic.SessionStats
	sum      digest    // of what arrived
	begun    time.Time // sending
	complete time.Time // arrival of all, checked
	err      error
}

// say prints what one end has to say.
func (d *demo) say(who, format string, args ...any) {
	if !d.quiet {
		d.app.printf("%-7s %s", who, fmt.Sprintf(format, args...))
	}
}

// run runs both ends to their end.
func (d *demo) run() (*results, error) {
	cert, err := selfSigned("127.0.0.1")
	if err != nil {
		return nil, err
	}
	socket, err := quic.Listen(d.app.ctx, "127.0.0.1:0", quic.ListenOptions{
		ALPN: demoALPN,
		TLS:  &tls.Config{Certificates: []tls.Certificate{cert}},

		Versions: d.versions.QUICVersion.list,
	})
	if err != nil {
		return nil, fmt.Errorf("the server cannot listen: %w", err)
	}
	defer socket.Destroy(nil)
	d.say("server", "listens on %v, with a certificate made a moment ago", socket.Address())

	// Ctrl-C is the client's affair, so that the server hears of it as a server would.
	ctx := context.WithoutCancel(d.app.ctx)
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan end, 1)
	go func() { served <- d.server(ctx, waiting, socket) }()
	var client end
	if s, err := d.dial(socket.Address().String(), cert.Leaf); err != nil {
		client.err = err
		cancel()
	} else {
		if client = d.client(s); client.err != nil {
			cancel() // the server may never have been given the session
		}
	}
	server := <-served
	if err := d.verdict(&client, &server); err != nil {
		return nil, err
	}
	return newResults(d.size, &client, &server), nil
}

// verdict is nil if every byte came back.
func (d *demo) verdict(client, server *end) error {
	switch {
	case d.app.ctx.Err() != nil:
		return errInterrupted
	case client.err != nil:
		return fmt.Errorf("the client failed: %w", client.err)
	case server.err != nil:
		return fmt.Errorf("the server failed: %w", server.err)
	case client.sum != server.sum:
		return fmt.Errorf("SHA-256 %v came to the server, and %v back", server.sum, client.sum)
	}
	d.say("both", "have the same SHA-256, %v", client.sum)
	return nil
}

// server serves one client, for which it waits as long as that context lives.
func (d *demo) server(ctx, waiting context.Context, socket *quic.Socket) (e end) {
	s, err := socket.Accept(waiting)
	if err != nil {
		return end{err: err}
	}
	defer func() {
		e.stats = s.Stats()
		if e.err != nil {
			s.CloseWithError(closeFailed, e.err.Error())
			d.say("server", "ends: %s", sessionEnd(e.err))
		}
	}()
	hello, err := s.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
	if err != nil {
		return end{err: err}
	}
	fmt.Fprintf(hello, "hello, %v", s.RemoteAddress())
	hello.Close()

	st, err := s.AcceptStream(ctx)
	if err != nil {
		return end{err: err}
	}
	return d.echo(st)
}

// echo sends a body back as it comes.
func (d *demo) echo(st *quic.Stream) (e end) {
	size, err := readSize(st)
	if err == nil {
		e.begun = time.Now()
		err = writeSize(st, size)
	}
	if err == nil {
		e.sum, err = readBody(st, st, size, func(int) {})
	}
	if err == nil {
		err = expectEnd(st) // to close before it has come would ask the client to stop
	}
	if err == nil {
		e.complete = time.Now()
		_, err = st.Write(e.sum[:])
	}
	if err != nil {
		return end{err: err}
	}
	st.Close()
	<-st.Closed()
	return e
}

// dial connects the client, which trusts the server's certificate and no other.
func (d *demo) dial(address string, cert *x509.Certificate) (*quic.ClientSession, error) {
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	options := quic.ConnectOptions{ALPN: demoALPN, TLS: &tls.Config{RootCAs: roots}}
	d.versions.choose(&options)
	s, err := quic.Dial(d.app.ctx, address, options)
	if err != nil {
		return nil, err
	}
	state := s.ConnectionState()
	d.say("client", "connected from %v: QUIC version %v, %s, %s, %v", s.Address(), s.Version(),
		tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID)
	return s, nil
}

// client sends the data and gets it back.
func (d *demo) client(s *quic.ClientSession) end {
	interrupt := func() { s.CloseWithError(closeInterrupted, "the client was interrupted") }
	defer context.AfterFunc(d.app.ctx, interrupt)()
	e := d.exchange(s)
	e.stats = s.Stats()
	switch {
	case e.err == nil:
		s.CloseWithError(closeDone, "")
	case d.app.ctx.Err() != nil:
		interrupt() // unless it is done
		d.say("client", "ends: interrupted")
	default:
		s.CloseWithError(closeFailed, e.err.Error())
	}
	return e
}

// exchange is what the client does in a session.
func (d *demo) exchange(s *quic.ClientSession) (e end) {
	hello, err := s.AcceptStream(d.app.ctx)
	if err != nil {
		return end{err: err}
	}
	text, err := io.ReadAll(io.LimitReader(hello, maxText))
	if err != nil {
		return end{err: err}
	}
	d.say("server", "says %q on a stream of its own", printable(string(text)))
	st, err := s.OpenStream(d.app.ctx, quic.StreamOptions{})
	if err != nil {
		return end{err: err}
	}
	d.say("client", "sends %v and wants them back", byteSize(d.size))
	e.begun = time.Now()
	sent := make(chan end, 1)
	go func() {
		sum, err := d.send(st)
		sent <- end{sum: sum, err: err}
	}()
	bar := newProgress(d.app.stderr, "there and back", d.size)
	e.sum, e.err = d.takeBack(st, bar)
	bar.end()
	e.complete = time.Now()
	if e.err != nil {
		st.Stop(streamCancelled)
		st.Reset(streamCancelled)
	}
	switch out := <-sent; {
	case out.err != nil:
		e.err = out.err
	case e.err == nil && out.sum != e.sum:
		e.err = errDigest
	}
	st.Close()
	return e
}

// send is the client's writing half.
func (d *demo) send(st *quic.Stream) (sum digest, err error) {
	if err := writeSize(st, d.size); err != nil {
		return sum, err
	}
	sum, err = writeBody(st, d.data, d.size, func(int) {})
	if err != nil {
		st.Reset(streamCancelled)
		st.Stop(streamCancelled)
		return sum, err
	}
	return sum, st.CloseWrite()
}

// takeBack is the client's reading half.
func (d *demo) takeBack(st *quic.Stream, bar *progress) (sum digest, err error) {
	size, err := readSize(st)
	if err == nil && size != d.size {
		err = fmt.Errorf("the server announces %d bytes", size)
	}
	if err == nil {
		sum, err = readBody(io.Discard, st, size, bar.add)
	}
	if err == nil {
		err = expectEnd(st)
	}
	return sum, err
}

func writeSize(w io.Writer, size int64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(size)))
	return err
}

func readSize(r io.Reader) (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, shortEnd(err)
	}
	size := binary.BigEndian.Uint64(b[:])
	if size > 1<<62 {
		return 0, fmt.Errorf("%d bytes are announced", size)
	}
	return int64(size), nil
}
