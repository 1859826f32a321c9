// Package securecontext makes configurations for TLS 1.3 from what other systems
// keep them in: certificates and keys as PEM, encrypted or not, PKCS #12 bundles, revocation
// lists, and OpenSSL's names and numbers.
//
//	context, err := securecontext.New(securecontext.Options{
//		Cert: [][]byte{chainPEM},
//		Key:  []securecontext.Key{{PEM: keyPEM, Passphrase: "secret"}},
//	})
//	socket, err := quic.Listen(ctx, ":4433", quic.ListenOptions{ALPN: "x", SecureContext: context})
//
// A Context is the SecureContext of quic's options, at a client or a server, and what a
// server's handlers return to choose another for a session. Config gives it to crypto/tls. New reads
// everything, so that bad material is an error there and not in a handshake. Marks as CON-003
// in the comments are rows of the repository's docs/api-coverage.tsv.
//
// # Suites
//
// crypto/tls lets nobody choose the suites of TLS 1.3 or their order: it offers
// TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and TLS_CHACHA20_POLY1305_SHA256. With
// Options.Ciphers a handshake that ends with another suite than the listed fails, with a
// *CipherError. That alone does not make the peers agree on a listed one, and a list in another order
// is refused, as is HonorCipherOrder at a server.
//
// The build tag cinnabar_ciphers changes that: a handshake's offer is then the list, and
// a server chooses by its own order with HonorCipherOrder and by the client's without it.
// It works by writing crypto/tls's own lists, which are one pair for the whole process and are read
// without a lock: what one context sets holds for every TLS handshake of the program, also over
// TCP, until another sets something else, and a handshake at that very moment may see either. It is for
// programs with one list, and for tests.
//
// # Groups
//
// Options.ECDHCurve and Options.Groups say which groups may be used. Of several that both
// ends allow, crypto/tls takes the one that it likes best itself.
//
// # Options by bits
//
// Of OpenSSL's options, SSL_OP_NO_TICKET keeps a server from giving tickets and a client from
// using them, and SSL_OP_CIPHER_SERVER_PREFERENCE is HonorCipherOrder. Accepted because TLS 1.3 has it so
// anyway are SSL_OP_NO_SSLv3, SSL_OP_NO_TLSv1, SSL_OP_NO_TLSv1_1, SSL_OP_NO_TLSv1_2,
// SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_ENCRYPT_THEN_MAC and
// SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION. Every other bit is an error that names it.
//
// # Tickets
//
// A server's tickets are protected with Options.TicketKeys, or with quic.ListenOptions's, changed by
// SessionIDContext. Without either, listeners share nothing. A context with a SessionIDContext and no
// TicketKeys has one random key for as long as it lives; crypto/tls changes its own every day. A context that
// a listener's handler chooses has its own tickets too; without either it shares those of the listener, unless
// that has a SessionIDContext.
package securecontext
