package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
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
