package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

type sendCommand struct {
	Host         string   `arg:"" name:"host:port" help:"Where receive runs; without a port, 4433."`
	Files        []string `arg:"" name:"file" help:"Files to send."`
	trust        `embed:""`
	dialVersions `embed:""`
}

// Help is shown below the flags.
func (*sendCommand) Help() string {
	return `The files keep their names and permissions. Which receiver to trust is decided by the system's certificate
authorities, unless one of --ca, --pin and --insecure is given.

Examples:

    cinnabar send files.example.org report.pdf photo.jpg
    cinnabar send 192.0.2.7:4433 --pin sha256:59e1...c07a report.pdf`
}

// Run sends the files in order. A file that is refused does not keep the others
// from being sent.
func (c *sendCommand) Run(a *app) error {
	if err := c.dialVersions.check(); err != nil {
		return err
	}
	files, err := outgoing(c.Files)
	if err != nil {
		return err
	}
	address, err := withPort(c.Host)
	if err != nil {
		return err
	}
	config, err := c.trust.config("--ca", filesALPN)
	if err != nil {
		return err
	}
	if c.Insecure {
		a.notef("warning: --insecure sends to whoever answers at %s", address)
	}
	options := quic.ConnectOptions{
		ALPN:        filesALPN,
		TLS:         config,
		IdleTimeout: idleTimeout,
		KeepAlive:   idleTimeout / 3,
	}
	c.choose(&options)
	s, err := quic.Dial(a.ctx, address, options)
	if err != nil {
		return dialError(a.ctx, address, err)
	}
	interrupt := func() { s.CloseWithError(closeInterrupted, "the sender was interrupted") }
	defer context.AfterFunc(a.ctx, interrupt)()
	err = c.all(a, s, files)
	if a.ctx.Err() != nil {
		interrupt() // unless it is done
	}
	return err
}

// all sends one file after the other and ends the session.
func (c *sendCommand) all(a *app, s *quic.ClientSession, files []outgoingFile) error {
	stored := 0
	var refused error
	for _, f := range files {
		err := f.send(a, s)
		switch {
		case err == nil:
			stored++
		case a.ctx.Err() != nil:
			return fmt.Errorf("%w; %d of %s stored", errInterrupted, stored, plural(len(files), "file"))
		case s.Err() != nil:
			return fmt.Errorf("%s was not stored: %s", f.path, sessionEnd(s.Err()))
		default:
			refused = fmt.Errorf("%s was not stored: %w", f.path, err)
			if len(files) > 1 {
				a.notef("%v", refused)
			}
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, time.Second)
	defer cancel()
	s.Shutdown(ctx) // all is answered: nothing can be lost any more
	if refused != nil && len(files) > 1 {
		return fmt.Errorf("%d of %s stored", stored, plural(len(files), "file"))
	}
	return refused
}

// outgoingFile is a file that can be sent.
type outgoingFile struct {
	path string
	head head
}

// outgoing looks at all files before the first is sent.
func outgoing(paths []string) ([]outgoingFile, error) {
	files := make([]outgoingFile, len(paths))
	seen := make(map[string]string)
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("cannot send %s: %w", path, reason(err))
		}
		name := filepath.Base(path)
		switch {
		case info.IsDir():
			return nil, fmt.Errorf("cannot send %s: it is a directory; name its files, or pack it with tar or zip", path)
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("cannot send %s: it is not a regular file", path)
		case seen[name] != "":
			return nil, fmt.Errorf("%s and %s would have the same name at the receiver; send them one at a time", seen[name], path)
		}
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("cannot send %s: %w; rename it", path, err)
		}
		if file, err := os.Open(path); err != nil {
			return nil, fmt.Errorf("cannot send %s: %w", path, reason(err))
		} else {
			file.Close()
		}
		seen[name] = path
		files[i] = outgoingFile{path, head{Name: name, Size: info.Size(), Mode: uint32(info.Mode().Perm())}}
	}
	return files, nil
}

