package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// How long an end waits.
const (
	idleTimeout = 30 * time.Second // for a sign of life from the other end
	fileTimeout = time.Minute      // for a sender's next file
	byteTimeout = time.Minute      // for its next pace bytes, or the receiver's answer
)

// pace is how many bytes a sender sends in byteTimeout at least.
const pace = 64 << 10

type receiveCommand struct {
	Addr           string `default:":4433" placeholder:"ADDRESS" help:"Address and UDP port to listen on (${default})."`
	Dir            string `default:"." placeholder:"DIR" help:"Directory to store files in (the current one)."`
	Cert           string `and:"identity" placeholder:"FILE" help:"PEM file with a certificate and its chain. Without one, a self-signed certificate is made."`
	Key            string `and:"identity" placeholder:"FILE" help:"PEM file with the certificate's private key."`
	listenVersions `embed:""`
	Overwrite      bool     `help:"Let a file replace one of the same name."`
	MaxSize        byteSize `default:"64G" placeholder:"SIZE" help:"Refuse larger files (64 GiB)."`
}

// Help is shown below the flags.
func (*receiveCommand) Help() string {
	return `Whoever can reach the address may send; files are checked by SHA-256 and appear under their name when they
are complete. A file that exists is not replaced. Ctrl-C stops it.

Examples:

    cinnabar receive --dir incoming
    cinnabar receive --addr 192.0.2.7:4433 --cert cert.pem --key key.pem`
}

// Run serves senders until Ctrl-C.
func (c *receiveCommand) Run(a *app) error {
	if c.MaxSize == 0 {
		return usagef("--max-size 0 takes nothing; write 1G, or leave it out")
	}
	store, err := openStore(c.Dir, c.Overwrite, int64(c.MaxSize))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot store files in %s: there is no such directory; create it, or name another with --dir", c.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot store files in %s: %w", c.Dir, reason(err))
	}
	defer store.close()
	cert, err := identity(c.Cert, c.Key)
	if err != nil {
		return err
	}
	socket, err := listen(a.ctx, c.Addr, cert, c.QUICVersion.list)
	if err != nil {
		return err
	}
	c.announce(a, socket, cert)
	r := newReceiver(a, store)
	return r.result(r.serve(socket))
}

// announce says where the receiver is and how to reach it.
func (c *receiveCommand) announce(a *app, socket *quic.Socket, cert tls.Certificate) {
	address := socket.Address()
	a.notef("storing files in %s; listening on %s; press Ctrl-C to stop", c.Dir, address)
	if c.Cert == "" {
		a.notef("self-signed certificate; send with")
		a.notef("  cinnabar send HOST:%d --pin %v FILE...", address.Port(), fingerprintOf(cert.Leaf))
	}
}

// receiver stores what senders send.
type receiver struct {
	app   *app
	store *store

	fileTimeout, byteTimeout time.Duration

	places  places
	serving sync.WaitGroup

	mu    sync.Mutex
	stats receiverStats
}

// receiverStats is what becomes of files and senders.
type receiverStats struct {
	stored     int
	refused    int // files that were not wanted: name, size, or something of this name is there
	cut        int // files that Ctrl-C has cut off
	turnedAway int // senders for whom there was no place
}

// String says what there was, and is silent about what there was not.
func (s *receiverStats) String() string {
	text := plural(s.stored, "file") + " stored"
	if s.refused > 0 {
		text += ", " + plural(s.refused, "file") + " refused"
	}
	if s.turnedAway > 0 {
		text += ", " + plural(s.turnedAway, "sender") + " turned away"
	}
	return text
}

func newReceiver(a *app, s *store) *receiver {
	return &receiver{
		app: a, store: s,
		fileTimeout: fileTimeout, byteTimeout: byteTimeout,
	}
}

// serve takes sessions until the context of the command ends, and ends them then.
func (r *receiver) serve(socket *quic.Socket) error {
	defer socket.Destroy(nil)
	defer r.serving.Wait()
	for {
		s, err := socket.Accept(r.app.ctx)
		if err != nil {
			return err
		}
		host := s.RemoteAddress().Addr()
		if !r.places.take(host) {
			r.turnedAway()
			s.CloseWithError(closeBusy, "the receiver has enough senders; try again later")
			continue
		}
		r.serving.Go(func() {
			defer r.places.release(host)
			r.session(s)
		})
	}
}

// result is the error of the whole command, from what serve has ended with. To stop
// a receiver that has nothing under way is how it normally ends.
func (r *receiver) result(err error) error {
	if r.app.ctx.Err() == nil {
		return fmt.Errorf("cannot receive any more: %w", err)
	}
	r.app.notef("stopped; %v", &r.stats)
	if n := r.stats.cut; n > 0 {
		return fmt.Errorf("%s cut off: %w", plural(n, "file"), errInterrupted)
	}
	return nil
}

func (r *receiver) turnedAway() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.turnedAway++
}

// session receives the files of one sender.
func (r *receiver) session(s *quic.ServerSession) {
	defer context.AfterFunc(r.app.ctx, func() {
		s.CloseWithError(closeInterrupted, "the receiver was stopped")
	})()
	from := s.RemoteAddress()
	r.app.notef("%v connected", from)
	var err error
	for err == nil {
		err = r.next(s)
	}
	if why := sessionEnd(err); why != "" {
		r.app.notef("%v: %s", from, why)
	} else {
		r.app.notef("%v is done", from)
	}
}

