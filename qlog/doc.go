// Package qlog writes qlog: structured logs of QUIC connections that tools such as
// qvis can read, after draft-ietf-quic-qlog-main-schema and
// draft-ietf-quic-qlog-quic-events (draft 13).
//
// A Log takes events and makes records of them; a Spool makes of the records a file, as
// JSON text sequences (RFC 7464) or as one JSON text, and holds a bounded part of it for
// whoever reads. Nothing here starts a goroutine, asks for the time or waits.
// What a program uses are the options of package quic: SocketOptions.QLog and
// ConnectOptions.QLog, and Session.QLog.
//
// Values that a log must not give away are left out: keys and secrets, the bytes of
// stream data, and what tokens protect. Addresses, connection IDs and stateless
// reset tokens are in it.
//
// Of the drafts' QUIC events these cannot occur:
//   - server_listening, which belongs to no connection;
//   - spin_bit_updated: the spin bit of a connection has one random value for ever
//     (RFC 9000 §17.4);
//   - datagram_data_blocked_updated: what holds DATAGRAM frames back holds all data back, as
//     connection_data_blocked_updated tells;
//   - frames_created and frames_parsed: packet_sent and packet_received have all frames;
//   - udp_datagram_dropped: a datagram that no connection is known for is counted by the
//     socket, and one that holds nothing but useless packets shows as packet_dropped.
//
// Version Negotiation, Retry and stateless reset packets that a server sends are
// answers to what belongs to no connection, and are counted by the socket; a client
// logs those that it receives.
//
// Names beyond the drafts': timer types ack_delay, pacing, progress_timeout, keep_alive,
// key_discard, mtu_raise, original_id, retired_id and close; the frames ack_frequency and immediate_ack
// and the member min_ack_delay of parameters_set, in microseconds, for
// draft-ietf-quic-ack-frequency; the member congestion_controller of recovery_parameters_set; loglevel:warning with events_dropped (see Dropped).
package qlog
