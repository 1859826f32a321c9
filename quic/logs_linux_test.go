package quic

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// fullDisk is a file that takes nothing.
func fullDisk(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The log of a session on a full disk ends, which is told with the name of the file; the session goes on.
func TestQLogOnFullDisk(t *testing.T) {
	disk := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		var said []string
		so := SocketOptions{QLog: true,
			QLogWriter: func(*Session) io.Writer { return struct{ io.Writer }{disk} },
			Logf:       func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
		}
		m := newMemNet(t, udp.NetworkOptions{}, so, ListenOptions{Handler: func(v *ServerSession) error { go echoAll(v); return nil }})
		defer m.close()
		c := m.connect(ConnectOptions{})
		for range 10 {
			echo(t, c, 1<<20)
		}
		if c.Destroyed() {
			t.Errorf("the session ends with %v", c.Err())
		}
		c.Close()
		<-c.Closed()
		synctest.Wait()
		if len(said) != 1 || !strings.Contains(said[0], "/dev/full") || !strings.Contains(said[0], syscall.ENOSPC.Error()) {
			t.Errorf("it is told as %q", said)
		}
	})
}

// Secrets that cannot be kept fail the handshake, as crypto/tls has it, with the reason and the
// name of the file; other sessions do not mind.
func TestKeyLogOnFullDisk(t *testing.T) {
	disk := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error { go echoAll(v); return nil }})
		defer m.close()
		good := m.connect(ConnectOptions{})
		echo(t, good, 1000)
		config := clientConfig()
		config.KeyLogWriter = disk
		c := m.connect(ConnectOptions{TLS: config})
		err := c.Handshake(t.Context())
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(fmt.Sprint(err), "/dev/full") {
			t.Errorf("Handshake: %v", err)
		}
		<-c.Closed()
		echo(t, good, 1000)
	})
}
