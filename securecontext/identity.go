package securecontext

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// identity is a key with where it came from, for errors.
type identity struct {
	option string
	key    crypto.Signer
	used   bool
}

// shown is a certificate that may be sent, with where it came from.
type shown struct {
	option string
	cert   *x509.Certificate
}

// identities matches keys with certificates, and puts the chains together.
func (c *Context) identities(o *Options) error {
	var keys []identity
	var certs []shown
	for i, b := range o.Cert {
		list, err := certificates(b)
		if err != nil {
			return invalid(at("Cert", i), err)
		}
		for _, cert := range list {
			certs = append(certs, shown{at("Cert", i), cert})
		}
	}
	for i, k := range o.Key {
		list, err := privateKeys(k.PEM, cmp.Or(k.Passphrase, o.Passphrase))
		if err != nil {
			return invalid(at("Key", i), err)
		}
		for _, key := range list {
			keys = append(keys, identity{option: at("Key", i), key: key})
		}
	}
	for i, p := range o.PFX {
		key, list, err := bundle(p.Buf, cmp.Or(p.Passphrase, o.Passphrase))
		if err != nil {
			return invalid(at("PFX", i), err)
		}
		keys = append(keys, identity{option: at("PFX", i), key: key})
		for _, cert := range list {
			certs = append(certs, shown{at("PFX", i), cert})
		}
	}
	return c.match(keys, certs)
}

// match makes a tls.Certificate of every certificate that there is a key for. The
// order is that of the certificates.
func (c *Context) match(keys []identity, certs []shown) error {
	var served []string // options that have given a leaf
	for _, s := range certs {
		i := slices.IndexFunc(keys, func(k identity) bool { return fits(k.key, s.cert) })
		if i < 0 {
			continue
		}
		keys[i].used = true
		served = append(served, s.option)
		c.base.Certificates = append(c.base.Certificates, tls.Certificate{
			Certificate: chain(s.cert, certs),
			PrivateKey:  keys[i].key,
			Leaf:        s.cert,
		})
	}
	for _, k := range keys {
		if !k.used {
			return invalid(k.option, fmt.Errorf("no certificate in Options.Cert is for this key"))
		}
	}
	for _, s := range certs {
		if !slices.Contains(served, s.option) && !s.cert.IsCA {
			return invalid(s.option, fmt.Errorf("no key in Options.Key is for the certificate of %q", s.cert.Subject))
		}
	}
	if len(certs) > 0 && len(keys) == 0 {
		return invalid(certs[0].option, fmt.Errorf("no key in Options.Key is for the certificate of %q", certs[0].cert.Subject))
	}
	return nil
}

func fits(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// chain returns a leaf and the certificates above it, as far as they were given, but
// no root: who trusts it has it.
func chain(leaf *x509.Certificate, certs []shown) [][]byte {
	list := [][]byte{leaf.Raw}
	for at := leaf; ; {
		i := slices.IndexFunc(certs, func(s shown) bool {
			above := s.cert
			return bytes.Equal(above.RawSubject, at.RawIssuer) && !bytes.Equal(above.RawSubject, above.RawIssuer) &&
				at.CheckSignatureFrom(above) == nil &&
				!slices.ContainsFunc(list, func(raw []byte) bool { return bytes.Equal(raw, above.Raw) })
		})
		if i < 0 {
			return list
		}
		at = certs[i].cert
		list = append(list, at.Raw)
	}
}
