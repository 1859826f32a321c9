package securecontext

import (
	"encoding/asn1"
	"errors"
	"math/big"
)

// mostWork is how often a passphrase may be hashed for one file: some seconds.
const mostWork = 1 << 24

var errCostly = errors.New("it asks for more hashing of the passphrase than any honest file: encrypt it anew, with 10,000,000 iterations at most")

// affordable refuses an encrypted key or bundle that would take hours to open, or more
// memory than there is. It finds the parameters by their shape, which PBKDF2, scrypt and those of
// PKCS #12 have in common: numbers behind a salt.
func affordable(der []byte) error {
	if work(der, 0) > mostWork {
		return errCostly
	}
	return nil
}

// work adds up what a DER text asks for, as far as it can be read.
func work(der []byte, depth int) (sum uint64) {
	const deepest = 32
	var salted bool
	var numbers []*big.Int
	for len(der) > 0 && depth < deepest && sum <= mostWork {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			break
		}
		here := der[:len(der)-len(rest)]
		der = rest
		universal := v.Class == asn1.ClassUniversal
		switch {
		case v.IsCompound:
			sum += work(v.Bytes, depth+1)
		case universal && v.Tag == asn1.TagOctetString:
			salted, numbers = true, nil
			sum += work(v.Bytes, depth+1)
		case universal && v.Tag == asn1.TagInteger && salted:
			var n *big.Int
			if _, err := asn1.Unmarshal(here, &n); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	return sum + price(numbers)
}

// price is the work behind the numbers: iterations, and for some a length that does not
// matter; or the three of scrypt (RFC 7914 §7.1), which cost memory besides.
func price(numbers []*big.Int) uint64 {
	total := big.NewInt(0)
	switch {
	case len(numbers) >= 3:
		total.Mul(numbers[0], numbers[1])
		total.Mul(total, numbers[2]).Lsh(total, 1)
	case len(numbers) > 0:
		total = numbers[0]
	}
	if total.Sign() < 0 || total.BitLen() > 32 {
		return mostWork + 1
	}
	return total.Uint64()
}
