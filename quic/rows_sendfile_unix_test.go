//go:build unix

package quic

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The end of the stream ends a read that waits for somebody to write to a pipe.
func TestSendFilePipe(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c, s := p.streams(t)
	done := make(chan error)
	go func() { done <- c.SendFile(path, SendOptions{}) }()
	w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	c.Destroy(nil)
	s.Close()
	if err := <-done; code(err) != "ERR_INVALID_STATE" {
		t.Errorf("the call: %v", err)
	}
}
