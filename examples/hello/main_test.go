package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

func TestHello(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, 0, &out); err != nil {
		t.Fatal(err)
	}
	const want = "The socket is listening for sessions!\n" +
		"client: stream 3: hi from the server!\n" +
		"client: stream 0: Hello World\n"
	covers(t, "CQS-019")
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	covers(t, "SES-100") // stream 0 is bidirectional: answered, ended, and read to its end
	if got := out.String(); !strings.Contains(got, "stream 0: Hello World\n") {
		t.Errorf("got\n%s", got)
	}
}