// send sends one file and waits for the answer. An answer other than "stored" is
// a *refusal.
func (f *outgoingFile) send(a *app, s *quic.ClientSession) error {
	file, err := os.Open(f.path)
	if err != nil {
		return reason(err)
	}
	defer file.Close()
	st, err := s.OpenStream(a.ctx, quic.StreamOptions{})
	if err != nil {
		return err
	}
	defer st.Close()
	begun := time.Now()
	bar := newProgress(a.stderr, f.head.Name, f.head.Size)
	sum, err := f.write(st, file, bar)
	bar.end()
	if _, ok := err.(*sourceError); ok {
		st.Reset(streamCancelled)
		st.Stop(streamCancelled)
		return fmt.Errorf("it changed or became unreadable while it was sent: %w", err)
	}
	// Even if writing failed there may be an answer, and it tells more.
	if err := readAnswer(st, err); err != nil {
		return err
	}
	took := time.Since(begun)
	a.printf("%s  %v in %s (%s)  sha256 %v", f.head.Name, byteSize(f.head.Size), duration(took), bitRate(f.head.Size, took), sum)
	return nil
}

func (f *outgoingFile) write(st *quic.Stream, file *os.File, bar *progress) (digest, error) {
	if err := writeMessage(st, f.head); err != nil {
		return digest{}, err
	}
	sum, err := writeBody(st, file, f.head.Size, bar.add)
	if err != nil {
		return sum, err
	}
	return sum, st.CloseWrite()
}

// readAnswer waits for what has become of a file. If there is no answer, what
// writing failed with, if it did, is the error.
func readAnswer(st *quic.Stream, writeErr error) error {
	st.SetReadDeadline(time.Now().Add(byteTimeout))
	var a answer
	switch err := readMessage(st, &a); {
	case err != nil && writeErr != nil:
		return writeErr
	case err != nil:
		return fmt.Errorf("no answer came: %w", err)
	case a.Status != statusStored:
		return &refusal{answer{a.Status, printable(a.Text)}}
	}
	return nil
}

// validPort reports whether a port is a number in range.
func validPort(port string, least uint64) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n >= least
}

// withPort adds the default port if an address has none.
func withPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"); net.ParseIP(bare) != nil || !strings.Contains(bare, ":") {
		host, port, err = bare, defaultPort, nil
	}
	if err != nil || host == "" || strings.ContainsAny(host, "[]") || !validPort(port, 1) {
		return "", usagef("%q is no address to send to; write host:port with a port from 1 to 65535, such as files.example.org:4433", address)
	}
	return net.JoinHostPort(host, port), nil
}

// dialError says why there is no session, and what can be done about it.
func dialError(ctx context.Context, address string, err error) error {
	var pin *pinError
	var certificate *tls.CertificateVerificationError
	var name x509.HostnameError
	var remote *quic.TransportError
	var timeout net.Error
	var dns *net.DNSError
	var versions *quic.VersionNegotiationError
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.As(err, &dns):
		return fmt.Errorf("cannot find %s: %s; check the name", dns.Name, dns.Err)
	case errors.As(err, &pin):
		return fmt.Errorf("%s has not the key that --pin asks for but %v: the receiver was restarted, or somebody is in between", address, pin.got)
	case errors.As(err, &name) && namesOf(name.Certificate) != "":
		return fmt.Errorf("the certificate of %s is for %s; connect to that name, or use --pin", address, namesOf(name.Certificate))
	case errors.As(err, &name):
		return fmt.Errorf("the certificate of %s is for no name; use --pin with the fingerprint that receive prints", address)
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of %s cannot be verified (%v); use --pin with the fingerprint that receive prints, or --ca", address, certificate.Err)
	case errors.As(err, &remote) && remote.ErrorCode == noSuchProtocol:
		return fmt.Errorf("%s speaks QUIC, but cinnabar receive does not run there", address)
	case errors.As(err, &versions):
		return fmt.Errorf("%s speaks QUIC, but no version that we do: %w", address, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer from %s; check that cinnabar receive runs there and that UDP gets through", address)
	}
	return fmt.Errorf("cannot connect to %s: %w", address, err)
}

// namesOf lists whom a certificate is for.
func namesOf(cert *x509.Certificate) string {
	names := cert.DNSNames
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return printable(strings.Join(names, ", "))
}

// noSuchProtocol is the TLS alert no_application_protocol as QUIC carries it
// (RFC 9001 §4.8, RFC 9001 §8.1).
const noSuchProtocol = 0x100 + 120
