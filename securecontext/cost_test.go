package securecontext

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// dearer makes of every place where a number follows a salt a text with a byte less of
// salt, and 2^30 in place of the number.
func dearer(t testing.TB, der, number []byte) (list [][]byte) {
	t.Helper()
	for at := 0; ; {
		i := bytes.Index(der[at:], number)
		if i < 0 {
			break
		}
		at += i
		for salt := 8; salt <= 32; salt++ {
			if from := at - salt - 2; from >= 0 && der[from] == 4 && int(der[from+1]) == salt {
				text := bytes.Clone(der)
				text[from+1]--
				copy(text[at-1:], []byte{2, 4, 0x40, 0, 0, 0})
				list = append(list, text)
			}
		}
		at++
	}
	return list
}

// What would take hours or gigabytes to open is refused at once, and what is only strong
// is not.
func TestCostlyFiles(t *testing.T) {
	a := authority(t, "root", nil).leaf(t, "a", newECDSA(t))
	for name, test := range map[string]struct {
		kdf    pkcs8.KDFOpts
		number []byte
	}{
		"PBKDF2": {pkcs8.PBKDF2Opts{SaltSize: 9, IterationCount: 33_000, HMACHash: crypto.SHA256}, []byte{2, 3, 0, 0x80, 0xe8}},
		"scrypt": {pkcs8.ScryptOpts{SaltSize: 9, CostParameter: 1 << 15, BlockSize: 8, ParallelizationParameter: 1}, []byte{2, 3, 0, 0x80, 0}},
	} {
		der, err := pkcs8.MarshalPrivateKey(a.key, []byte("secret"), &pkcs8.Opts{Cipher: pkcs8.AES256CBC, KDFOpts: test.kdf})
		if err != nil {
			t.Fatal(err)
		}
		options := func(der []byte) Options {
			return Options{Cert: [][]byte{a.pem()}, Key: []Key{{PEM: toPEM("ENCRYPTED PRIVATE KEY", der)}}, Passphrase: "secret"}
		}
		if _, err := New(options(der)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		list := dearer(t, der, test.number)
		for _, text := range list {
			refused(t, options(text), "Options.Key[0]", CodeInvalidArgValue, "encrypt it anew")
		}
		if len(list) != 1 {
			t.Errorf("%s: %d places", name, len(list))
		}
	}
	for name, encoder := range map[string]*pkcs12.Encoder{"modern": pkcs12.Modern, "old": pkcs12.LegacyDES} {
		der, err := encoder.WithIterations(33_000).WithRand(rand.Reader).Encode(a.key, a.cert, []*x509.Certificate{}, "secret")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{PFX: []PFX{{der, "secret"}}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		list := dearer(t, der, []byte{2, 3, 0, 0x80, 0xe8})
		for _, text := range list {
			refused(t, Options{PFX: []PFX{{text, "secret"}}}, "Options.PFX[0]", CodeInvalidArgValue, "encrypt it anew")
		}
		if len(list) < 2 {
			t.Errorf("%s: %d places", name, len(list))
		}
	}
}