// next receives one file. An error is the end of the session.
func (r *receiver) next(s *quic.ServerSession) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.fileTimeout)
	defer cancel()
	st, err := s.AcceptStream(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.CloseWithError(closeIdle, fmt.Sprintf("nothing was sent for %v", r.fileTimeout))
		return s.Err()
	}
	if err != nil {
		return err
	}
	h, sum, err := r.file(st)
	r.report(s, h, sum, err)
	return nil
}

// file receives one file and answers.
func (r *receiver) file(st *quic.Stream) (h head, sum digest, err error) {
	in := &patientReader{stream: st, patience: r.byteTimeout}
	if err := readMessage(in, &h); err != nil {
		return h, sum, r.answer(st, err)
	}
	f, err := r.store.begin(h)
	if err != nil {
		return h, sum, r.answer(st, err)
	}
	sum, err = readBody(f, in, h.Size, func(int) {})
	if err == nil {
		err = expectEnd(in)
	}
	if err != nil {
		f.discard()
		return h, sum, r.answer(st, err)
	}
	return h, sum, r.answer(st, f.commit())
}

// answer tells the sender what has become of its file, and returns that.
func (r *receiver) answer(st *quic.Stream, err error) error {
	var refused *refusal
	var source *sourceError
	switch {
	case err == nil:
		if err := writeMessage(st, answer{Status: statusStored}); err != nil {
			return fmt.Errorf("stored, but the sender may not know: %w", err)
		}
		st.Close()
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		refused = refuse(statusFailed, "less than %v came in %v", byteSize(pace), r.byteTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		refused = refuse(statusFailed, "the stream ended before the file did")
	case errors.As(err, &source): // the sender has gone, or gives up
		st.Reset(streamCancelled)
		st.Stop(streamCancelled)
		return err
	case errors.Is(err, errDigest):
		refused = refuse(statusDamaged, "%v; send the file again", err)
	case !errors.As(err, &refused):
		refused = diskRefusal(err)
	}
	writeMessage(st, refused.answer) // if the sender does not hear it, it has other problems
	st.CloseWrite()
	st.Stop(streamRefused)
	return refused
}

// report tells the user of one file.
func (r *receiver) report(s *quic.ServerSession, h head, sum digest, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, from := printable(h.Name), s.RemoteAddr()
	var refused *refusal
	switch {
	case err == nil:
		r.stats.stored++
		r.app.printf("%s  %v  sha256 %v  from %v", name, byteSize(h.Size), sum, from)
	case errors.As(err, &refused):
		r.stats.refused++
		r.app.notef("%q from %v refused: %v", name, from, err)
	default:
		if r.app.ctx.Err() != nil {
			r.stats.cut++
		}
		r.app.notef("%q from %v cut off: %v", name, from, streamEnd(err))
	}
}

// patientReader gives up on a sender that sends less than a piece of pace bytes in a time: who sends a byte now and then would
// keep its place from others. What passes between two reads is the receiver's time, and not the sender's.
type patientReader struct {
	stream interface {
		io.Reader
		SetReadDeadline(t time.Time) error
	}
	patience time.Duration
	left     int           // of the piece that the time is for
	budget   time.Duration // of that time
}

func (r *patientReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		r.left, r.budget = pace, r.patience
	}
	begin := time.Now()
	r.stream.SetReadDeadline(begin.Add(r.budget))
	n, err := r.stream.Read(p)
	r.left -= n
	r.budget -= time.Since(begin)
	return n, err
}

// expectEnd makes sure that nothing follows a body.
func expectEnd(in io.Reader) error {
	switch n, err := in.Read(make([]byte, 1)); {
	case n > 0:
		return refuse(statusFailed, "there is more data than was announced")
	case err != io.EOF:
		return &sourceError{err}
	}
	return nil
}

// listen opens a server socket for some versions of QUIC, nil for all.
func listen(ctx context.Context, address string, cert tls.Certificate, versions []quic.Version) (*quic.Socket, error) {
	if _, port, err := net.SplitHostPort(address); err != nil || !validPort(port, 0) {
		return nil, usagef("--addr %q is no address with a port from 0 to 65535; write :4433 or 192.0.2.7:4433", address)
	}
	socket, err := quic.Listen(ctx, address, quic.ListenOptions{
		ALPN:           filesALPN,
		TLS:            &tls.Config{Certificates: []tls.Certificate{cert}},
		IdleTimeout:    idleTimeout,
		Versions:       versions,
		MaxStreamsBidi: 4,
		MaxStreamsUni:  quic.None,

		DisableEarlyData: true, // could be replayed
	})
	if err != nil {
		return nil, cannotListen(address, "--addr", err)
	}
	return socket, nil
}

// cannotListen says why nobody can listen on an address, and the flag that names another.
func cannotListen(address, flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("cannot listen on %s: the port is in use; choose another with %s", address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine has no such address; choose another with %s", address, flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot listen on %s: permission denied; choose a port from 1024 on with %s", address, flag)
	}
	return fmt.Errorf("cannot listen on %s: %w", address, reason(err))
}

// reason returns what is wrong without the call and the path that it is wrong with.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
