// Package interop holds tests only: Cinnabar talks with other implementations of
// QUIC over UDP on the loopback interface, each case once as the client and once as
// the server. README.md says what the cases are and how to run them.
package interop
