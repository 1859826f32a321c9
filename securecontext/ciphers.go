package securecontext

import (
	"crypto/tls"
	"errors"
	"slices"
)

// errNeedsTag is why something cannot be done in this build.
var errNeedsTag = errors.New("crypto/tls has one order of suites for the whole process: build with -tags cinnabar_ciphers to set that")

// suites reads Ciphers and HonorCipherOrder.
func (c *Context) suites(o *Options) error {
	c.honor = o.HonorCipherOrder || o.SecureOptions&opCipherServerPreference != 0
	if o.Ciphers == "" {
		return nil
	}
	list, err := choose("Ciphers", o.Ciphers, ciphers)
	if err != nil {
		return err
	}
	if !canOrder && !inOrder(list) {
		return &Error{Option: "Options.Ciphers", Value: o.Ciphers, code: CodeInvalidArgValue, Err: errNeedsTag}
	}
	c.allowed = list
	return nil
}

// inOrder reports whether a list keeps to crypto/tls's own order.
func inOrder(list []uint16) bool {
	last := -1
	for _, id := range list {
		i := slices.IndexFunc(ciphers, func(n named[uint16]) bool { return n.value == id })
		if i < last {
			return false
		}
		last = i
	}
	return true
}

// CheckServer returns an *Error if the options cannot be kept at a server: without
// the build tag cinnabar_ciphers that is HonorCipherOrder.
func (c *Context) CheckServer() error {
	if c.honor && !canOrder {
		return &Error{Option: "Options.HonorCipherOrder", Value: true, code: CodeInvalidArgValue, Err: errNeedsTag}
	}
	return nil
}

// AllowsCipher reports whether a suite of TLS 1.3 is one that Options.Ciphers lists.
func (c *Context) AllowsCipher(id uint16) bool {
	return c.allowed == nil || slices.Contains(c.allowed, id)
}

// OfferCiphers prepares crypto/tls for the next handshake: a client's with nil, which
// will offer the suites of Options.Ciphers and no others, and a server's with what
// the client offers, which will choose from them in the order of HonorCipherOrder. It does
// nothing unless there are Ciphers or HonorCipherOrder, and the program was built
// with the tag cinnabar_ciphers. The preparation is for the whole process and stays until the
// next: see the package's comment.
func (c *Context) OfferCiphers(hello []uint16) {
	if c.allowed == nil && !c.honor {
		return
	}
	own := c.allowed
	if own == nil {
		own = []uint16{ciphers[0].value, ciphers[1].value, ciphers[2].value}
	}
	if hello == nil || c.honor {
		setOffer(own)
		return
	}
	var list []uint16
	for _, id := range hello {
		if slices.Contains(own, id) && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	if len(list) > 0 { // else the handshake is going to be refused
		setOffer(list)
	}
}

// CipherError says that a suite was negotiated that Options.Ciphers does not list. The
// handshake has failed.
type CipherError struct{ Suite uint16 }

// Error names the suite.
func (e *CipherError) Error() string {
	return "securecontext: " + tls.CipherSuiteName(e.Suite) + " was negotiated, which Options.Ciphers does not list"
}

// Code returns "ERR_SSL_NO_SHARED_CIPHER".
func (e *CipherError) Code() string { return "ERR_SSL_NO_SHARED_CIPHER" }

// Unwrap returns the TLS alert handshake_failure.
func (e *CipherError) Unwrap() error { return tls.AlertError(40) }
