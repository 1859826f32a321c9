// Package transport is the QUIC connection as a machine without I/O (RFC 9000
// §5-§10, §14): Conn is one connection, Mux is an endpoint that routes
// datagrams to connections and answers the rest without keeping state.
//
// Time, randomness and datagrams are arguments; what should happen in the
// world comes back as values: batches from Transmit, events from Next, a time
// from Deadline. The owner calls the methods of one Conn one at a time, and
// those of one Mux one at a time; the two share no state.
//
// After every call that may have changed a Conn the owner drains Next, then
// sends what Transmit gives until it gives nothing, then arms a timer for
// Deadline. Events come before batches because a connection ID must be
// routable before the peer learns of it.
package transport
