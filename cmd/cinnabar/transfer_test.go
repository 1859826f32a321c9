package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// receiving is a receive command that is ready for senders.
type receiving struct {
	*command
	dir     string
	address string
	pin     string
}

func startReceive(t *testing.T, args ...string) *receiving {
	t.Helper()
	r := &receiving{dir: t.TempDir()}
	r.command = start(t, append([]string{"receive", "--addr", "127.0.0.1:0", "--dir", r.dir}, args...)...)
	notes := r.waitFor(r.stderr, "Ctrl-C to stop\n")
	r.address = regexp.MustCompile(`listening on (\S+);`).FindStringSubmatch(notes)[1]
	if len(args) == 0 || args[0] != "--cert" {
		notes = r.waitFor(r.stderr, "FILE...\n")
		r.pin = regexp.MustCompile(`--pin (\S+) `).FindStringSubmatch(notes)[1]
	}
	return r
}

// send runs a send command that trusts the receiver.
func (r *receiving) send(files ...string) *command {
	r.t.Helper()
	return start(r.t, append([]string{"send", "--pin", r.pin, r.address}, files...)...)
}

// writeFile makes a file of generated data.
func writeFile(t *testing.T, name string, size int, mode os.FileMode) (path, data string) {
	t.Helper()
	b := make([]byte, size)
	io.ReadFull(generated(), b)
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
	return path, string(b)
}

func TestSendReceive(t *testing.T) {
	r := startReceive(t)
	big, bigData := writeFile(t, "big.bin", 3<<20+17, 0o644)
	empty, _ := writeFile(t, "empty", 0, 0o644)
	script, scriptData := writeFile(t, "größe.sh", 100, 0o755)
	r.send(big, empty, script).want(0, "big.bin  3 MiB in", "empty  0 B", "größe.sh  100 B")
	r.send(r.copyOf(script, "again.sh")).want(0, "again.sh")
	r.interrupt()
	r.want(0, "connected", "is done", "4 files stored", "big.bin  3 MiB  sha256")
	wantFiles(t, r.dir, map[string]string{"big.bin": bigData, "empty": "", "größe.sh": scriptData, "again.sh": scriptData})
	if info, err := os.Stat(filepath.Join(r.dir, "größe.sh")); runtime.GOOS != "windows" && (err != nil || info.Mode()&0o100 == 0) {
		t.Errorf("mode %v, %v, want it executable", info.Mode(), err)
	}
}

func (r *receiving) copyOf(path, name string) string {
	r.t.Helper()
	data, err := os.ReadFile(path)
	to := filepath.Join(r.t.TempDir(), name)
	if err := errors.Join(err, os.WriteFile(to, data, 0o600)); err != nil {
		r.t.Fatal(err)
	}
	return to
}

func TestSendBadInput(t *testing.T) {
	dir := t.TempDir()
	good, _ := writeFile(t, "good", 1, 0o600)
	twin, _ := writeFile(t, "good", 1, 0o600)
	dotted, _ := writeFile(t, ".hidden", 1, 0o600)
	for _, tc := range []struct {
		files []string
		want  []string
	}{
		{[]string{good, filepath.Join(dir, "none")}, []string{"cannot send", "none: no such file"}},
		{[]string{dir}, []string{"it is a directory", "tar"}},
		{[]string{good, twin}, []string{"the same name", "one at a time"}},
		{[]string{dotted}, []string{"begins with a dot", "rename it"}},
	} {
		start(t, append([]string{"send", "127.0.0.1:9"}, tc.files...)...).wantError(exitFailed, tc.want...)
	}
	start(t, "send", "--ca", filepath.Join(dir, "none"), "127.0.0.1:9", good).wantError(exitFailed, "cannot read --ca", "no such file")
	start(t, "send", "--ca", good, "127.0.0.1:9", good).wantError(exitFailed, "no certificate", "PEM")
}

func TestReceiveBadInput(t *testing.T) {
	dir := t.TempDir()
	file, _ := writeFile(t, "file", 1, 0o600)
	start(t, "receive", "--dir", filepath.Join(dir, "none")).wantError(exitFailed, "cannot store files in", "no such directory", "create it")
	start(t, "receive", "--dir", file).wantError(exitFailed, "cannot store files in", "not a directory")
	start(t, "receive", "--cert", file, "--key", file).wantError(exitFailed, "cannot use --cert "+file+" and --key "+file)
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	start(t, "receive", "--dir", dir, "--addr", taken.LocalAddr().String()).wantError(exitFailed, "the port is in use", "--addr")
	start(t, "receive", "--dir", dir, "--addr", "203.0.113.1:4433").wantError(exitFailed, "cannot listen on 203.0.113.1:4433: this machine has no such address", "--addr")
}

