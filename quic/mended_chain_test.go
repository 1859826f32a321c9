package quic

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// The issuers of a peer that nobody has verified are looked for as long as that takes no more signatures
// than verification would check; what is found by then is the chain.
func TestChainChecks(t *testing.T) {
	most := limits.Bound(t, "chain-checks")
	root := newIssuer(t, "root", nil, nil)
	other := newIssuer(t, "root", nil, nil) // has the name, and has not signed
	agent := root.leaf(t, "agent")
	sent := func(decoys int, rest ...*x509.Certificate) *tls.ConnectionState {
		list := append([]*x509.Certificate{agent.cert}, slices.Repeat([]*x509.Certificate{other.cert}, decoys)...)
		return &tls.ConnectionState{PeerCertificates: append(list, rest...)}
	}
	if got := chainOf(sent(most-1, root.cert)); len(got) != 1 || got[0] != root.cert {
		t.Errorf("the issuer that the last signature finds: %v", got)
	}
	if got := chainOf(sent(most, root.cert)); len(got) != 0 {
		t.Errorf("behind %d that have not signed %d issuers are found", most, len(got))
	}

	// A straight chain, from the end of which every step looks at one certificate.
	at := root
	line := []*x509.Certificate{root.cert}
	for range most + 5 {
		at = newIssuer(t, at.cert.Subject.CommonName+"'", at, nil)
		line = append(line, at.cert)
	}
	slices.Reverse(line)
	got := chainOf(&tls.ConnectionState{PeerCertificates: line})
	if !slices.Equal(got, line[1:1+most]) {
		t.Errorf("%d issuers of %d are found, want %d", len(got), len(line)-1, most)
	}
	if got := names((&Session{tlsState: &tls.ConnectionState{PeerCertificates: line}}).PeerCertificate(true)); len(got) != 1+most {
		t.Errorf("%d certificates are linked", len(got))
	}

	// Two names in turns, each signed by the one before: from the newest, the issuer is always the last of
	// those that have its name, and the chain of all would take the square of them.
	line = line[:0]
	for i := range most {
		at = newIssuer(t, []string{"even", "odd"}[i%2], at, nil)
		line = append(line, at.cert)
	}
	last := line[most-1]
	got = chainOf(&tls.ConnectionState{PeerCertificates: append([]*x509.Certificate{last}, line[:most-1]...)})
	if want := []*x509.Certificate{line[most-2], line[most-3]}; !slices.Equal(got, want) { // for half of them each
		t.Errorf("%d issuers of two names are found, want 2", len(got))
	}
}
