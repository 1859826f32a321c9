package main

import (
	"strings"
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "4096": 4096, "4096B": 4096, "10K": 10 << 10, "10kb": 10 << 10, "256MiB": 256 << 20, "1.5g": 3 << 29, "2T": 2 << 40,
	} {
		var s byteSize
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "M", "1X", "1.5.5", "-1", "1 MB x", "NaN", "Inf", "9000000T"} {
		var s byteSize
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d, want an error", text, s)
		}
	}
	for s, want := range map[byteSize]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB", 256 << 20: "256 MiB", 1 << 62: "4096 PiB",
	} {
		if got := s.String(); got != want {
			t.Errorf("%d is %q, want %q", int64(s), got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{bitRate(1000, time.Second), "8.00 kbit/s"},
		{bitRate(125_000_000, time.Second), "1.00 Gbit/s"},
		{bitRate(3, time.Second), "24.0 bit/s"},
		{bitRate(0, time.Second), "0.00 bit/s"},
		{bitRate(1000, 0), "-"},
		{duration(1234 * time.Microsecond), "1.23 ms"},
		{duration(123456 * time.Microsecond), "123 ms"},
		{duration(12345 * time.Millisecond), "12.3 s"},
		{thousands(0), "0"},
		{thousands(999), "999"},
		{thousands(1234567), "1,234,567"},
		{plural(1, "file"), "1 file"},
		{plural(0, "file"), "0 files"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, and über":         "plain, and über",
		"\x1b[2Jgone\r\nnext\x00": "?[2Jgone??next?",
		"right-to-left \u202e":    "right-to-left ?",
		strings.Repeat("x", 300):  strings.Repeat("x", 200) + "...",
		"bad \xff":                "bad \ufffd",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}
