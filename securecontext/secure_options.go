package securecontext

import (
	"fmt"
	"math/bits"
)

// The bits of OpenSSL's options that act.
const (
	opNoTicket               = 0x00004000
	opCipherServerPreference = 0x00400000
)

// ops are the bits that OpenSSL has names for. Those that are kept ask for what TLS
// 1.3 in crypto/tls does anyway, or act.
var ops = map[uint64]struct {
	name string
	kept bool
}{
	0x00000001: {"SSL_OP_NO_EXTENDED_MASTER_SECRET", false},
	0x00000002: {"SSL_OP_CLEANSE_PLAINTEXT", false},
	0x00000004: {"SSL_OP_LEGACY_SERVER_CONNECT", false},
	0x00000008: {"SSL_OP_ENABLE_KTLS", false},
	0x00000010: {"SSL_OP_TLSEXT_PADDING", false},
	0x00000040: {"SSL_OP_SAFARI_ECDHE_ECDSA_BUG", false},
	0x00000080: {"SSL_OP_IGNORE_UNEXPECTED_EOF", false},
	0x00000100: {"SSL_OP_ALLOW_CLIENT_RENEGOTIATION", false},
	0x00000200: {"SSL_OP_DISABLE_TLSEXT_CA_NAMES", false},
	0x00000400: {"SSL_OP_ALLOW_NO_DHE_KEX", false},
	0x00000800: {"SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS", false},
	0x00001000: {"SSL_OP_NO_QUERY_MTU", false},
	0x00002000: {"SSL_OP_COOKIE_EXCHANGE", false},
	opNoTicket: {"SSL_OP_NO_TICKET", true},
	0x00008000: {"SSL_OP_CISCO_ANYCONNECT", false},
	0x00010000: {"SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION", true},
	0x00020000: {"SSL_OP_NO_COMPRESSION", true},
	0x00040000: {"SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION", false},
	0x00080000: {"SSL_OP_NO_ENCRYPT_THEN_MAC", true},
	0x00100000: {"SSL_OP_ENABLE_MIDDLEBOX_COMPAT", false},
	0x00200000: {"SSL_OP_PRIORITIZE_CHACHA", false},

	opCipherServerPreference: {"SSL_OP_CIPHER_SERVER_PREFERENCE", true},

	0x00800000: {"SSL_OP_TLS_ROLLBACK_BUG", false},
	0x01000000: {"SSL_OP_NO_ANTI_REPLAY", false},
	0x02000000: {"SSL_OP_NO_SSLv3", true},
	0x04000000: {"SSL_OP_NO_TLSv1", true},
	0x08000000: {"SSL_OP_NO_TLSv1_2", true},
	0x10000000: {"SSL_OP_NO_TLSv1_1", true},
	0x20000000: {"SSL_OP_NO_TLSv1_3", false},
	0x40000000: {"SSL_OP_NO_RENEGOTIATION", true},
	0x80000000: {"SSL_OP_CRYPTOPRO_TLSEXT_BUG", false},
}

// bits reads SecureOptions.
func (c *Context) bits(o *Options) error {
	for left := o.SecureOptions; left != 0; left &= left - 1 {
		bit := uint64(1) << bits.TrailingZeros64(left)
		op, known := ops[bit]
		if op.kept {
			continue
		}
		if !known {
			op.name = "a bit without a name"
		}
		return &Error{
			Option: "Options.SecureOptions", Value: fmt.Sprintf("%#x", o.SecureOptions), code: CodeInvalidArgValue,
			Err: fmt.Errorf("%#x, %s, cannot be had with TLS 1.3 of crypto/tls", bit, op.name),
		}
	}
	c.base.SessionTicketsDisabled = o.SecureOptions&opNoTicket != 0
	return nil
}
