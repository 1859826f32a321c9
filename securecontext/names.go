package securecontext

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

type named[T any] struct {
	name  string
	value T
}

// ciphers are the suites of TLS 1.3 in crypto/tls, in the order that it offers them
// where the processor has AES, which is also the API document's default.
var ciphers = []named[uint16]{
	{"TLS_AES_128_GCM_SHA256", tls.TLS_AES_128_GCM_SHA256},
	{"TLS_AES_256_GCM_SHA384", tls.TLS_AES_256_GCM_SHA384},
	{"TLS_CHACHA20_POLY1305_SHA256", tls.TLS_CHACHA20_POLY1305_SHA256},
}

// curves are the groups of crypto/tls, under the names of the API document, IANA
// and OpenSSL.
var curves = []named[tls.CurveID]{
	{"X25519", tls.X25519},
	{"P-256", tls.CurveP256},
	{"P-384", tls.CurveP384},
	{"P-521", tls.CurveP521},
	{"X25519MLKEM768", tls.X25519MLKEM768},
	{"SecP256r1MLKEM768", tls.SecP256r1MLKEM768},
	{"SecP384r1MLKEM1024", tls.SecP384r1MLKEM1024},
	{"prime256v1", tls.CurveP256},
	{"secp256r1", tls.CurveP256},
	{"secp384r1", tls.CurveP384},
	{"secp521r1", tls.CurveP521},
	{"x25519", tls.X25519},
}

// Ciphers returns the names that Options.Ciphers accepts (CON-047).
func Ciphers() []string { return names(ciphers) }

// Curves returns the names that Options.ECDHCurve and Options.Groups accept besides
// "auto" (CON-048). Some groups have several.
func Curves() []string { return names(curves) }

func names[T any](table []named[T]) []string {
	list := make([]string, 0, len(table))
	for _, n := range table {
		list = append(list, n.name)
	}
	return list
}

// choose returns the values of a list of names with colons between them, each once.
func choose[T comparable](option, text string, table []named[T]) ([]T, error) {
	var list []T
	for name := range strings.SplitSeq(text, ":") {
		i := slices.IndexFunc(table, func(n named[T]) bool { return n.name == name })
		if i < 0 {
			return nil, &Error{
				Option: "Options." + option, Value: text, code: CodeInvalidArgValue,
				Err: fmt.Errorf("%q is none of %s", name, strings.Join(names(table), ", ")),
			}
		}
		if v := table[i].value; !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list, nil
}

// groups reads ECDHCurve and Groups. Which of the groups is taken where several would
// do is crypto/tls's choice.
func (c *Context) groups(o *Options) error {
	for _, list := range []struct{ option, text string }{{"ECDHCurve", o.ECDHCurve}, {"Groups", o.Groups}} {
		switch list.text {
		case "":
			continue
		case "auto":
			c.base.CurvePreferences = nil
			continue
		}
		var err error
		if c.base.CurvePreferences, err = choose(list.option, list.text, curves); err != nil {
			return err
		}
	}
	return nil
}
