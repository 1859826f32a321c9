//go:build cinnabar_ciphers

package securecontext

import (
	"slices"
	"sync"
	_ "unsafe" // for linkname
)

// canOrder tells whether setOffer does anything in this build.
const canOrder = true

// The lists from which crypto/tls's clients offer suites and its servers choose them:
// one for processors with instructions for AES, one for others. There is a pair of them for the
// whole process, read without a lock.

//go:linkname offerAES crypto/tls.defaultCipherSuitesTLS13
var offerAES []uint16

//go:linkname offerNoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var offerNoAES []uint16

var offering sync.Mutex

// setOffer makes a list the process's. It writes only what changes: a program with
// one list writes once, and races with no handshake after that. Every array is as long as
// crypto/tls's own, so that who reads in the middle of a change stays inside of it.
func setOffer(list []uint16) {
	offering.Lock()
	defer offering.Unlock()
	if slices.Equal(offerAES, list) && slices.Equal(offerNoAES, list) {
		return
	}
	fresh := append(make([]uint16, 0, len(ciphers)), list...)
	for i := len(fresh); i < cap(fresh); i++ {
		fresh[:cap(fresh)][i] = list[0]
	}
	offerAES, offerNoAES = fresh, fresh
}
