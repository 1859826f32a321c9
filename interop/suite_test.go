package interop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	_ "unsafe" // for linkname
)

// The cipher suites of TLS 1.3 cannot be chosen in a tls.Config. What both ends offer
// and prefer are these lists of crypto/tls, which nobody may change while somebody
// shakes hands: so it happens in a process that does nothing else.

//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

const (
	suiteVariable = "CINNABAR_INTEROP_SUITE" // in the environment of a child: what it shall use
	childCase     = "suite"
)

// inChild returns a case that runs the case named suite in a process that knows one
// cipher suite only.
func inChild(id uint16) func(*duel) error {
	return func(d *duel) error {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(pair{d.client, d.server}.String(), " ", "_")
		cmd := exec.CommandContext(d.ctx, exe, "-test.v", "-test.run=^TestInterop$/^"+childCase+"$/^"+name+"$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", suiteVariable, id))
		out, err := cmd.CombinedOutput()
		// A filter that matches nothing would succeed, too.
		if err == nil && !bytes.Contains(out, []byte("--- PASS: TestInterop/"+childCase+"/"+name)) {
			err = fmt.Errorf("the child did not run the case")
		}
		if err != nil {
			return fmt.Errorf("in the child: %w\n%s", err, out)
		}
		return nil
	}
}

// suiteOfChild reports whether this process is such a child, and makes it one.
func suiteOfChild(t *testing.T) bool {
	v := os.Getenv(suiteVariable)
	if v == "" {
		return false
	}
	id, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	defaultCipherSuitesTLS13 = []uint16{uint16(id)}
	defaultCipherSuitesTLS13NoAES = []uint16{uint16(id)}
	return true
}

// suite does under one cipher suite what keys have to do with: a handshake, transfers
// both ways, and key updates by both ends.
func suite(d *duel) error {
	want := defaultCipherSuitesTLS13[0]
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	err = bothKnow(near, far, "suite "+tls.CipherSuiteName(want), func(c conn) bool { return c.tls().CipherSuite == want })
	if err != nil {
		return err
	}
	if err := d.updating(near, far, near, d.client); err != nil {
		return fmt.Errorf("updates by the client: %w", err)
	}
	if err := d.updating(near, far, far, d.server); err != nil {
		return fmt.Errorf("updates by the server: %w", err)
	}
	return nil
}
