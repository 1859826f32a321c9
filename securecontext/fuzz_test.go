package securecontext

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// What is read may be anything: New makes a Context of it or says in an *Error what is
// wrong, without the passphrase.
func FuzzNew(f *testing.F) {
	const passphrase = "a passphrase that nothing has in it"
	root := authority(f, "root", nil)
	leaf := root.leaf(f, "leaf", newECDSA(f))
	for _, text := range encrypted(f, leaf.key, passphrase) {
		f.Add(leaf.pem(), text, []byte(nil), []byte(nil))
	}
	encoder := pkcs12.Modern.WithIterations(2)
	pfx, err := encoder.WithRand(rand.Reader).Encode(leaf.key, leaf.cert, []*x509.Certificate{root.cert}, passphrase)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf.pem(), leaf.keyPEM(f), pfx, root.revoke(f, today, leaf))
	f.Add(toPEM("TRUSTED CERTIFICATE", leaf.cert.Raw), []byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----"), []byte{0x30, 0x80}, []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, cert, key, pfx, crl []byte) {
		for _, o := range []Options{
			{CA: [][]byte{cert}}, {Cert: [][]byte{cert}, Key: []Key{{PEM: key}}}, {PFX: []PFX{{Buf: pfx}}}, {CRL: [][]byte{crl}}, {DHParam: key},
		} {
			o.Passphrase = passphrase
			c, err := New(o)
			var e *Error
			switch {
			case (c == nil) != (err != nil):
				t.Fatal("half a context")
			case err != nil && (!errors.As(err, &e) || e.Code() == "" || !strings.HasPrefix(e.Option, "Options.")):
				t.Fatalf("%#v", err)
			case err != nil && strings.Contains(err.Error(), passphrase):
				t.Fatal(err)
			}
		}
	})
}
