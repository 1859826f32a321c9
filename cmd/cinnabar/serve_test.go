package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// serving is a serve command that is ready.
type serving struct {
	*command
	dir string
	url string // with the slash at the end
	pin string
}

// startServe serves a folder with these files.
func startServe(t *testing.T, files map[string]string, args ...string) *serving {
	t.Helper()
	s := &serving{dir: t.TempDir()}
	for name, data := range files {
		path := filepath.Join(s.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(data), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	s.command = start(t, append([]string{"serve", s.dir, "--listen", "127.0.0.1:0"}, args...)...)
	notes := s.waitFor(s.stderr, "Ctrl-C to stop\n")
	s.url = regexp.MustCompile(` at (\S+) \(`).FindStringSubmatch(notes)[1]
	if !strings.Contains(strings.Join(args, " "), "--cert") {
		notes = s.waitFor(s.stderr, "--origin-to-force-quic-on")
		s.pin = regexp.MustCompile(`--pin (\S+) `).FindStringSubmatch(notes)[1]
	}
	return s
}

// get runs a get command that trusts the server. Arguments that begin with ~ are paths there.
func (s *serving) get(args ...string) *command {
	s.t.Helper()
	for i, arg := range args {
		if path, ok := strings.CutPrefix(arg, "~/"); ok {
			args[i] = s.url + path
		}
	}
	return start(s.t, append([]string{"get", "--pin", s.pin}, args...)...)
}

// wantOut checks the status and the whole of standard output.
func (c *command) wantOut(status int, out string) {
	c.t.Helper()
	c.want(status)
	if got, _ := c.stdout.text(); got != out {
		c.t.Errorf("stdout is %q, want %q", got, out)
	}
}

func TestServe(t *testing.T) {
	s := startServe(t, map[string]string{"a.txt": "hello", "dir/b": "x", ".hidden": "x"})
	s.waitFor(s.stderr, "self-signed certificate for 127.0.0.1, localhost, ")
	s.get("~/a.txt").wantOut(0, "hello")
	s.get("~/dir/").want(0, `<a href="./b">b</a>`)
	s.get("-f", "~/.hidden").wantError(22, "404 Not Found")
	s.get("-f", "-T", "main.go", "~/new.go").wantError(22, "405")
	s.waitFor(s.stdout, `"GET /a.txt HTTP/3.0" 200 5 "-" "cinnabar" `)
	s.interrupt()
	s.want(0, "stopped; 4 requests served", `"PUT /new.go HTTP/3.0" 405 `)
}

func TestServeOptions(t *testing.T) {
	cert, key := writeCertificate(t, "127.0.0.1")
	s := startServe(t, map[string]string{".hidden": "x", "mine": "mine"},
		"--hidden", "--upload", "--overwrite", "--max-upload", "1K", "--log", "json", "--cert", cert, "--key", key)
	get := func(args ...string) *command { return start(t, append([]string{"get", "--cacert", cert}, args...)...) }
	get(s.url+".hidden").wantOut(0, "x")
	file, data := writeFile(t, "mine", 1000, 0o600)
	get("-T", file, s.url).want(0)
	big, _ := writeFile(t, "big", 2000, 0o600)
	get("-f", "-T", big, s.url).wantError(22, "413")
	wantFiles(t, s.dir, map[string]string{".hidden": "x", "mine": data})
	s.waitFor(s.stdout, `"method":"GET","target":"/.hidden","protocol":"HTTP/3.0","status":200,"bytes":1,`)
	s.interrupt()
	s.want(0, "stopped; 3 requests served, 1 upload refused\n")

	s = startServe(t, map[string]string{"a": "x"}, "--quiet")
	s.get("~/a").want(0)
	s.interrupt()
	s.wantOut(0, "")
}

func TestServeBadInput(t *testing.T) {
	dir := t.TempDir()
	file, _ := writeFile(t, "file", 1, 0o600)
	start(t, "serve", filepath.Join(dir, "none")).wantError(exitFailed, "cannot serve", "no such folder")
	start(t, "serve", file).wantError(exitFailed, "cannot serve", "not a directory")
	start(t, "serve", dir, "--overwrite").wantError(exitUsage, "add --upload")
	start(t, "serve", dir, "--listen", "8443").wantError(exitUsage, `--listen "8443" is no address`, ":8443")
	start(t, "serve", dir, "--listen", "127.0.0.1:99999").wantError(exitUsage, "0 to 65535")
	start(t, "serve", dir, "--log", "xml").wantError(exitUsage, "combined")
	start(t, "serve", dir, "--cert", file, "--key", file).wantError(exitFailed, "cannot use --cert "+file+" and --key "+file)
	start(t, "serve", dir, "--max-upload", "big").wantError(exitUsage, `"big" is no size`)
	for _, network := range []string{"tcp", "udp"} {
		address := "127.0.0.1:0"
		if network == "tcp" {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			address = l.Addr().String()
		} else {
			c, err := net.ListenPacket("udp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			address = c.LocalAddr().String()
		}
		start(t, "serve", dir, "--listen", address).wantError(exitFailed, "the port is in use", "--listen")
	}
}

// Ctrl-C lets a request finish if there is time, and cuts it off if there is none.
func TestServeInterrupted(t *testing.T) {
	for _, tc := range []struct {
		grace  string
		status int
		text   string
	}{{"1h", 0, "stopped; 1 request served"}, {"1ms", exitInterrupted, "requests were cut off after 1ms: interrupted"}} {
		s := startServe(t, nil, "--upload", "--grace", tc.grace)
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := startReading(t, in, "get", "--pin", s.pin, "-T", "-", s.url+"slow")
		out.WriteString("half")
		waitForEntry(s.dir)
		s.interrupt()
		if tc.status == 0 {
			s.waitFor(s.stderr, "finishing 1 request, for 1h0m0s at most; Ctrl-C again stops at once\n")
			out.WriteString(" and half")
			out.Close()
			c.want(0)
			wantFiles(t, s.dir, map[string]string{"slow": "half and half"})
		}
		s.want(tc.status, tc.text)
		out.Close()
		<-c.ended
		if tc.status != 0 && c.status == 0 {
			t.Error("the client does not know that its upload was cut off")
		}
	}
}

// waitForEntry waits until there is something in a folder.
func waitForEntry(dir string) {
	for {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestNamesOfHost(t *testing.T) {
	has := func(listen string, first string, others ...string) {
		t.Helper()
		names := namesOfHost(listen)
		if names[0] != first {
			t.Errorf("%s: %q, want %s first", listen, names, first)
		}
		all := " " + strings.Join(names, " ") + " "
		for _, o := range others {
			if strings.Count(all, " "+o+" ") != 1 {
				t.Errorf("%s: %q, want %s once", listen, names, o)
			}
		}
	}
	has(":8443", "localhost", "127.0.0.1", "::1")
	has("0.0.0.0:1", "localhost", "127.0.0.1", "::1")
	has("[::1]:1", "::1", "localhost", "127.0.0.1")
	has("files.example.org:1", "files.example.org", "localhost")
}

// pathsThatConfuse are sent as they stand: none leads to what lies beside the folder.
var pathsThatConfuse = []string{
	"/../secret", "/%2e%2e/secret", "/.%2e/secret", "/dir/../../secret", "/dir/%2e%2e%2f%2e%2e%2fsecret", "/..%2fsecret", `/..\secret`, "/..%5csecret",
	"//../secret", "/./../secret", "/dir/..;/../secret", "/..%00/secret", "/secret%00.txt", "/%252e%252e/secret", "/%c0%ae%c0%ae/secret",
	"/..%ef%bc%8fsecret", "//evil.example/..", "//evil.example/../secret", "/\\evil.example/secret", "/..", "/../", "secret", "../secret", "https://evil.example/secret",
	"/out/secret", "/out/", "/link", "/absolute", "/above/secret", "/%zz",
}

// What a command serves over HTTP/3 is the folder, whatever :path, :authority and Host say, and whichever links are in it.
func TestServeConfusion(t *testing.T) {
	above := t.TempDir()
	dir, secret := filepath.Join(above, "www"), filepath.Join(above, "secret")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "dir"), 0o777), os.WriteFile(filepath.Join(dir, "dir", "a"), []byte("inside"), 0o666),
		os.WriteFile(secret, []byte("secret"), 0o666)); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"out": "..", "link": "../secret", "above": above, "absolute": secret} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil && runtime.GOOS != "windows" {
			t.Fatal(err)
		}
	}
	s := startServeIn(t, dir, "--upload", "--overwrite")
	c := s.dial()
	host := strings.TrimSuffix(strings.TrimPrefix(s.url, "https://"), "/")
	for _, path := range pathsThatConfuse {
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			status, place, body, err := ask(c, qpack.Field{Name: ":method", Value: method}, qpack.Field{Name: ":scheme", Value: "https"},
				qpack.Field{Name: ":authority", Value: host}, qpack.Field{Name: ":path", Value: path})
			switch {
			case err != nil && !malformed(err):
				t.Errorf("%s %s: %v", method, path, err)
			case err != nil, method == "PUT":
			case status != "301" && status != "400" && status != "404":
				t.Errorf("%s %s: status %s, %q", method, path, status, body)
			case status == "301" && (!strings.HasPrefix(place, "/") || strings.HasPrefix(place, "//") || strings.Contains(place, "\\")):
				t.Errorf("%s %s: leads to %q", method, path, place)
			}
			if b, err := os.ReadFile(secret); string(b) != "secret" || err != nil || body == "secret" {
				t.Fatalf("%s %s: %q, and the file beside the folder is %q, %v", method, path, body, b, err)
			}
		}
	}
	if list, err := os.ReadDir(above); len(list) != 2 || err != nil {
		t.Errorf("beside the folder there is %v, %v", list, err)
	}
	for _, tc := range []struct {
		authority, host string
		malformed       bool
	}{
		{host, "", false}, {host, host, false}, {"", host, false}, {"evil.example", "", false},
		{host, "evil.example", true}, {"evil.example", host, true}, {"", "", true}, {"user@" + host, "", true}, {host + "/..", "", true},
	} {
		h := []qpack.Field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/dir/a"}}
		if tc.authority != "" {
			h = append(h, qpack.Field{Name: ":authority", Value: tc.authority})
		}
		if tc.host != "" {
			h = append(h, qpack.Field{Name: "host", Value: tc.host})
		}
		_, _, body, err := ask(c, h...)
		if malformed(err) != tc.malformed || !tc.malformed && body != "inside" {
			t.Errorf(":authority %q, host %q: %q, %v", tc.authority, tc.host, body, err)
		}
	}
}

