// Package cases is the public interoperability runner's list of cases in one process: both
// ends are packages quic and http3 with crypto/tls, in virtual time, and between them is the
// network that the runner builds. What must hold is read from the datagrams of either end and
// a key log, by package trace. All of it is tests.
package cases