// Who is trusted, and what is said if the receiver is not.
func TestTrust(t *testing.T) {
	file, _ := writeFile(t, "a", 10, 0o600)
	r := startReceive(t)
	start(t, "send", r.address, file).wantError(exitFailed, "is for no name", "--pin")
	start(t, "send", "--pin", "sha256:"+strings.Repeat("00", 32), r.address, file).wantError(exitFailed, r.pin, "in between")
	wantFiles(t, r.dir, nil)
	start(t, "send", "--insecure", r.address, file).want(0, "warning", "a  10 B")

	cert, key := writeCertificate(t, "127.0.0.1")
	r = startReceive(t, "--cert", cert, "--key", key)
	start(t, "send", "--ca", cert, r.address, file).want(0, "a  10 B")
	other, _ := writeCertificate(t, "127.0.0.1")
	start(t, "send", "--ca", other, r.address, file).wantError(exitFailed, "cannot be verified")

	cert, key = writeCertificate(t, "files.example.org")
	r = startReceive(t, "--cert", cert, "--key", key)
	start(t, "send", "--ca", cert, r.address, file).wantError(exitFailed, "is for files.example.org; connect to that name", "--pin")
}

// writeCertificate makes the PEM files of a certificate.
func writeCertificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	c, err := selfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// A file that is there already is kept, and the others still arrive.
func TestNameClash(t *testing.T) {
	r := startReceive(t)
	a, _ := writeFile(t, "a", 1<<20, 0o600)
	b, bData := writeFile(t, "b", 10, 0o600)
	if err := os.WriteFile(filepath.Join(r.dir, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.send(a).wantError(exitFailed, "was not stored: there is a file of this name", "--overwrite")
	r.send(a, b).wantError(exitFailed, "1 of 2 files stored")
	wantFiles(t, r.dir, map[string]string{"a": "mine", "b": bData})
	r.interrupt()
	r.want(0, "1 file stored, 2 files refused\n", `"a" from`, "refused: there is a file of this name")

	r = startReceive(t, "--overwrite")
	c, cData := writeFile(t, "c", 1<<20, 0o600)
	if err := os.WriteFile(filepath.Join(r.dir, "c"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.send(c).want(0, "c  1 MiB")
	wantFiles(t, r.dir, map[string]string{"c": cData})
}

func TestMaxSize(t *testing.T) {
	r := startReceive(t, "--max-size", "1K")
	a, _ := writeFile(t, "a", 2000, 0o600)
	r.send(a).wantError(exitFailed, "larger than the receiver takes (1 KiB", "--max-size")
	wantFiles(t, r.dir, nil)
}

var hostileOptions = quic.ConnectOptions{ALPN: filesALPN, TLS: &tls.Config{InsecureSkipVerify: true}}

// hostile is a sender that does as it likes.
func (r *receiving) hostile() *quic.ClientSession {
	r.t.Helper()
	s, err := quic.Dial(r.t.Context(), r.address, hostileOptions)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Destroy(nil) })
	return s
}

func open(t *testing.T, s *quic.ClientSession) *quic.Stream {
	t.Helper()
	st, err := s.OpenStream(t.Context(), quic.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// waitForPart waits until the receiver has begun to store a file.
func (r *receiving) waitForPart() {
	for {
		if entries, err := os.ReadDir(r.dir); err != nil || len(entries) > 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestHostileSender(t *testing.T) {
	announce := func(h head) string {
		var b bytes.Buffer
		writeMessage(&b, h)
		return b.String()
	}
	body := func(data string) string {
		var b bytes.Buffer
		writeBody(&b, strings.NewReader(data), int64(len(data)), func(int) {})
		return b.String()
	}
	r := startReceive(t)
	s := r.hostile()
	for _, tc := range []struct {
		name, wire string
		want       status
	}{
		{"path", announce(head{Name: "../evil", Size: 1}) + body("x"), statusBadName},
		{"absolute path", announce(head{Name: filepath.Join(r.dir, "evil"), Size: 1}) + body("x"), statusBadName},
		{"backslashes", announce(head{Name: `..\evil`, Size: 1}) + body("x"), statusBadName},
		{"escape codes", announce(head{Name: "\x1b[2Jevil", Size: 1}) + body("x"), statusBadName},
		{"hidden", announce(head{Name: ".profile", Size: 1}) + body("x"), statusBadName},
		{"no name", announce(head{Size: 1}) + body("x"), statusBadName},
		{"negative size", announce(head{Name: "evil", Size: -1}), statusTooBig},
		{"huge size", announce(head{Name: "evil", Size: 1 << 62}), statusTooBig},
		{"wrong digest", announce(head{Name: "evil", Size: 1}) + "y" + body("x")[1:], statusDamaged},
		{"more than announced", announce(head{Name: "evil", Size: 1}) + body("x") + "y", statusFailed},
		{"message too long", "\xff\xff" + strings.Repeat("x", 70_000), statusFailed},
		{"not JSON", "\x00\x04evil", statusFailed},
		{"nothing", "", statusFailed},
	} {
		st := open(t, s)
		_, err := io.WriteString(st, tc.wire)
		if err == nil {
			st.CloseWrite()
		}
		var a answer
		if err := readMessage(st, &a); err != nil || a.Status != tc.want || a.Text == "" {
			t.Errorf("%s: answer %+v, %v, want %q", tc.name, a, err, tc.want)
		}
		st.Close()
	}
	wantFiles(t, r.dir, nil)
	if _, err := os.Lstat(filepath.Join(r.dir, "..", "evil")); err == nil {
		t.Error("a file was stored outside of the directory")
	}
	// The session is still good, and nothing is left over.
	good, data := writeFile(t, "good", 100, 0o600)
	r.send(good).want(0)
	wantFiles(t, r.dir, map[string]string{"good": data})
	if text, _ := r.stderr.text(); strings.Contains(text, "\x1b") {
		t.Errorf("escape codes on the terminal: %q", text)
	}
}

// A sender that stops half-way leaves nothing behind.
func TestSenderGivesUp(t *testing.T) {
	r := startReceive(t)
	s := r.hostile()
	for range 2 { // the name is free again
		st := open(t, s)
		writeMessage(st, head{Name: "half", Size: 1 << 20})
		st.Write(make([]byte, 1000))
		r.waitForPart()
		st.Reset(streamCancelled)
		if _, err := st.Read(make([]byte, 1)); err == nil {
			t.Error("an answer came")
		}
	}
	r.waitForTimes(2, r.stderr, `"half" from`)
	wantFiles(t, r.dir, nil)
	r.interrupt()
	r.want(0, "cut off: the sender gave up", "0 files stored")
}

// A receiver does not wait for ever: not for a file, and not for the rest of one.
func TestTimeouts(t *testing.T) {
	address := startReceiver(t, time.Millisecond, time.Hour)
	s, err := quic.Dial(t.Context(), address, hostileOptions)
	if err == nil {
		<-s.Closed()
		err = s.Err()
	}
	if end := sessionEnd(err); !strings.Contains(end, "nothing was sent for 1ms") {
		t.Errorf("the sender heard %q", end)
	}

	address = startReceiver(t, time.Hour, time.Millisecond)
	s, err = quic.Dial(t.Context(), address, hostileOptions)
	if err != nil {
		t.Fatal(err)
	}
	st := open(t, s)
	writeMessage(st, head{Name: "half", Size: 2})
	st.Write([]byte{1})
	var a answer
	if err := readMessage(st, &a); err != nil || !strings.Contains(a.Text, "less than 64 KiB came in 1ms") {
		t.Errorf("the answer is %+v, %v", a, err)
	}
}

// timed is a stream of pieces, each of which comes after a while, unless a deadline has passed before it is there.
type timed struct {
	every    time.Duration
	piece    int
	deadline time.Time
}

func (s *timed) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *timed) Read(p []byte) (int, error) {
	if time.Now().Add(s.every).After(s.deadline) {
		time.Sleep(time.Until(s.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.every)
	return min(s.piece, len(p)), nil
}

// A sender has time for so many bytes, however it cuts them up: a byte now and then wins none. What the receiver does
// with them in the meantime is not the sender's time.
func TestPace(t *testing.T) {
	const patience = time.Minute
	for _, c := range []struct {
		piece, want int // bytes
		every, work time.Duration
	}{
		{1, 30, 2 * time.Second, 0},
		{1, 30, 2 * time.Second, time.Hour},
		{pace / 2, 10 * pace, patience / 2, 0},
		{pace / 2, 10 * pace, patience / 2, time.Hour},
		{pace/2 - 1, pace - 2, patience / 2, time.Second},
		{pace, 10 * pace, patience, patience},
		{pace, 0, patience + 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			in, buf := &patientReader{stream: &timed{every: c.every, piece: c.piece}, patience: patience}, make([]byte, pace)
			n := 0
			var err error
			for n < 10*pace && err == nil {
				var m int
				m, err = in.Read(buf)
				n += m
				time.Sleep(c.work)
			}
			if n != c.want || (n < 10*pace) != errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("pieces of %d bytes every %v, with %v of work: %d bytes come, %v, want %d", c.piece, c.every, c.work, n, err, c.want)
			}
		})
	}
}

// startReceiver starts what is behind a receive command, with timeouts of its own.
func startReceiver(t *testing.T, fileTimeout, byteTimeout time.Duration) (address string) {
	t.Helper()
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listen(t.Context(), "127.0.0.1:0", cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	store, _ := testStore(t, false)
	r := newReceiver(&app{ctx: ctx, stdout: io.Discard, stderr: io.Discard}, store)
	r.fileTimeout, r.byteTimeout = fileTimeout, byteTimeout
	served := make(chan error, 1)
	go func() { served <- r.serve(socket) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	return socket.Address().String()
}

// Beyond so many senders at once, others are asked to come back later.
func TestManySenders(t *testing.T) {
	r := startReceive(t)
	for range maxSendersPerHost {
		r.hostile()
	}
	r.waitForTimes(maxSendersPerHost, r.stderr, "connected")
	file, _ := writeFile(t, "a", 10, 0o600)
	r.send(file).wantError(exitFailed, "a was not stored", "enough senders; try again later")
	wantFiles(t, r.dir, nil)
	r.interrupt()
	r.want(0, "stopped; 0 files stored, 1 sender turned away")
}

// Ctrl-C at the receiver is told to the sender, and what was not complete is removed.
func TestReceiverInterrupted(t *testing.T) {
	r := startReceive(t)
	s := r.hostile()
	st := open(t, s)
	writeMessage(st, head{Name: "half", Size: 1 << 20})
	st.Write(make([]byte, 1000))
	r.waitForPart()
	r.interrupt()
	r.want(exitInterrupted, "1 file cut off")
	<-s.Closed()
	want := &quic.ApplicationError{ErrorCode: closeInterrupted, Reason: "the receiver was stopped", Remote: true}
	if !errors.Is(s.Err(), want) {
		t.Errorf("the sender heard %v, want %v", s.Err(), want)
	}
	wantFiles(t, r.dir, nil)
}

// Ctrl-C at the sender is told to the receiver.
func TestSenderInterrupted(t *testing.T) {
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listen(t.Context(), "127.0.0.1:0", cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Destroy(nil)
	path := filepath.Join(t.TempDir(), "endless")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30)); err != nil {
		t.Fatal(err)
	}
	c := start(t, "send", "--insecure", socket.Address().String(), path)
	s, err := socket.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptStream(t.Context()); err != nil { // and it is never read
		t.Fatal(err)
	}
	c.interrupt()
	c.wantError(exitInterrupted, "interrupted; 0 of 1 file stored")
	<-s.Closed()
	if end := sessionEnd(s.Err()); !strings.Contains(end, "the sender was interrupted") {
		t.Errorf("the receiver heard %q", end)
	}
}

func TestDialError(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{ended, context.Canceled, "interrupted"},
		{t.Context(), &net.DNSError{Name: "nowhere.invalid", Err: "no such host"}, "cannot find nowhere.invalid: no such host; check the name"},
		{t.Context(), &quic.HandshakeTimeoutError{}, "no answer from host:1; check that cinnabar receive runs there"},
		{t.Context(), &quic.TransportError{ErrorCode: noSuchProtocol, Remote: true}, "cinnabar receive does not run there"},
		{t.Context(), fmt.Errorf("strange"), "cannot connect to host:1: strange"},
	} {
		if got := dialError(tc.ctx, "host:1", tc.err).Error(); !strings.Contains(got, tc.want) || strings.Contains(got, "\n") {
			t.Errorf("%v gives %q, want %q", tc.err, got, tc.want)
		}
	}
}

func TestWithPort(t *testing.T) {
	for in, want := range map[string]string{
		"host": "host:4433", "host:1": "host:1", "192.0.2.7": "192.0.2.7:4433",
		"::1": "[::1]:4433", "[::1]": "[::1]:4433", "[::1]:7": "[::1]:7",
	} {
		if got, err := withPort(in); err != nil || got != want {
			t.Errorf("%q gives %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":4433", "host:", "a:b:c", "a[b", "\x1b[2J"} {
		if got, err := withPort(in); err == nil {
			t.Errorf("%q gives %q, want an error", in, got)
		}
	}
}
