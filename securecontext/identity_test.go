package securecontext

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// Anchors stand in for the host's, several in one element, under every label that
// OpenSSL reads.
func TestAnchors(t *testing.T) {
	a, b, c, d := authority(t, "a", nil), authority(t, "b", nil), authority(t, "c", nil), authority(t, "d", nil)
	trusted := toPEM("TRUSTED CERTIFICATE", append(slices.Clone(b.cert.Raw), 0x30, 0x00)) // with what it is trusted for
	got := mustNew(t, Options{CA: [][]byte{slices.Concat(toPEM("X509 CERTIFICATE", a.cert.Raw), []byte("note\n"), trusted), c.pem()}}).Config()
	want := x509.NewCertPool()
	for _, i := range []*issuer{a, b, c} {
		want.AddCert(i.cert)
	}
	covers(t, "CON-003")
	if !want.Equal(got.RootCAs) {
		t.Error("the anchors for servers are others than the given")
	}
	covers(t, "LIS-002")
	if !want.Equal(got.ClientCAs) {
		t.Error("the anchors for clients are others than the given")
	}
	want.AddCert(d.cert)
	if want.Equal(got.RootCAs) {
		t.Error("pools are always equal")
	}
	if none := mustNew(t, Options{}).Config(); none.RootCAs != nil || none.ClientCAs != nil {
		t.Error("without CA the anchors are not the host's")
	}
	covers(t, "CHE-010")
	refused(t, Options{CA: [][]byte{a.pem(), []byte("junk")}}, "Options.CA[1]", CodeInvalidArgValue, "no PEM certificate")
	refused(t, Options{CA: [][]byte{toPEM("CERTIFICATE", []byte("junk"))}}, "Options.CA[0]", CodeInvalidArgValue)
}

// Chains and keys find each other in any order, in elements of their own or in one.
func TestIdentities(t *testing.T) {
	root := authority(t, "root", nil)
	between := authority(t, "between", root)
	ec, rs, ed := between.leaf(t, "ec", newECDSA(t)), root.leaf(t, "rsa", newRSA(t)), between.leaf(t, "ed", newEd25519(t))
	c := mustNew(t, Options{
		Cert: [][]byte{slices.Concat(ec.pem(), between.pem(), root.pem(), rs.pem()), toPEM("X509 CERTIFICATE", ed.cert.Raw)},
		Key:  []Key{{PEM: ed.keyPEM(t)}, {PEM: slices.Concat([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), sec1(t, ec.key), pkcs1(rs.key))}},
	})
	list := c.Config().Certificates
	want := []struct {
		chain [][]byte
		key   crypto.Signer
	}{
		{[][]byte{ec.cert.Raw, between.cert.Raw}, ec.key},
		{[][]byte{rs.cert.Raw}, rs.key},
		{[][]byte{ed.cert.Raw, between.cert.Raw}, ed.key},
	}
	if len(list) != len(want) {
		t.Fatalf("%d identities, want %d", len(list), len(want))
	}
	for i, w := range want {
		covers(t, "CON-004")
		covers(t, "LIS-003")
		if !slices.EqualFunc(list[i].Certificate, w.chain, bytes.Equal) {
			t.Errorf("chain %d has %d certificates, or others", i, len(list[i].Certificate))
		}
		covers(t, "CON-014")
		covers(t, "CON-015")
		covers(t, "LIS-016")
		if !w.key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(list[i].PrivateKey) {
			t.Errorf("chain %d has another's key", i)
		}
	}
	for name, text := range encrypted(t, ec.key, "secret") {
		o := Options{Cert: [][]byte{ec.pem()}, Key: []Key{{PEM: text}}, Passphrase: "secret"}
		if list := mustNew(t, o).Config().Certificates; len(list) != 1 || !ec.key.(*ecdsa.PrivateKey).Equal(list[0].PrivateKey) {
			t.Errorf("%d identities of an encrypted key (%s)", len(list), name)
		}
	}
	covers(t, "CON-014")
	covers(t, "LIS-016")
	// The peer's schemes choose between them.
	covers(t, "LIS-015")
	for scheme, at := range map[tls.SignatureScheme]int{tls.ECDSAWithP256AndSHA256: 0, tls.PSSWithSHA256: 1, tls.Ed25519: 2} {
		h := &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{scheme}, ServerName: "localhost"}
		if i := slices.IndexFunc(list, func(c tls.Certificate) bool { return h.SupportsCertificate(&c) == nil }); i != at {
			t.Errorf("a client of %v gets identity %d, want %d", scheme, i, at)
		}
	}
}

