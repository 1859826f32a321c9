package securecontext

import (
	"crypto/tls"
	"crypto/x509"
)

// Options are the choices for a Context. The zero Options trust the host's roots and
// have no certificate: enough for most clients.
type Options struct {
	// CA are the certificates to trust, as PEM, in place of the host's roots; one
	// element may hold several. A client verifies servers with them and a server its
	// clients. Nil are the host's (CON-003, LIS-002).
	CA [][]byte
	// Cert are chains of certificates to show, as PEM: a leaf and its intermediates,
	// without the root. There is one chain for each key, in any order; one element may
	// hold several (CON-004, LIS-003).
	Cert [][]byte
	// Key are the keys of the chains in Cert. Of several, that of another algorithm
	// each, the one is used that the peer can verify (CON-014, LIS-015).
	Key []Key
	// PFX are bundles of a key and its chain, in place of Cert and Key or besides
	// them (CON-035, LIS-031).
	PFX []PFX
	// Passphrase opens the keys and bundles that have none of their own (CON-034,
	// LIS-030).
	Passphrase string
	// CRL are lists of revoked certificates, as PEM or DER; one element may hold
	// several. See CheckRevocation (CON-007, LIS-007).
	CRL [][]byte

	// Ciphers are the suites to use, in order of preference, with colons between
	// them; Ciphers returns their names. "" are all three (CON-005, LIS-004).
	Ciphers string
	// HonorCipherOrder makes a server choose by its own order of Ciphers, and not by
	// the client's. It has no effect on a client (CON-012, LIS-013).
	HonorCipherOrder bool
	// ECDHCurve are the groups for the key agreement, with colons between them; Curves
	// returns their names. "auto", the default, are all (CON-010, LIS-011).
	ECDHCurve string
	// Groups, if not "", stands in for ECDHCurve.
	Groups string

	// SecureOptions are bits as OpenSSL's SSL_OP_*. See the package's comment for
	// those that act; all others are refused (CON-042, LIS-040).
	SecureOptions uint64
	// SessionIDContext keeps tickets apart: what was issued under one value does not
	// resume under another, whatever the TicketKeys (LIS-041).
	SessionIDContext string
	// TicketKeys are what a server protects its session tickets with: the first for
	// new ones, all for old ones. Servers that are given the same keys and the same
	// SessionIDContext resume each other's sessions; a list with a new key before the
	// old one changes keys: in a new Context, which a listener's handler may return from then on. Those
	// of quic.ListenOptions come first. Nil means random ones.
	TicketKeys [][32]byte

	// DHParam are Diffie-Hellman parameters, as PEM. TLS 1.3 has no use for them:
	// they are refused if they are smaller than MinDHSize, and ignored otherwise, as
	// is what is not such a thing at all (CON-009, LIS-009).
	DHParam []byte
	// MinDHSize is the least size of DHParam's prime in bits. 0 means 1024.
	MinDHSize int

	// ClientCertEngine is the name that RegisterEngine was given for what supplies a
	// client's certificate and signs for it, in place of Cert and Key (CON-006, LIS-005).
	ClientCertEngine string
}

// Key is a private key, as PEM (CON-015, LIS-016): PKCS #8, PKCS #1 or SEC 1, RSA,
// ECDSA or Ed25519, encrypted or not.
type Key struct {
	PEM        []byte
	Passphrase string // "" means that of the Options (CON-016, LIS-017)
}

// PFX is a PKCS #12 bundle: one key, its certificate, and intermediates (CON-036, LIS-032).
type PFX struct {
	Buf        []byte // DER
	Passphrase string // "" means that of the Options (CON-037, LIS-033)
}

// Context is what New has made of Options. It never changes, and may be used at both
// ends and by many sessions at once.
type Context struct {
	base      *tls.Config   // never used and never handed out, only its clones
	allowed   []uint16      // suites in order of preference, nil for all
	honor     bool          // that order, at a server
	crls      []revocations // newest first
	partition string        // SessionIDContext

	ticketKeys [][32]byte // those that it parts, or a random one
	keyed      bool       // the options ask for them
}

// New makes a Context, or says in an *Error what is wrong with the options: bad
// material fails here and not in a handshake (CHE-010).
func New(o Options) (*Context, error) {
	c := &Context{base: &tls.Config{MinVersion: tls.VersionTLS13}}
	for _, step := range []func(*Options) error{
		c.anchors, c.identities, c.lists, c.suites, c.groups, c.bits, c.tickets, c.dh, c.engine,
	} {
		if err := step(&o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Config returns a configuration for crypto/tls that does what the Options say. It is
// TLS 1.3 and good for both ends; it is the caller's. Its VerifyConnection, if it has
// one, is for suites and revocation.
func (c *Context) Config() *tls.Config {
	t := c.base.Clone()
	if c.allowed != nil || len(c.crls) > 0 {
		t.VerifyConnection = c.verify
	}
	return t
}

// Restricts reports whether the options ask for what crypto/tls does not see to by
// itself: suites, their order, or revocation.
func (c *Context) Restricts() bool { return c.allowed != nil || c.honor || len(c.crls) > 0 }

// Revokes reports whether there is a CRL.
func (c *Context) Revokes() bool { return len(c.crls) > 0 }

// anchors reads what is trusted.
func (c *Context) anchors(o *Options) error {
	if o.CA == nil {
		return nil
	}
	pool := x509.NewCertPool()
	for i, b := range o.CA {
		certs, err := certificates(b)
		if err != nil {
			return invalid(at("CA", i), err)
		}
		for _, cert := range certs {
			pool.AddCert(cert)
		}
	}
	c.base.RootCAs, c.base.ClientCAs = pool, pool
	return nil
}
