package kit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// HostName is the name that certificates are for, besides the loopback address.
const HostName = "localhost"

// Identity is a certificate that is signed by itself, in memory and in files.
type Identity struct {
	Certificate       tls.Certificate
	Roots             *x509.CertPool
	CertFile, KeyFile string
	SPKI              string // SHA-256 of the public key, as browsers want it
}

// NewIdentity makes one, with its files in a directory.
func NewIdentity(dir string) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: HostName},
		DNSNames:              []string{HostName},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that it can be given to peers as what they trust
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	id := &Identity{
		Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		Roots:       x509.NewCertPool(),
		CertFile:    filepath.Join(dir, "cert.pem"),
		KeyFile:     filepath.Join(dir, "key.pem"),
		SPKI:        base64.StdEncoding.EncodeToString(sum[:]),
	}
	id.Roots.AddCert(leaf)
	if err := writePEM(id.CertFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return id, writePEM(id.KeyFile, "PRIVATE KEY", private)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Server returns a server's configuration.
func (id *Identity) Server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.Certificate}, MinVersion: tls.VersionTLS13}
}

// Client returns a client's configuration. Its clock stands still at a whole second:
// crypto/tls knows the age of a ticket from the second in which it came, makes it up to
// a second too old, and GnuTLS takes that for a replay.
func (id *Identity) Client() *tls.Config {
	now := time.Now().Truncate(time.Second)
	return &tls.Config{
		RootCAs:    id.Roots,
		ServerName: HostName,
		MinVersion: tls.VersionTLS13,
		Time:       func() time.Time { return now },
	}
}
