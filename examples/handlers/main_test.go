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

func TestHandlers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	covers(t, "LKP-006") // without it the name does not resolve
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	has := func(line string) bool { return strings.Count(out.String(), line+"\n") == 1 }
	covers(t, "CHE-009")
	if !has("server: a client of shop.example wants to speak foo and offers 3 suites") {
		t.Errorf("the hello was not seen:\n%s", &out)
	}
	covers(t, "OCS-010")
	if !has("server: asked for a staple for shop.example") {
		t.Errorf("the server was not asked:\n%s", &out)
	}
	covers(t, "OCS-011")
	if !has(`client: the staple is "The OCSP response"`) {
		t.Errorf("the client did not see it:\n%s", &out)
	}
	covers(t, "CLI-017")
	if !has("client: keys were agreed on with ECDH P-256 of 256 bits") {
		t.Errorf("the key agreement is not told:\n%s", &out)
	}
}
