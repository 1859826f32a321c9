// Package trace takes recorded datagrams apart, as Wireshark would, and says whether a
// run over a network was what it should have been. It is for tests.
//
// It shares no code with the stack: headers, frames, key schedule and TLS messages are
// read here a second time, from the datagrams and an NSS key log alone, so that a test
// which judges by them does not believe what an end says of itself, nor repeat its
// mistakes. QUIC version 1 and version 2 (RFC 9369) are known.
//
// Decode makes a Trace of what was seen at one end of a network. A Run is the two ends
// together, and its methods are the checks of the public interoperability runner.
package trace
