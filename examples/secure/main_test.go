package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

func TestSecure(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, "", 0, 0, &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	taken, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	if err := run(ctx, "", 0, port, new(bytes.Buffer)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("from port %d, which is taken: %v", port, err)
	}
	covers(t, "SOC-064") // there is a client session
	covers(t, "SES-098") // and its hook has opened streams
	if !strings.HasPrefix(got, "client: opened 0,") {
		t.Errorf("got %q", got)
	}
	covers(t, "SES-099")
	if !strings.Contains(got, "opened 0, bidirectional: true, and 2, bidirectional: false\n") {
		t.Errorf("got %q", got)
	}
	covers(t, "SOC-065") // the server's hook has, too
	if !strings.Contains(got, "stream 1: a stream of the server's\n") || !strings.Contains(got, "stream 3: a stream of the server's\n") {
		t.Errorf("got %q", got)
	}
}