// malformed reports whether the server has turned a request away as none of HTTP/3.
func malformed(err error) bool {
	var cut *quic.StreamError
	return errors.As(err, &cut) && cut.Remote && cut.ErrorCode == uint64(http3.MessageError)
}

// startServeIn serves a folder that is there.
func startServeIn(t *testing.T, dir string, args ...string) *serving {
	t.Helper()
	s := &serving{dir: dir, command: start(t, append([]string{"serve", dir, "--listen", "127.0.0.1:0"}, args...)...)}
	s.url = regexp.MustCompile(` at (\S+) \(`).FindStringSubmatch(s.waitFor(s.stderr, "Ctrl-C to stop\n"))[1]
	return s
}

// dial returns a session on which requests are made byte by byte, by a client that has no QPACK table.
func (s *serving) dial() *quic.ClientSession {
	s.t.Helper()
	o := quic.ConnectOptions{ALPN: http3.ALPN, TLS: &tls.Config{InsecureSkipVerify: true}}
	q, err := quic.Dial(s.t.Context(), strings.TrimSuffix(strings.TrimPrefix(s.url, "https://"), "/"), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { q.Destroy(nil) })
	control, err := q.OpenStream(s.t.Context(), quic.StreamOptions{HalfOpen: true})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := control.Write([]byte{0, 4, 0}); err != nil { // its type, and SETTINGS without any
		s.t.Fatal(err)
	}
	return q
}

// ask sends a request whatever it is, with a body of "evil" if it is PUT, and returns the answer.
func ask(q *quic.ClientSession, fields ...qpack.Field) (status, location, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	st, err := q.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return "", "", "", err
	}
	defer st.Destroy(nil)
	section := new(qpack.Encoder).AppendSection(nil, st.ID(), fields)
	b := append(varint.Append([]byte{1}, uint64(len(section))), section...)
	if fields[0].Value == "PUT" {
		b = append(b, "\x00\x04evil"...)
	}
	if _, err := st.End(b); err != nil {
		return "", "", "", err
	}
	answer, err := io.ReadAll(st)
	c := varint.NewCursor(answer)
	for c.Len() > 0 && err == nil {
		switch kind, p := c.Varint(), c.VarintBytes(); kind {
		case 0:
			body += string(p)
		case 1:
			var block []qpack.Field
			block, err = qpack.NewDecoder(0, 0).Decode(nil, st.ID(), p, qpack.Limit{})
			for _, f := range block {
				switch f.Name {
				case ":status":
					status = f.Value
				case "location":
					location = f.Value
				}
			}
		}
	}
	return status, location, body, err
}
