package securecontext

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// revocations is a list of revoked certificates.
type revocations struct {
	list    *x509.RevocationList
	serials map[string]struct{}
	part    string // of the issuer's certificates it is for, "" for all (RFC 5280 §5.2.5)
}

// RevocationError says that a certificate that verifies otherwise is revoked, or that
// the list which would tell is not good.
type RevocationError struct {
	Reason      string // "CERT_REVOKED", "CRL_HAS_EXPIRED", "CRL_NOT_YET_VALID" or "CRL_SIGNATURE_FAILURE"
	Certificate *x509.Certificate
}

// Error names the certificate and what is wrong.
func (e *RevocationError) Error() string {
	what := map[string]string{
		reasonRevoked:   "is revoked",
		reasonExpired:   "may be revoked: its issuer's revocation list is past its next update",
		reasonNotYet:    "may be revoked: its issuer's revocation list is not valid yet",
		reasonSignature: "may be revoked: its issuer has not signed the revocation list in its name",
	}
	return fmt.Sprintf("securecontext: certificate %x of %q %s", e.Certificate.SerialNumber, e.Certificate.Subject, what[e.Reason])
}

// Code returns the Reason.
func (e *RevocationError) Code() string { return e.Reason }

// Unwrap returns the TLS alert certificate_revoked, or bad_certificate_status_response
// where the list is not good.
func (e *RevocationError) Unwrap() error {
	if e.Reason == reasonRevoked {
		return tls.AlertError(44)
	}
	return tls.AlertError(113)
}

const (
	reasonRevoked   = "CERT_REVOKED"
	reasonExpired   = "CRL_HAS_EXPIRED"
	reasonNotYet    = "CRL_NOT_YET_VALID"
	reasonSignature = "CRL_SIGNATURE_FAILURE"
)

// lists reads CRL.
func (c *Context) lists(o *Options) error {
	for i, b := range o.CRL {
		list, err := revocationLists(b)
		if err != nil {
			return invalid(at("CRL", i), err)
		}
		c.crls = append(c.crls, list...)
	}
	// Of several lists of an issuer for the same the newest counts.
	slices.SortStableFunc(c.crls, func(a, b revocations) int { return b.list.ThisUpdate.Compare(a.list.ThisUpdate) })
	return nil
}

func revocationLists(b []byte) ([]revocations, error) {
	var all []revocations
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := revocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, list)
	}
	if len(all) == 0 {
		list, err := revocationList(b)
		if err != nil {
			return nil, errors.New("there is no revocation list in it, in PEM or DER")
		}
		all = append(all, list)
	}
	return all, nil
}

var (
	distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	errCriticalCRL    = errors.New("a part of the revocation list must be understood and is not: it is a delta or an indirect list")
)

func revocationList(der []byte) (revocations, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return revocations{}, err
	}
	r := revocations{list: list, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(distributionPoint):
			r.part = string(e.Value)
		case e.Critical:
			return revocations{}, errCriticalCRL
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return revocations{}, errCriticalCRL
			}
		}
		r.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	return r, nil
}

// CheckRevocation returns a *RevocationError if every chain, leaf first as crypto/x509
// verifies them, has a certificate that Options.CRL revokes at a time. A list counts for the
// certificates of the issuer that has signed it, the newest if there are several; where an issuer
// keeps lists for parts of its certificates, the newest of each part. An issuer one of
// whose lists is past its next update, or not valid yet, or not signed by it, leaves its
// certificates in doubt, and that is an error too; one without a list revokes nothing.
func (c *Context) CheckRevocation(chains [][]*x509.Certificate, now time.Time) error {
	if len(c.crls) == 0 {
		return nil
	}
	var first error
	for _, chain := range chains {
		err := c.checkChain(chain, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (c *Context) checkChain(chain []*x509.Certificate, now time.Time) error {
	for i, cert := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		if i > 0 && issuer == cert {
			return nil // a root has only itself to ask
		}
		if reason := c.revoked(cert, issuer, now); reason != "" {
			return &RevocationError{reason, cert}
		}
	}
	return nil
}

// revoked returns what is wrong with a certificate of an issuer, "" if nothing is.
func (c *Context) revoked(cert, issuer *x509.Certificate, now time.Time) (doubt string) {
	var parts []string // that were looked at
	for _, r := range c.crls {
		id := r.list.AuthorityKeyId
		if !bytes.Equal(r.list.RawIssuer, issuer.RawSubject) ||
			len(id) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(id, issuer.SubjectKeyId) {
			continue // of another authority, or of another key of the same name
		}
		if slices.Contains(parts, r.part) {
			continue // there is a newer one
		}
		parts = append(parts, r.part)
		reason := r.about(cert, issuer, now)
		if reason == reasonRevoked {
			return reason
		}
		doubt = cmp.Or(doubt, reason)
	}
	return doubt
}

// about returns what the list says of a certificate, "" if it says nothing.
func (r *revocations) about(cert, issuer *x509.Certificate, now time.Time) string {
	if r.list.CheckSignatureFrom(issuer) != nil {
		return reasonSignature
	}
	_, listed := r.serials[string(cert.SerialNumber.Bytes())]
	switch {
	case listed:
		return reasonRevoked
	case now.Before(r.list.ThisUpdate):
		return reasonNotYet
	case !r.list.NextUpdate.IsZero() && now.After(r.list.NextUpdate):
		return reasonExpired
	}
	return ""
}

// verify is what crypto/tls does not check by itself.
func (c *Context) verify(state tls.ConnectionState) error {
	if !c.AllowsCipher(state.CipherSuite) {
		return &CipherError{state.CipherSuite}
	}
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	return c.CheckRevocation(state.VerifiedChains, time.Now())
}
