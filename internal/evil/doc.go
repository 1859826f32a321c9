// Package evil is a QUIC peer without manners, for tests: it holds real keys at
// every level of RFC 9001 §4 and in both roles, knows no rule of RFC 9000, and says
// whatever a test wants said.
//
// It is made of three layers, each of which can be used without the next. Keys
// protect and open packets. A Peer adds connection IDs, packet numbers and what has
// arrived. A Talker adds a handshake, by crypto/tls, that goes as far as the test
// lets it. For a handshake without TLS, Message and Secret are what both ends of a
// scripted one know from the start.
//
// Nothing here has a socket, a clock or a goroutine but what crypto/tls brings along: datagrams
// and times are arguments and results.
package evil
