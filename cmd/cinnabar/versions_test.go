package main

import (
	"strings"
	"testing"
)

// Which version a session is of: what get offers and begins with, and what serve speaks.
func TestQUICVersion(t *testing.T) {
	for _, tc := range []struct {
		serve, get string
		want       string
	}{
		{"", "", "1"},
		{"", "--quic-version v1", "1"},
		{"", "--quic-version v2", "2"},
		{"", "--quic-version v2,v1", "2"}, // begins in version 1, and the server follows the preference
		{"", "--quic-first v2", "1"},      // begins in version 2, and the server follows the preference
		{"--quic-version v2,v1", "", "2"},
		{"--quic-version 1", "--quic-version v2,v1 --quic-first v2", "1"}, // after Version Negotiation
		{"--quic-version v2", "--quic-version 1,2", "2"},
	} {
		t.Run(tc.serve+" with "+tc.get, func(t *testing.T) {
			s := startServe(t, map[string]string{"a": "x"}, strings.Fields(tc.serve)...)
			s.get(append(strings.Fields(tc.get), "-v", "~/a")...).want(0, ", QUIC version "+tc.want+"\n")
		})
	}
	s := startServe(t, map[string]string{"a": "x"}, "--quic-version", "v1")
	s.get("--quic-version", "v2", "~/a").wantError(7, "no version that we do")
}

func TestQUICVersionOfFiles(t *testing.T) {
	r := startReceive(t, "--quic-version", "v2")
	file, data := writeFile(t, "file", 1000, 0o600)
	r.send("--quic-version", "v1", file).wantError(exitFailed, "speaks QUIC, but no version that we do")
	r.send("--quic-first", "v2", file).want(0, "file")
	r.send("--quic-version", "v2", r.copyOf(file, "other")).want(0, "other")
	wantFiles(t, r.dir, map[string]string{"file": data, "other": data})
}

func TestQUICVersionOfDemo(t *testing.T) {
	start(t, "demo", "--size", "0").want(0, ": QUIC version 1, TLS 1.3, ")
	start(t, "demo", "--size", "0", "--quic-version", "v2").want(0, ": QUIC version 2, TLS 1.3, ")
	start(t, "demo", "--size", "0", "--quic-version", "v1,v2", "--quic-first", "v2").want(0, ": QUIC version 1, TLS 1.3, ")
}
