package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

func TestMessage(t *testing.T) {
	var b bytes.Buffer
	want := head{Name: "größe.txt", Size: 1 << 40, Mode: 0o644}
	if err := writeMessage(&b, want); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	var got head
	if err := readMessage(iotest.OneByteReader(bytes.NewReader(whole)), &got); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range whole {
		if err := readMessage(bytes.NewReader(whole[:n]), &got); err == nil {
			t.Errorf("%d of %d bytes are a message", n, len(whole))
		}
	}
	if err := writeMessage(&b, head{Name: strings.Repeat("x", limits.Bound(t, "message"))}); err != errMessageSize {
		t.Errorf("a long message is written: %v", err)
	}
	// A length that is too large is refused before anything is read or allocated for it.
	if err := readMessage(strings.NewReader("\x10\x01"), &got); err != errMessageSize {
		t.Errorf("a long message is read: %v", err)
	}
	for _, bad := range []string{"\x00\x00", "\x00\x01{", "\x00\x02[]", "\x00\x0a{\"size\":1.5}"} {
		if err := readMessage(strings.NewReader(bad), &got); err == nil {
			t.Errorf("%q is a message", bad)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x02{}"))
	f.Add([]byte("\x00\x19{\"name\":\"a\",\"size\":1000}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h head
		if err := readMessage(bytes.NewReader(data), &h); err != nil {
			return
		}
		var b bytes.Buffer
		var again head
		if err := writeMessage(&b, h); err == errMessageSize {
			return // escapes can make it longer
		}
		if err := readMessage(&b, &again); err != nil || again != h {
			t.Errorf("%+v is read back as %+v, %v", h, again, err)
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "report.pdf", "größe.txt", "a b (1).tar.gz", strings.Repeat("x", limits.Bound(t, "file-name"))} {
		if err := checkName(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"": "empty",
		strings.Repeat("x", limits.Bound(t, "file-name")+1): "256 bytes",
		"\xff":          "UTF-8",
		"a\x00b":        "control",
		"a\nb":          "control",
		"\u202etxt.exe": "control",
		"/etc/passwd":   "/ \\ :",
		"../x":          "/ \\ :",
		`..\x`:          "/ \\ :",
		`C:x`:           "/ \\ :",
		"..":            "dot",
		".":             "dot",
		".bashrc":       "dot",
		"-rf":           "option",
	} {
		if err := checkName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %q", name, err, want)
		}
	}
}

func TestBody(t *testing.T) {
	for _, size := range []int64{0, 1, bodyBuffer, bodyBuffer + 1, 3*bodyBuffer - 1} {
		data := make([]byte, size)
		io.ReadFull(generated(), data)
		var wire, got bytes.Buffer
		moved := 0
		sent, err := writeBody(&wire, bytes.NewReader(data), size, func(n int) { moved += n })
		if err != nil || int64(wire.Len()) != size+sha256.Size || int64(moved) != size || sent != sha256.Sum256(data) {
			t.Errorf("%d bytes: wrote %d, moved %d, %v", size, wire.Len(), moved, err)
		}
		whole := bytes.Clone(wire.Bytes())
		arrived, err := readBody(&got, iotest.DataErrReader(iotest.HalfReader(&wire)), size, func(int) {})
		if err != nil || arrived != sent || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes: read %d, %v", size, got.Len(), err)
		}
		for _, i := range []int64{0, size / 2, size + sha256.Size - 1} {
			bad := bytes.Clone(whole)
			bad[i] ^= 1
			if _, err := readBody(io.Discard, bytes.NewReader(bad), size, func(int) {}); err != errDigest {
				t.Errorf("%d bytes, byte %d flipped: %v", size, i, err)
			}
		}
	}
}

// The side that a copy fails on is told, because the two ask for different things.
func TestBodyFails(t *testing.T) {
	broken := errors.New("broken")
	var source *sourceError
	_, err := writeBody(io.Discard, strings.NewReader("abc"), 4, func(int) {})
	if !errors.As(err, &source) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a source that is too short: %v", err)
	}
	_, err = writeBody(io.Discard, iotest.ErrReader(broken), 4, func(int) {})
	if !errors.As(err, &source) || !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	_, err = writeBody(failingWriter{broken}, strings.NewReader("abcd"), 4, func(int) {})
	if err != broken {
		t.Errorf("a destination that fails: %v", err)
	}
	_, err = readBody(io.Discard, strings.NewReader("abcd and too few digits"), 4, func(int) {})
	if !errors.As(err, &source) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body without its digest: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
