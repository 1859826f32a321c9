// Command endpoint is Cinnabar as the public QUIC interoperability runner wants it: one end of a
// test case, chosen by environment variables. See README.md for the contract.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// The exit codes of the contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUnsupported = 127
)

// errUnsupported is what a case ends with that this program does not know.
var errUnsupported = errors.New("unsupported test case")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

// run does what the environment asks for and returns the exit code.
func run(ctx context.Context, args []string, env func(string) string, log io.Writer) int {
	e := endpoint{
		role:     env("ROLE"),
		testcase: env("TESTCASE"),
		requests: strings.Fields(env("REQUESTS")),
		keyFile:  env("SSLKEYLOGFILE"),
		qlogDir:  env("QLOGDIR"),
		log:      log,
	}
	flags := flag.NewFlagSet("endpoint", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&e.listen, "listen", ":443", "UDP `address` of the server")
	flags.StringVar(&e.www, "www", "/www", "`folder` that the server serves")
	flags.StringVar(&e.downloads, "downloads", "/downloads", "`folder` that the client saves to")
	flags.StringVar(&e.certs, "certs", "/certs", "`folder` with cert.pem and priv.key of the server, and perhaps ca.pem for the client")
	flags.StringVar(&e.second, "second", ":4443", "UDP `address` of the server's second port, where preferred addresses lead")
	flags.StringVar(&e.preferred, "preferred", "193.167.100.100:4443,[fd00:cafe:cafe:100::100]:4443", "`addresses` to prefer, with commas")
	flags.StringVar(&e.serverName, "servername", "", "`name` in the server's certificate, if not the URL's host")
	flags.Var(&e.versions, "versions", "`versions` of QUIC to speak, most preferred first, with commas: v1, v2; the default is the case's")
	flags.Var(&e.first, "first", "`version` that the client begins with")
	flags.BoolVar(&e.always3, "http3", false, "speak HTTP/3 in every case, with peers that know no other protocol")
	if err := flags.Parse(args); err != nil {
		return exitFailed
	}
	err := e.run(ctx)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUnsupported):
		fmt.Fprintf(log, "endpoint: %s %q: %v\n", e.role, e.testcase, err)
		return exitUnsupported
	}
	fmt.Fprintf(log, "endpoint: %s %q: %v\n", e.role, e.testcase, err)
	return exitFailed
}

// endpoint is one end of one case.
type endpoint struct {
	role, testcase   string
	requests         []string // URLs
	keyFile, qlogDir string   // "" is none
	log              io.Writer

	listen, second, preferred string
	www, downloads, certs     string
	serverName                string
	versions, first           versions
	always3                   bool

	keys   *os.File
	keysMu sync.Mutex // held while a line is written to keys
}

func (e *endpoint) run(ctx context.Context) error {
	var play func(context.Context) error
	switch e.role {
	case "client":
		play = clientCases[e.testcase].play(e)
	case "server":
		play = serverCases[e.testcase].play(e)
	default:
		return fmt.Errorf("ROLE is %q, want client or server", e.role)
	}
	if play == nil {
		return errUnsupported
	}
	if e.keyFile != "" {
		f, err := os.OpenFile(e.keyFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		e.keys = f
	}
	return play(ctx)
}

// hooks are those of every session.
func (e *endpoint) hooks() quic.SessionHooks {
	if e.keys == nil {
		return quic.SessionHooks{}
	}
	return quic.SessionHooks{KeyLog: func(line []byte) error {
		e.keysMu.Lock()
		defer e.keysMu.Unlock()
		_, err := e.keys.Write(line)
		return err
	}}
}

// socketOptions are those of every socket.
func (e *endpoint) socketOptions() quic.SocketOptions {
	if e.qlogDir == "" {
		return quic.SocketOptions{}
	}
	return quic.SocketOptions{QLog: true, QLogWriter: func(s *quic.Session) io.Writer {
		f, err := os.Create(filepath.Join(e.qlogDir, fmt.Sprintf("%x_%s.sqlog", s.OriginalConnectionID(), e.role)))
		if err != nil {
			fmt.Fprintf(e.log, "endpoint: no qlog: %v\n", err)
			return nil
		}
		return f
	}}
}
