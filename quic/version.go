package quic

import (
	"fmt"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Version is a version of QUIC. The two differ in numbers and keys, and in nothing that
// a program could do with them.
type Version uint32

// The versions that can be spoken.
const (
	Version1 = Version(wire.Version1) // RFC 9000
	Version2 = Version(wire.Version2) // RFC 9369
)

// String returns "1" or "2", or the number of another version in hexadecimal.
func (v Version) String() string {
	switch v {
	case Version1:
		return "1"
	case Version2:
		return "2"
	}
	return fmt.Sprintf("%#08x", uint32(v))
}

// Version returns the version of QUIC in use: that of the client's first flight until the server's
// answer, or at a server until the client's parameters, which can change it.
func (s *Session) Version() Version {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return Version(s.conn.Version())
}

// versions checks a list of versions.
func (c *checker) versions(option string, list []Version) {
	for i, v := range list {
		if !wire.KnownVersion(uint32(v)) || slices.Contains(list[:i], v) {
			c.fail(option, list, CodeInvalidArgValue, "Version1 and Version2, each once at most")
		}
	}
}

// speaks reports whether a list of versions, as in the options, has this one.
func speaks(list []Version, v uint32) bool {
	return len(list) == 0 || slices.Contains(list, Version(v))
}

// numbers returns a list of versions as the machine takes it.
func numbers(list []Version) (out []uint32) {
	for _, v := range list {
		out = append(out, uint32(v))
	}
	return out
}

// firstVersion checks the version that a client begins with.
func (o *ConnectOptions) firstVersion(c *checker) {
	c.versions("Versions", o.Versions)
	if v := o.FirstVersion; v != 0 && (!wire.KnownVersion(uint32(v)) || !speaks(o.Versions, uint32(v))) {
		c.fail("FirstVersion", v, CodeInvalidArgValue, "one of Versions")
	}
}

// tokenKeyIn returns what stands for the server, and the version, in the TokenStore: a token
// serves only connections that begin in the version that it came in (RFC 9369 §5).
func (c *ClientSession) tokenKeyIn(v uint32) string {
	if v == wire.Version1 {
		return c.tokenKey
	}
	return c.tokenKey + " version " + Version(v).String()
}
