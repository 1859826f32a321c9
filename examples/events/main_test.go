package main

import (
	"bytes"
	"strings"
	"testing"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

func TestEvents(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	covers(t, "SOC-066")
	if !strings.HasPrefix(got, "server is busy: true\nserver is busy: false\n") {
		t.Errorf("got %q, want the two changes first", got)
	}
	covers(t, "SOC-067") // Listen has taken its options from the socket
	if !strings.Contains(got, "client: the session is over\n") {
		t.Errorf("got %q, want the client to have been served and turned away", got)
	}
	covers(t, "SOC-068")
	if n := strings.Count(got, "error: boom; the session is destroyed: true\n"); n != 1 {
		t.Errorf("got %q, want one session error", got)
	}
}