func sec1(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return toPEM("EC PRIVATE KEY", der)
}

func pkcs1(key crypto.Signer) []byte {
	return toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey)))
}

// What does not fit together is refused when the context is made, by the name of its
// element.
func TestIdentitiesRefused(t *testing.T) {
	root := authority(t, "root", nil)
	a, b := root.leaf(t, "a", newECDSA(t)), root.leaf(t, "b", newECDSA(t))
	aKey, bKey := Key{PEM: a.keyPEM(t)}, Key{PEM: b.keyPEM(t)}
	covers(t, "CHE-010")
	refused(t, Options{Cert: [][]byte{a.pem()}, Key: []Key{aKey, bKey}}, "Options.Key[1]", CodeInvalidArgValue, "no certificate")
	refused(t, Options{Cert: [][]byte{a.pem(), b.pem()}, Key: []Key{aKey}}, "Options.Cert[1]", CodeInvalidArgValue, "no key", "b")
	refused(t, Options{Cert: [][]byte{root.pem()}}, "Options.Cert[0]", CodeInvalidArgValue, "no key")
	refused(t, Options{Key: []Key{aKey}}, "Options.Key[0]", CodeInvalidArgValue, "no certificate")
	refused(t, Options{Cert: [][]byte{[]byte("junk")}}, "Options.Cert[0]", CodeInvalidArgValue, "no PEM certificate")
	refused(t, Options{Key: []Key{{PEM: a.pem()}}}, "Options.Key[0]", CodeInvalidArgValue, "no PEM private key")
	refused(t, Options{Key: []Key{{PEM: toPEM("PRIVATE KEY", []byte("junk"))}}}, "Options.Key[0]", CodeInvalidArgValue)
	refused(t, Options{Key: []Key{{PEM: toPEM("FANCY PRIVATE KEY", []byte("junk"))}}}, "Options.Key[0]", CodeInvalidArgValue, "FANCY")
	refused(t, Options{PFX: []PFX{{Buf: []byte("junk")}}}, "Options.PFX[0]", CodeInvalidArgValue)
	refused(t, Options{CA: [][]byte{root.pem(), []byte("junk")}}, "Options.CA[1]", CodeInvalidArgValue, "no PEM certificate")
	refused(t, Options{CRL: [][]byte{[]byte("junk")}}, "Options.CRL[0]", CodeInvalidArgValue)
	refused(t, Options{Ciphers: "TLS_JUNK"}, "Options.Ciphers", CodeInvalidArgValue, "TLS_JUNK")
	refused(t, Options{ECDHCurve: "junk"}, "Options.ECDHCurve", CodeInvalidArgValue, "junk")
	for _, text := range encrypted(t, a.key, "secret") {
		o := Options{CA: [][]byte{root.pem()}, Cert: [][]byte{a.pem()}, Key: []Key{{PEM: text}}, ECDHCurve: "P-384", Ciphers: "TLS_CHACHA20_POLY1305_SHA256"}
		refused(t, o, "Options.Key[0]", CodeInvalidArgValue, "no passphrase")
		o.Passphrase = "secret"
		c := mustNew(t, o)
		config := c.Config()
		if len(config.Certificates) != 1 || config.RootCAs == nil || config.ClientCAs == nil || !slices.Equal(config.CurvePreferences, []tls.CurveID{tls.CurveP384}) ||
			!c.AllowsCipher(tls.TLS_CHACHA20_POLY1305_SHA256) || c.AllowsCipher(tls.TLS_AES_128_GCM_SHA256) {
			t.Errorf("the context is %+v", config)
		}
	}
	covers(t, "CHE-010")
}

// encrypted returns a key as PKCS #8 and in the older form of OpenSSL, both encrypted.
func encrypted(t testing.TB, key crypto.Signer, passphrase string) map[string][]byte {
	t.Helper()
	modern, err := pkcs8.MarshalPrivateKey(key, []byte(passphrase), nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 what is to be read has to be written first
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte(passphrase), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"PKCS #8": toPEM("ENCRYPTED PRIVATE KEY", modern), "legacy": pem.EncodeToMemory(legacy)}
}

