package quic

import (
	"io"
	"testing"
)

// A notice is for the hooks that the stream has when its turn comes, and not for those that
// were there when it was queued: who has handed a stream over must not be called again.
func TestHooksReplacedWhileNoticeWaits(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	client, server := p.streams(t)
	held, release := make(chan struct{}), make(chan struct{})
	p.server.Post(func() { close(held); <-release }) // keeps what follows waiting
	<-held
	told := make(chan string, 10)
	server.SetHooks(StreamHooks{Readable: func() error { told <- "old"; return nil }})
	if _, err := client.End([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(server); string(b) != "x" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	server.SetHooks(StreamHooks{Readable: func() error { told <- "new"; return nil }})
	close(release)
	if s := <-told; s != "new" {
		t.Errorf("the %s hook is told", s)
	}
	done := make(chan struct{})
	p.server.Post(func() { close(done) })
	<-done
	for len(told) > 0 {
		if s := <-told; s != "new" {
			t.Errorf("the %s hook is told", s)
		}
	}
}
