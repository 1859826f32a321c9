package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

func TestKeyLog(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("# kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, file, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	covers(t, "SES-101")
	lines := strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
	if lines[0] != "# kept" {
		t.Errorf("the file was not appended to: it begins with %q", lines[0])
	}
	form := regexp.MustCompile(`^[A-Z_0-9]+ [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})$`)
	labels := make(map[string]bool)
	for _, line := range lines[1:] {
		if !form.MatchString(line) {
			t.Errorf("not a line of a key log: %q", line)
		}
		label, _, _ := strings.Cut(line, " ")
		labels[label] = true
	}
	for _, label := range []string{
		"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
		"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
	} {
		if !labels[label] {
			t.Errorf("no %s among %v", label, labels)
		}
	}
}
