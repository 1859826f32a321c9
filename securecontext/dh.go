package securecontext

import (
	"cmp"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
)

const defaultMinDHSize = 1024

// dh looks at DHParam. TLS 1.3 has no groups but its own, so nothing is kept of it.
func (c *Context) dh(o *Options) error {
	if o.MinDHSize < 0 {
		return &Error{Option: "Options.MinDHSize", Value: o.MinDHSize, Want: "0 or more bits", code: CodeOutOfRange}
	}
	least := cmp.Or(o.MinDHSize, defaultMinDHSize)
	if size, ok := primeSize(o.DHParam); ok && size < least {
		return &Error{
			Option: "Options.DHParam", Value: fmt.Sprintf("%d bits", size), Want: fmt.Sprintf("%d bits or more (Options.MinDHSize)", least),
			code: CodeDHSize,
		}
	}
	return nil
}

// primeSize returns the size in bits of the prime in Diffie-Hellman parameters.
func primeSize(text []byte) (int, bool) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "DH PARAMETERS" {
			continue
		}
		var params struct { // as PKCS #3 has it
			Prime, Generator *big.Int
			Length           int `asn1:"optional"`
		}
		rest, err := asn1.Unmarshal(block.Bytes, &params)
		if err != nil || len(rest) > 0 || params.Prime.Sign() <= 0 {
			return 0, false
		}
		return params.Prime.BitLen(), true
	}
	return 0, false
}
