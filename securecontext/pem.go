package securecontext

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

var (
	errMissingPassphrase = errors.New("it is encrypted, and there is no passphrase for it")
	errWrongPassphrase   = errors.New("it is encrypted, and the passphrase is wrong")
)

// certificateLabels are those that OpenSSL reads certificates from.
var certificateLabels = []string{"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}

// certificates reads all certificates of a PEM text, of which there must be one.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !slices.Contains(certificateLabels, block.Type) {
			continue
		}
		der := block.Bytes
		if block.Type == "TRUSTED CERTIFICATE" {
			der = first(der) // what OpenSSL trusts it for comes after it
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list), err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return list, nil
}

// first returns the first DER value of several.
func first(der []byte) []byte {
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &v); err == nil {
		return der[:len(der)-len(rest)]
	}
	return der
}

// privateKeys reads all private keys of a PEM text, of which there must be one.
func privateKeys(text []byte, passphrase string) ([]crypto.Signer, error) {
	var list []crypto.Signer
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY")) {
			continue // EC PARAMETERS, a certificate
		}
		key, err := privateKey(block, passphrase)
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no PEM private key in it")
	}
	return list, nil
}

func privateKey(block *pem.Block, passphrase string) (crypto.Signer, error) {
	der := block.Bytes
	//lint:ignore SA1019 weak as it is, keys come this way, and whoever can change the file can as well read it
	if x509.IsEncryptedPEMBlock(block) {
		if passphrase == "" {
			return nil, errMissingPassphrase
		}
		var err error
		//lint:ignore SA1019 as above
		if der, err = x509.DecryptPEMBlock(block, []byte(passphrase)); err != nil {
			return nil, fmt.Errorf("%w: %w", errWrongPassphrase, err)
		}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		return encryptedKey(der, passphrase)
	}
	key, err := parseKey(block.Type, der)
	if err != nil && len(block.Headers) > 0 && passphrase != "" {
		// One wrong passphrase of 256 leaves something that looks like padding.
		return nil, fmt.Errorf("%w: %w", errWrongPassphrase, err)
	}
	return key, err
}

func parseKey(label string, der []byte) (crypto.Signer, error) {
	var key any
	var err error
	switch label {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		err = fmt.Errorf("PEM label %q is unknown", label)
	}
	if err != nil {
		return nil, err
	}
	return signer(key)
}

// signer refuses keys that cannot sign a handshake.
func signer(key any) (crypto.Signer, error) {
	if s, ok := key.(crypto.Signer); ok {
		return s, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", key)
}

// encryptedKey opens an encrypted PKCS #8 key.
func encryptedKey(der []byte, passphrase string) (crypto.Signer, error) {
	if passphrase == "" {
		return nil, errMissingPassphrase
	}
	if err := affordable(der); err != nil {
		return nil, err
	}
	key, err := careful(func() (any, error) {
		key, _, err := pkcs8.ParsePrivateKey(der, []byte(passphrase))
		return key, err
	})
	if err != nil {
		if err.Error() == "pkcs8: incorrect password" { // it has no name
			return nil, errWrongPassphrase
		}
		return nil, err
	}
	return signer(key)
}

// bundle opens a PKCS #12 bundle.
func bundle(der []byte, passphrase string) (crypto.Signer, []*x509.Certificate, error) {
	if err := affordable(der); err != nil {
		return nil, nil, err
	}
	var certs []*x509.Certificate
	key, err := careful(func() (any, error) {
		key, cert, above, err := pkcs12.DecodeChain(der, passphrase)
		certs = append([]*x509.Certificate{cert}, above...)
		return key, err
	})
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && passphrase == "":
		return nil, nil, errMissingPassphrase
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, errWrongPassphrase
	case err != nil:
		return nil, nil, err
	}
	s, err := signer(key)
	return s, certs, err
}

// careful calls a parser of somebody else's. What is wrong with a file must not end
// the process.
func careful[T any](parse func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	return parse()
}
