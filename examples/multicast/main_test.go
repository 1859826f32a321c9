package main

import (
	"bytes"
	"fmt"
	"net"
	"testing"
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
	var out bytes.Buffer
	err := run(t.Context(), iface, &out)
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
	covers(t, "EP-046")
	if err := try(t, fmt.Sprintf("::%%%d", lo.Index)); err != nil {
		t.Error(err)
	}
}