// Keys come encrypted, and a key's own passphrase goes before that of the options.
func TestEncryptedKeys(t *testing.T) {
	a := authority(t, "root", nil).leaf(t, "a", newECDSA(t))
	certs := [][]byte{a.pem()}
	for name, text := range encrypted(t, a.key, "secret") {
		t.Run(name, func(t *testing.T) {
			holds := func(o Options) {
				t.Helper()
				o.Cert = certs
				if list := mustNew(t, o).Config().Certificates; len(list) != 1 || !a.key.(*ecdsa.PrivateKey).Equal(list[0].PrivateKey) {
					t.Error("another key came out")
				}
			}
			covers(t, "CON-034")
			holds(Options{Key: []Key{{PEM: text}}, Passphrase: "secret"})
			refused(t, Options{Cert: certs, Key: []Key{{PEM: text}}}, "Options.Key[0]", CodeInvalidArgValue, "encrypted", "no passphrase")
			refused(t, Options{Cert: certs, Key: []Key{{PEM: text}}, Passphrase: "wrong"}, "Options.Key[0]", CodeInvalidArgValue, "passphrase is wrong")
			covers(t, "CON-016")
			covers(t, "LIS-017")
			holds(Options{Key: []Key{{PEM: text, Passphrase: "secret"}}, Passphrase: "wrong"})
			refused(t, Options{Cert: certs, Key: []Key{{PEM: text, Passphrase: "wrong"}}, Passphrase: "secret"}, "Options.Key[0]", CodeInvalidArgValue, "passphrase is wrong")
		})
	}
	der, err := pkcs12.Modern.Encode(a.key, a.cert, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	pfx := []PFX{{Buf: der}}
	covers(t, "CON-034")
	covers(t, "LIS-030")
	if list := mustNew(t, Options{PFX: pfx, Passphrase: "secret"}).Config().Certificates; len(list) != 1 || !a.key.(*ecdsa.PrivateKey).Equal(list[0].PrivateKey) {
		t.Error("another key came out of the bundle")
	}
	refused(t, Options{PFX: pfx}, "Options.PFX[0]", CodeInvalidArgValue, "no passphrase")
	refused(t, Options{PFX: pfx, Passphrase: "wrong"}, "Options.PFX[0]", CodeInvalidArgValue, "passphrase is wrong")
}

// A bundle stands in for key and chain, with a passphrase or without.
func TestBundles(t *testing.T) {
	root := authority(t, "root", nil)
	between := authority(t, "between", root)
	a := between.leaf(t, "a", newECDSA(t))
	bundleOf := func(e *pkcs12.Encoder, passphrase string) []byte {
		t.Helper()
		der, err := e.Encode(a.key, a.cert, []*x509.Certificate{root.cert, between.cert}, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	holds := func(o Options) {
		t.Helper()
		list := mustNew(t, o).Config().Certificates
		if len(list) != 1 || !a.key.(*ecdsa.PrivateKey).Equal(list[0].PrivateKey) ||
			!slices.EqualFunc(list[0].Certificate, [][]byte{a.cert.Raw, between.cert.Raw}, bytes.Equal) {
			t.Error("something else came out")
		}
	}
	modern, old, open := bundleOf(pkcs12.Modern, "secret"), bundleOf(pkcs12.LegacyDES, "secret"), bundleOf(pkcs12.Passwordless, "")
	covers(t, "CON-035")
	covers(t, "LIS-031")
	holds(Options{PFX: []PFX{{Buf: modern}}, Passphrase: "secret"})
	holds(Options{PFX: []PFX{{Buf: old}}, Passphrase: "secret"})
	holds(Options{PFX: []PFX{{Buf: open}}})
	refused(t, Options{PFX: []PFX{{Buf: open}, {Buf: modern}}}, "Options.PFX[1]", CodeInvalidArgValue, "no passphrase")
	refused(t, Options{PFX: []PFX{{Buf: modern}}, Passphrase: "wrong"}, "Options.PFX[0]", CodeInvalidArgValue, "passphrase is wrong")
	covers(t, "CON-036")
	covers(t, "LIS-032")
	refused(t, Options{PFX: []PFX{{Buf: modern[:len(modern)-1], Passphrase: "secret"}}}, "Options.PFX[0]", CodeInvalidArgValue)
	covers(t, "CON-037")
	covers(t, "LIS-033")
	holds(Options{PFX: []PFX{{Buf: modern, Passphrase: "secret"}}, Passphrase: "wrong"})
	refused(t, Options{PFX: []PFX{{Buf: modern, Passphrase: "wrong"}}, Passphrase: "secret"}, "Options.PFX[0]", CodeInvalidArgValue, "passphrase is wrong")
	// A bundle and a pair beside each other.
	other := root.leaf(t, "other", newRSA(t))
	both := mustNew(t, Options{Cert: [][]byte{other.pem()}, Key: []Key{{PEM: other.keyPEM(t)}}, PFX: []PFX{{Buf: open}}})
	if n := len(both.Config().Certificates); n != 2 {
		t.Errorf("%d identities, want 2", n)
	}
}
