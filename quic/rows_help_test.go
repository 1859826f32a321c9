package quic

import "crypto/tls"

// withProtos returns a server's configuration with other application protocols.
func withProtos(protos ...string) *tls.Config {
	c := serverConfig()
	c.NextProtos = protos
	return c
}
