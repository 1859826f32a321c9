package main

import (
	"bytes"
	"testing"
)

func TestEcho(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "hello\n" {
		t.Errorf("got %q, want hello", got)
	}
}
