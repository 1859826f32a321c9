package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

// loopback returns the interface that every machine has.
func loopback(t *testing.T) net.Interface {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 {
			return i
		}
	}
	t.Fatal("no loopback interface")
	return net.Interface{}
}

func try(t *testing.T, iface string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, iface, &out)
	if err == nil && out.Len() == 0 {
		t.Errorf("%s: nothing was said", iface)
	}
	return err
}

func TestMulticast(t *testing.T) {
	lo := loopback(t)
	covers(t, "EP-047")
	if err := try(t, "127.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := try(t, "192.0.2.1"); err == nil {
		t.Error("192.0.2.1 is no address of this machine, and was taken")
	}
	covers(t, "EP-045")
	if err := try(t, "::%"+lo.Name); err != nil {
		t.Error(err)
	}
	if err := try(t, "::%nowhere"); err == nil {
		t.Error("there is no interface of the name nowhere, and it was taken")
	}
	covers(t, "EP-046")
	if err := try(t, fmt.Sprintf("::%%%d", lo.Index)); err != nil {
		t.Error(err)
	}
	if err := try(t, "::%987654321"); err == nil {
		t.Error("there is no interface with the number 987654321, and it was taken")
	}
}
