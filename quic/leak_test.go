package quic

import (
	"fmt"
	"os"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
)

// TestMain fails if goroutines of the package outlive all tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of the goroutines that run our code, after giving
// them the time that closing connections may take.
func leaked() string {
	return siege.Leaked("/quic.(*", "/internal/udp.", "crypto/tls")
}
