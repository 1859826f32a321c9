package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

// hookReadsBusy checks that a hook that asks the socket itself is told what holds then.
func hookReadsBusy(t *testing.T) {
	t.Helper()
	seen := make(chan bool, 1)
	var socket *quic.Socket
	socket, err := quic.NewSocket(quic.SocketOptions{Hooks: quic.SocketHooks{Busy: func(bool) error {
		seen <- socket.ServerBusy()
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Destroy(nil)
	for _, busy := range []bool{true, false} {
		if err := socket.SetServerBusy(busy); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-seen:
			if got != busy {
				t.Errorf("set to %v, the hook reads %v", busy, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("set to %v, and the hook does not run", busy)
		}
	}
}

func TestEvents(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	covers(t, "SOC-066")
	if !strings.HasPrefix(got, "server is busy: true\nserver is busy: false\n") {
		t.Errorf("got %q, want the two changes first", got)
	}
	hookReadsBusy(t)
	covers(t, "SOC-067") // Listen has taken its options from the socket
	if !strings.Contains(got, "client: the session is over\n") {
		t.Errorf("got %q, want the client to have been served and turned away", got)
	}
	covers(t, "SOC-068")
	if n := strings.Count(got, "error: boom; the session is destroyed: true\n"); n != 1 {
		t.Errorf("got %q, want one session error", got)
	}
}
