package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestDemo(t *testing.T) {
	start(t, "demo", "--size", "3M").want(0,
		"listens on 127.0.0.1:", "TLS 1.3", `says "hello, 127.0.0.1:`, "3 MiB", "the same SHA-256",
		"handshake", "round trip", "lost", "goodput")
	start(t, "demo", "--size", "0").want(0, "0 B", "the same SHA-256")
	start(t, "demo", "demo_test.go").want(0, "the same SHA-256")
}

func TestDemoJSON(t *testing.T) {
	c := start(t, "demo", "--size", "1M", "--json")
	c.want(0)
	stdout, _ := c.stdout.text()
	var r results
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, e := range []endResults{r.Client, r.Server} {
		if r.Bytes != 1<<20 || len(r.SHA256) != 64 || e.PacketsSent == 0 || e.BytesSent < 1<<20 || e.HandshakeSeconds <= 0 || e.GoodputBitsPerSecond <= 0 {
			t.Errorf("%s", stdout)
		}
	}
}

func TestDemoBadInput(t *testing.T) {
	dir := t.TempDir()
	start(t, "demo", filepath.Join(dir, "none")).wantError(exitFailed, "cannot send", "none: no such file")
	start(t, "demo", dir).wantError(exitFailed, "it is a directory", "tar")
	unreadable := filepath.Join(dir, "secret")
	if err := os.WriteFile(unreadable, nil, 0); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(unreadable); err == nil {
		f.Close() // root can read everything
	} else {
		start(t, "demo", unreadable).wantError(exitFailed, "cannot send", "permission denied")
	}
}

// Ctrl-C ends both ends, and both say why.
func TestDemoInterrupted(t *testing.T) {
	c := start(t, "demo", "--size", "1T")
	c.waitFor(c.stdout, "says") // the server has the session
	c.waitFor(c.stdout, "sends 1 TiB")
	c.interrupt()
	c.want(exitInterrupted, "client  ends: interrupted", "server  ends: the other end closed the session: the client was interrupted")
	c.wantError(exitInterrupted, "interrupted")

	c = start(t, "demo")
	c.interrupt()
	c.wantError(exitInterrupted, "interrupted")
}
