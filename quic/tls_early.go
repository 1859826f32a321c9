package quic

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
)

// restricted reports whether the session's context asks for what TLS does not see to.
func (r *tlsRunner) restricted() bool { return r.context != nil && r.context.Restricts() }

// looks reports whether a client looks at what TLS does not when a session is resumed: it
// does so when the server answers, and early data would be gone by then.
func (r *tlsRunner) looks() bool {
	return r.anyHost || r.context != nil && r.context.Revokes()
}

// trustsEarly reports whether early data may go to the server of an earlier session: if it
// would be good enough for this one. It is called before the session is known.
func (r *tlsRunner) trustsEarly(state *tls.SessionState) bool {
	if r.soft || !r.looks() {
		return true
	}
	b, ok := findExtra(state.Extra, chainExtra)
	if !ok {
		return false
	}
	certs, ok := decodeChain(b)
	return ok && r.verifyPeer(&tls.ConnectionState{PeerCertificates: certs}) == nil
}

// encodeChain returns what a client remembers of a server that it will have to look at
// again. A program that keeps tickets gives it back to us, but cannot get at what TLS keeps.
func encodeChain(certs []*x509.Certificate) []byte {
	b := append([]byte(nil), chainExtra...)
	for _, c := range certs {
		b = binary.BigEndian.AppendUint32(b, uint32(len(c.Raw)))
		b = append(b, c.Raw...)
	}
	return b
}

// decodeChain returns at least one certificate, the leaf first.
func decodeChain(b []byte) (certs []*x509.Certificate, ok bool) {
	for len(b) > 0 {
		if len(b) < 4 || int64(len(b)-4) < int64(binary.BigEndian.Uint32(b)) {
			return nil, false
		}
		n := int(binary.BigEndian.Uint32(b))
		c, err := x509.ParseCertificate(b[4 : 4+n])
		if err != nil {
			return nil, false
		}
		certs, b = append(certs, c), b[4+n:]
	}
	return certs, len(certs) > 0
}
