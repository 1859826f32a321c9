package securecontext

import (
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestCiphers(t *testing.T) {
	covers(t, "CON-047")
	list := Ciphers()
	for _, name := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		if !slices.Contains(list, name) {
			t.Errorf("%s is not listed in %v", name, list)
		}
	}
	ids := make(map[string]uint16)
	for _, s := range tls.CipherSuites() {
		ids[s.Name] = s.ID
	}
	for _, name := range list {
		c := mustNew(t, Options{Ciphers: name})
		for other, id := range ids {
			if c.AllowsCipher(id) != (other == name) {
				t.Errorf("Ciphers %q allows %s: %v", name, other, c.AllowsCipher(id))
			}
		}
	}
	covers(t, "CON-005")
	covers(t, "LIS-004")
	refused(t, Options{Ciphers: "TLS_AES_128_GCM_SHA256:TLS_NOPE"}, "Options.Ciphers", CodeInvalidArgValue, `"TLS_NOPE"`)
	refused(t, Options{Ciphers: "tls_aes_128_gcm_sha256"}, "Options.Ciphers", CodeInvalidArgValue)
	refused(t, Options{Ciphers: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, "Options.Ciphers", CodeInvalidArgValue)
	refused(t, Options{Ciphers: "TLS_AES_128_GCM_SHA256:"}, "Options.Ciphers", CodeInvalidArgValue, `""`)
	if c := mustNew(t, Options{Ciphers: strings.Join(list, ":")}); !c.AllowsCipher(tls.TLS_CHACHA20_POLY1305_SHA256) {
		t.Error("the document's default does not allow the last of its suites")
	}
	if c := mustNew(t, Options{}); !c.AllowsCipher(tls.TLS_AES_256_GCM_SHA384) || c.Restricts() {
		t.Error("without Ciphers not all are allowed")
	}
}

// An order that crypto/tls does not have by itself needs the build tag, and the error
// says so.
func TestCipherOrderNeedsTag(t *testing.T) {
	turned := Options{Ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"}
	honor := mustNew(t, Options{HonorCipherOrder: true}).CheckServer()
	if canOrder {
		if mustNew(t, turned); honor != nil {
			t.Errorf("HonorCipherOrder: %v", honor)
		}
		return
	}
	refused(t, turned, "Options.Ciphers", CodeInvalidArgValue, "-tags cinnabar_ciphers")
	var e *Error
	if !errors.As(honor, &e) || e.Option != "Options.HonorCipherOrder" || !strings.Contains(honor.Error(), "-tags cinnabar_ciphers") {
		t.Errorf("HonorCipherOrder: %v", honor)
	}
	if err := mustNew(t, Options{}).CheckServer(); err != nil {
		t.Error(err)
	}
}

func TestCurves(t *testing.T) {
	covers(t, "CON-048")
	list := Curves()
	want := map[string]tls.CurveID{"P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521, "X25519": tls.X25519}
	for name := range want {
		if !slices.Contains(list, name) {
			t.Errorf("%s is not listed in %v", name, list)
		}
	}
	preferences := func(o Options) []tls.CurveID {
		t.Helper()
		return mustNew(t, o).Config().CurvePreferences
	}
	for _, name := range list {
		got := preferences(Options{ECDHCurve: name})
		if id := want[name]; len(got) != 1 || id != 0 && got[0] != id {
			t.Errorf("ECDHCurve %q gives %v", name, got)
		}
	}
	covers(t, "CON-010")
	covers(t, "LIS-011")
	both := []tls.CurveID{tls.CurveP384, tls.CurveP256}
	if got := preferences(Options{ECDHCurve: "P-384:prime256v1:P-256"}); !slices.Equal(got, both) {
		t.Errorf("the list gives %v", got)
	}
	if preferences(Options{}) != nil || preferences(Options{ECDHCurve: "auto"}) != nil {
		t.Error("auto is not crypto/tls's own list")
	}
	refused(t, Options{ECDHCurve: "P-256:brainpoolP256r1"}, "Options.ECDHCurve", CodeInvalidArgValue, `"brainpoolP256r1"`)
	refused(t, Options{ECDHCurve: "P-256:auto"}, "Options.ECDHCurve", CodeInvalidArgValue, `"auto"`)
	covers(t, "X-006")
	if got := preferences(Options{ECDHCurve: "P-521", Groups: "P-384:P-256"}); !slices.Equal(got, both) {
		t.Errorf("Groups gives %v", got)
	}
	if got := preferences(Options{ECDHCurve: "P-521", Groups: "auto"}); got != nil {
		t.Errorf("Groups auto gives %v", got)
	}
	if got := preferences(Options{Groups: "P-256:X25519:P-384:P-521"}); len(got) != 4 {
		t.Errorf("the document's default gives %v", got)
	}
	refused(t, Options{Groups: "P-257"}, "Options.Groups", CodeInvalidArgValue, `"P-257"`)
}

func TestSecureOptions(t *testing.T) {
	covers(t, "CON-042")
	covers(t, "LIS-040")
	const noTicket, serverPreference = 0x4000, 0x400000
	if c := mustNew(t, Options{SecureOptions: noTicket}); !c.Config().SessionTicketsDisabled {
		t.Error("SSL_OP_NO_TICKET does not act")
	}
	if c := mustNew(t, Options{}); c.Config().SessionTicketsDisabled || c.Restricts() {
		t.Error("no bits act")
	}
	if c := mustNew(t, Options{SecureOptions: serverPreference}); !c.Restricts() || !canOrder && c.CheckServer() == nil {
		t.Error("SSL_OP_CIPHER_SERVER_PREFERENCE does not act")
	}
	// SSLv3, TLS 1.0 to 1.2, compression and renegotiation are not there anyway.
	const kept = 0x02000000 | 0x04000000 | 0x10000000 | 0x08000000 | 0x00020000 | 0x40000000 | 0x00010000 | 0x00080000
	if c := mustNew(t, Options{SecureOptions: kept}).Config(); c.MinVersion != tls.VersionTLS13 || c.SessionTicketsDisabled {
		t.Error("what is so anyway has changed something")
	}
	for bit, name := range map[uint64]string{
		0x20000000: "SSL_OP_NO_TLSv1_3",
		0x00100000: "SSL_OP_ENABLE_MIDDLEBOX_COMPAT",
		0x00040000: "SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION",
		0x00000400: "SSL_OP_ALLOW_NO_DHE_KEX",
		0x01000000: "SSL_OP_NO_ANTI_REPLAY",
		0x00000004: "SSL_OP_LEGACY_SERVER_CONNECT",
	} {
		refused(t, Options{SecureOptions: kept | bit}, "Options.SecureOptions", CodeInvalidArgValue, name)
	}
	refused(t, Options{SecureOptions: 1 << 60}, "Options.SecureOptions", CodeInvalidArgValue, "0x1000000000000000")
}

func dhParams(t testing.TB, bits uint) []byte {
	t.Helper()
	prime := new(big.Int).Lsh(big.NewInt(1), bits-1)
	der, err := asn1.Marshal(struct{ P, G *big.Int }{prime.Add(prime, big.NewInt(1)), big.NewInt(2)})
	if err != nil {
		t.Fatal(err)
	}
	return toPEM("DH PARAMETERS", der)
}

func TestDHParam(t *testing.T) {
	covers(t, "CON-009")
	covers(t, "LIS-009")
	refused(t, Options{DHParam: dhParams(t, 1023)}, "Options.DHParam", CodeDHSize, "1023 bits", "1024 bits")
	mustNew(t, Options{DHParam: dhParams(t, 1024)})
	mustNew(t, Options{DHParam: dhParams(t, 2048)})
	for _, unusable := range [][]byte{nil, []byte("junk"), toPEM("DH PARAMETERS", []byte("junk")), toPEM("PARAMETERS", nil)} {
		if c := mustNew(t, Options{DHParam: unusable}); c.Restricts() {
			t.Errorf("%q has changed something", unusable)
		}
	}
	covers(t, "X-003")
	refused(t, Options{DHParam: dhParams(t, 2047), MinDHSize: 2048}, "Options.DHParam", "ERR_TLS_DH_PARAM_SIZE", "2047 bits", "2048 bits")
	mustNew(t, Options{DHParam: dhParams(t, 2048), MinDHSize: 2048})
	mustNew(t, Options{DHParam: dhParams(t, 768), MinDHSize: 512})
	mustNew(t, Options{MinDHSize: 4096})
	refused(t, Options{MinDHSize: -1}, "Options.MinDHSize", CodeOutOfRange, "-1")
}

func TestEngines(t *testing.T) {
	covers(t, "CON-006")
	covers(t, "LIS-005")
	refused(t, Options{ClientCertEngine: "unheard of"}, "Options.ClientCertEngine", "ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED", `"unheard of"`)
	name := fmt.Sprintf("card %d", serials.Add(1)) // a name is for good
	cert := &tls.Certificate{Certificate: [][]byte{{1}}}
	mine := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	if err := RegisterEngine(name, mine); err != nil {
		t.Fatal(err)
	}
	got, err := mustNew(t, Options{ClientCertEngine: name}).Config().GetClientCertificate(nil)
	if got != cert || err != nil {
		t.Errorf("the engine gives %v, %v", got, err)
	}
	for taken, e := range map[string]Engine{"": mine, name: mine, name + " nil": nil} {
		var bad *Error
		if err := RegisterEngine(taken, e); !errors.As(err, &bad) || bad.Code() != CodeInvalidArgValue {
			t.Errorf("RegisterEngine %q: %v", taken, err)
		}
	}
	if err := RegisterEngine(name+" silent", func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err = mustNew(t, Options{ClientCertEngine: name + " silent"}).Config().GetClientCertificate(nil); err == nil {
		t.Error("an engine may return nothing at all")
	}
}

// The keys of tickets are others under every SessionIDContext.
func TestPartitionTicketKeys(t *testing.T) {
	covers(t, "LIS-041")
	keys := [][32]byte{{1}, {2}}
	none := mustNew(t, Options{}).PartitionTicketKeys(keys)
	if !slices.Equal(none, keys) {
		t.Error("without a context the keys change")
	}
	a := mustNew(t, Options{SessionIDContext: "a"}).PartitionTicketKeys(keys)
	again := mustNew(t, Options{SessionIDContext: "a"}).PartitionTicketKeys(keys)
	b := mustNew(t, Options{SessionIDContext: "b"}).PartitionTicketKeys(keys)
	if !slices.Equal(a, again) || len(a) != 2 {
		t.Error("one context does not give the same keys twice")
	}
	all := slices.Concat(keys, a, b)
	for i := range all {
		if slices.Contains(all[:i], all[i]) {
			t.Errorf("key %d is one of another context", i)
		}
	}
}
