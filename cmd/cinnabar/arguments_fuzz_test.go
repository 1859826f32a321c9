package main

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// FuzzUnits: a text is refused, or is a size, time, fingerprint, version or address in its range that is
// read the same when it is written again; and whatever it is, it can be made fit for a terminal.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{
		"4096", "1.5G", "256MiB", "0x1p10K", "-1", "NaN", "1e400", "500ms", "2.5", "inf", "1e9", "sha256:" + strings.Repeat("0a", 32), "sha256//" + strings.Repeat("A", 43) + "=",
		"v2,v1", "1", "v1,", "example.org", "[::1]", "::1", "a:0", "x:65536", "\x1b[2J\n", strings.Repeat("é", 300),
	} {
		f.Add(s, int64(len(s))<<10)
	}
	f.Fuzz(func(t *testing.T, s string, n int64) {
		text := []byte(s)
		var size, again byteSize
		if size.UnmarshalText(text) == nil {
			short := strings.ReplaceAll(size.String(), " ", "")
			if err := again.UnmarshalText([]byte(short)); size < 0 || size < 1<<50 && (err != nil || max(size, again)-min(size, again) > size/20+1) {
				t.Fatalf("%q is %d, %q and that %d, %v", s, size, short, again, err)
			}
		}
		var wait seconds
		if wait.UnmarshalText(text) == nil && wait <= 0 {
			t.Fatalf("%q is a time of %v", s, wait)
		}
		var pin, samePin fingerprint
		if pin.UnmarshalText(text) == nil && (samePin.UnmarshalText([]byte(pin.String())) != nil || samePin != pin) {
			t.Fatalf("%q is %v, and that %v", s, pin, samePin)
		}
		var list, sameList versionList
		if list.UnmarshalText(text) == nil {
			err := sameList.UnmarshalText([]byte(list.String()))
			if err != nil || !slices.Equal(list.list, sameList.list) || len(list.list) == 0 || len(list.list) > 2 {
				t.Fatalf("%q is %v, and that %v, %v", s, list.list, sameList.list, err)
			}
		}
		var version versionName
		if version.UnmarshalText(text) == nil && quic.Version(version) != quic.Version1 && quic.Version(version) != quic.Version2 {
			t.Fatalf("%q is version %v", s, version)
		}
		if full, err := withPort(s); err == nil {
			host, port, err := net.SplitHostPort(full)
			if same, _ := withPort(full); err != nil || host == "" || !validPort(port, 1) || same != full {
				t.Fatalf("%q is %q, and that %q, %v", s, full, same, err)
			}
		}
		if p := printable(s); utf8.RuneCountInString(p) > 203 || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q is printed as %q", s, p)
		}
		if p := printableLine(s); strings.ContainsFunc(p, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
			t.Fatalf("%q is a line %q", s, p)
		}
		var b bytes.Buffer
		if got, err := readSize(strings.NewReader(s)); err == nil && (writeSize(&b, got) != nil || b.String() != s[:8] || got < 0) {
			t.Fatalf("%q is the size %d, written as %q", s, got, b.String())
		}
	})
}

// FuzzCommandLine: whatever stands on the command line, it is refused, or is a command all of whose
// figures are in range and whose files and URLs each have their place.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{
		"get https://a/ -o x -C - --retry 3", "get -LO https://a/x https://b/y --resolve a:443:::1 -m 2.5", "get https://a -I -X PUT", "get -d a -T b c", "--help", "get --help", "--version",
		"send --pin sha256:00 a b:1", "receive --addr :1 d --max-size 1K", "serve . --listen :1 --quic-version v2,v1", "demo --size 1.5G", "get", "gte https://a", "get -u me https://a/", "get https://a/.. -O",
		"get a b --quic-first v2 --quic-version v1", "get --parallel 0 a", "get -o a -o a x y", "get -C 99999999999999999999 x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		exited, grammar := false, new(commands)
		selected, err := newParser(grammar, io.Discard, io.Discard, func(int) { exited = true }).Parse(attachNumbers(strings.Split(line, " ")))
		if exited {
			return
		}
		if err != nil {
			if name := commandName(err); !strings.HasPrefix(name, "cinnabar") {
				t.Fatalf("%q is wrong for %q", line, name)
			}
			return
		}
		if name, _, _ := strings.Cut(selected.Command(), " "); !slices.Contains([]string{"serve", "get", "demo", "receive", "send"}, name) {
			t.Fatalf("%q is the command %q", line, selected.Command())
		}
		c := &grammar.Get
		if c.URLs == nil || len(c.Data)+len(c.DataBinary)+len(c.JSON)+len(c.UploadFile) > 0 { // these read files
			return
		}
		p, err := c.plan(&app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard})
		if err != nil {
			return
		}
		places := map[string]bool{}
		for _, item := range p.items {
			if places[item.target.Path] && item.target.Path != "" || item.url.Scheme != "https" || item.url.Hostname() == "" || item.target.Path == "" && !p.stdout {
				t.Fatalf("%q fetches %v to %q", line, item.url, item.target.Path)
			}
			places[item.target.Path] = true
		}
		if len(p.items) != len(c.URLs) || p.parallel < 1 || p.stdout && p.parallel != 1 || p.client.Retries < 0 || p.client.MaxTime < 0 {
			t.Fatalf("%q is %+v", line, p)
		}
	})
}
