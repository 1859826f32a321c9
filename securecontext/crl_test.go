package securecontext

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

// revoke makes a's list of revoked certificates, good for a day from its time.
func (a *issuer) revoke(t testing.TB, from time.Time, certs ...*issuer) []byte {
	t.Helper()
	return toPEM("X509 CRL", a.revokeDER(t, &x509.RevocationList{ThisUpdate: from, NextUpdate: from.AddDate(0, 0, 1)}, certs...))
}

func (a *issuer) revokeDER(t testing.TB, l *x509.RevocationList, certs ...*issuer) []byte {
	t.Helper()
	l.Number = big.NewInt(serials.Add(1))
	for _, c := range certs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.cert.SerialNumber, RevocationTime: l.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestRevocation(t *testing.T) {
	root := authority(t, "root", nil)
	between := authority(t, "between", root)
	good, bad := between.leaf(t, "good", newECDSA(t)), between.leaf(t, "bad", newECDSA(t))
	twin := authority(t, "between", nil) // of the same name, and with another key
	forged := sign(t, "between", newECDSA(t), nil, true)
	forged.cert.SubjectKeyId = between.cert.SubjectKeyId
	// part makes a list that is only for what names the place n.
	part := func(n byte, from time.Time, certs ...*issuer) []byte {
		place := []byte{0x30, 0x07, 0xa0, 0x05, 0xa0, 0x03, 0x86, 0x01, 'a' + n}
		return between.revokeDER(t, &x509.RevocationList{
			ThisUpdate: from, NextUpdate: from.AddDate(0, 0, 1),
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: place}},
		}, certs...)
	}
	yesterday, tomorrow := today.AddDate(0, 0, -1), today.AddDate(0, 0, 1)
	goodChain := []*x509.Certificate{good.cert, between.cert, root.cert}
	badChain := []*x509.Certificate{bad.cert, between.cert, root.cert}
	for _, test := range []struct {
		name   string
		crl    [][]byte
		chains [][]*x509.Certificate
		want   string
	}{
		{"no list", nil, [][]*x509.Certificate{badChain}, ""},
		{"listed", [][]byte{between.revoke(t, today, bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"not listed", [][]byte{between.revoke(t, today, bad)}, [][]*x509.Certificate{goodChain}, ""},
		{"as DER", [][]byte{between.revokeDER(t, &x509.RevocationList{ThisUpdate: today, NextUpdate: tomorrow}, bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"good for long", [][]byte{between.revokeDER(t, &x509.RevocationList{ThisUpdate: yesterday, NextUpdate: today.AddDate(99, 0, 0)})}, [][]*x509.Certificate{goodChain}, ""},
		{"the second of an element", [][]byte{slices.Concat(root.revoke(t, today), between.revoke(t, today, bad))}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"an intermediate", [][]byte{root.revoke(t, today, between)}, [][]*x509.Certificate{goodChain}, "CERT_REVOKED"},
		{"of another authority", [][]byte{root.revoke(t, today, bad)}, [][]*x509.Certificate{badChain}, ""},
		{"of another key", [][]byte{twin.revoke(t, today, bad)}, [][]*x509.Certificate{badChain}, ""},
		{"forged", [][]byte{forged.revoke(t, today)}, [][]*x509.Certificate{goodChain}, "CRL_SIGNATURE_FAILURE"},
		{"too old", [][]byte{between.revoke(t, yesterday.Add(-time.Second))}, [][]*x509.Certificate{goodChain}, "CRL_HAS_EXPIRED"},
		{"too old and listed", [][]byte{between.revoke(t, yesterday.Add(-time.Second), bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"on its last second", [][]byte{between.revoke(t, yesterday)}, [][]*x509.Certificate{goodChain}, ""},
		{"too new", [][]byte{between.revoke(t, tomorrow)}, [][]*x509.Certificate{goodChain}, "CRL_NOT_YET_VALID"},
		{"released since", [][]byte{between.revoke(t, yesterday, bad), between.revoke(t, today)}, [][]*x509.Certificate{badChain}, ""},
		{"revoked since", [][]byte{between.revoke(t, today, bad), between.revoke(t, yesterday)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"in another part", [][]byte{part(1, today), part(2, yesterday, bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"in a part besides the whole", [][]byte{between.revoke(t, today), part(2, yesterday, bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"in no part", [][]byte{part(1, today, good), part(2, today)}, [][]*x509.Certificate{badChain}, ""},
		{"released in a part", [][]byte{part(1, today), part(2, today), part(2, yesterday, bad)}, [][]*x509.Certificate{badChain}, ""},
		{"one part too old", [][]byte{part(1, today), part(2, yesterday.Add(-time.Second))}, [][]*x509.Certificate{badChain}, "CRL_HAS_EXPIRED"},
		{"one part too old, revoked in another", [][]byte{part(1, tomorrow), part(2, today, bad)}, [][]*x509.Certificate{badChain}, "CERT_REVOKED"},
		{"one good chain of two", [][]byte{root.revoke(t, today, between)}, [][]*x509.Certificate{goodChain, {good.cert, twin.cert}}, ""},
		{"a root that revokes itself", [][]byte{root.revoke(t, today, root)}, [][]*x509.Certificate{{root.cert}}, "CERT_REVOKED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			covers(t, "CON-007")
			covers(t, "LIS-007")
			err := mustNew(t, Options{CRL: test.crl}).CheckRevocation(test.chains, today)
			var e *RevocationError
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &e) || e.Reason != test.want || e.Code() != test.want) {
				t.Errorf("CheckRevocation: %v, want %q", err, test.want)
			}
			if alert := tls.AlertError(0); test.want == "CERT_REVOKED" && (!errors.As(err, &alert) || alert != 44) {
				t.Errorf("the alert is %v", alert)
			}
		})
	}
}

// A list that says more than is understood is refused.
func TestRevocationListsRefused(t *testing.T) {
	root := authority(t, "root", nil)
	value, _ := asn1.Marshal(1)
	delta := root.revokeDER(t, &x509.RevocationList{
		ThisUpdate: today, NextUpdate: today.AddDate(0, 0, 1),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: value}},
	})
	indirect := root.revokeDER(t, &x509.RevocationList{
		ThisUpdate: today, NextUpdate: today.AddDate(0, 0, 1),
		RevokedCertificateEntries: []x509.RevocationListEntry{{
			SerialNumber: big.NewInt(1), RevocationTime: today,
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: value}},
		}},
	})
	covers(t, "CON-007")
	refused(t, Options{CRL: [][]byte{toPEM("X509 CRL", delta)}}, "Options.CRL[0]", CodeInvalidArgValue, "delta")
	refused(t, Options{CRL: [][]byte{toPEM("X509 CRL", indirect)}}, "Options.CRL[0]", CodeInvalidArgValue, "indirect")
	refused(t, Options{CRL: [][]byte{root.revoke(t, today), []byte("junk")}}, "Options.CRL[1]", CodeInvalidArgValue, "no revocation list")
	refused(t, Options{CRL: [][]byte{toPEM("X509 CRL", []byte("junk"))}}, "Options.CRL[0]", CodeInvalidArgValue)
}
