//go:build !cinnabar_ciphers

package quic

// taggedCiphers says which build this is.
const taggedCiphers = false
