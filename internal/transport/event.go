package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Level is an encryption level (RFC 9001 §2.1).
type Level uint8

const (
	LevelInitial Level = iota
	LevelEarly
	LevelHandshake
	LevelApp
)

// TLSEventKind says what a TLSEvent brings.
type TLSEventKind uint8

const (
	TLSReadSecret    TLSEventKind = iota // Level, Suite, Data: the secret
	TLSWriteSecret                       // Level, Suite, Data: the secret
	TLSWriteData                         // Level, Data: handshake bytes for the peer
	TLSParameters                        // Data: the peer's transport parameters
	TLSEarlyRejected                     // client: the server did not take 0-RTT
	TLSDone                              // the handshake is complete
	TLSError                             // Err: the handshake failed; close with it
)

// TLSEvent is what the TLS engine says to the connection. Data is borrowed for
// the call.
type TLSEvent struct {
	Kind  TLSEventKind
	Level Level
	Suite uint16
	Data  []byte
	Err   *wire.Error
}

// EventKind says what an Event reports.
type EventKind uint8

const (
	EventTLS              EventKind = iota // Data, owned by the receiver, goes to TLS at Level
	EventParameters                        // the peer's transport parameters are known and valid
	EventSecure                            // the handshake is complete
	EventConfirmed                         // the handshake is confirmed (RFC 9001 §4.1.2)
	EventEarlyRejected                     // client: 0-RTT was refused; stream data goes again from offset 0
	EventStream                            // Stream was opened by the peer
	EventReadable                          // Stream has data, its end or a reset to read
	EventWritable                          // Stream takes data again, or will never
	EventBlocked                           // Stream has data that flow control holds back
	EventStopped                           // Stream: the peer asked us to stop with Code; our reset follows by itself
	EventStreamAcked                       // Stream: all that was sent, and its end, is acknowledged; with WatchAcks each time that more is
	EventStreamDone                        // Stream is over in both directions; the last event about it
	EventCredit                            // Uni: the peer allows more streams of that kind
	EventIssued                            // CID: route this connection ID here
	EventRetired                           // CID: route it no longer
	EventTokenKnown                        // Token: a datagram that ends with it is a stateless reset
	EventTokenForgotten                    // Token: no longer
	EventNewToken                          // client: Data is a token for a later connection
	EventRestart                           // client: TLS has to begin anew, with other parameters and without a ticket; OK: early data is lost
	EventPathValidation                    // Path, OK: whether the path could be validated
	EventMigrated                          // Path: the connection now uses this path
	EventPreferredAddress                  // client: the server offers a preferred address (PeerParameters)
	EventDatagram                          // datagrams have come: take all with ReceiveDatagram
	EventDatagramFate                      // N datagrams from number Code on; OK: acknowledged, else lost or never sent
	EventKeyUpdate                         // a key update took place, started by either side
	EventClosed                            // Close: the connection is over; all streams are dead
	EventGone                              // nothing of the connection is needed any more
)

// Event is one thing that happened on a connection. Kind says which fields mean
// anything; Detail is nil for the kinds that need none of it.
type Event struct {
	Kind   EventKind
	Level  Level
	Uni    bool
	OK     bool
	N      uint32
	Code   uint64
	Stream *Stream
	*Detail
}

// Detail is what the rarer events report. It is apart from Event so that those of
// streams, of which there are many, stay small.
type Detail struct {
	Data  []byte
	CID   wire.ConnectionID
	Token wire.ResetToken
	Path  dgram.Path
	Close *CloseReason
}

// CloseKind says how a connection ended.
type CloseKind uint8

const (
	CloseLocal            CloseKind = iota // we closed it, or found a fault of the peer's
	ClosePeer                              // the peer closed it
	CloseIdle                              // nothing was heard for the idle timeout (RFC 9000 §10.1)
	CloseHandshakeTimeout                  // the handshake took too long
	CloseReset                             // the peer lost its state (RFC 9000 §10.3)
	CloseVersion                           // the server does not speak our version (RFC 9000 §6)
	CloseSilent                            // destroyed on our side without a word
)

// CloseReason is why a connection ended. App tells whether Code is the
// application's or one of wire.ErrorCode.
type CloseReason struct {
	Kind     CloseKind
	App      bool
	Code     uint64
	Frame    wire.FrameType
	Reason   string
	Limit    bool     // CloseLocal: the peer went past a limit of ours
	Versions []uint32 // CloseVersion: what the server offers
	Ours     []uint32 // CloseVersion: what we speak
	Version  uint32   // CloseVersion: of our first flight
}

// eventQueue holds events until Next takes them. Edge notices of streams
// coalesce through flags on the stream, so its length is bounded by the number
// of streams, connection IDs and packets in flight, which have the datagrams.
type eventQueue struct {
	list []Event
	head int
}

func (q *eventQueue) push(e Event) { q.list = append(q.list, e) }

// pushFate tells the fate of n datagrams, in the event before if that goes on from there.
func (q *eventQueue) pushFate(first uint64, n uint32, arrived bool) {
	if len(q.list) > q.head {
		e := &q.list[len(q.list)-1]
		if e.Kind == EventDatagramFate && e.OK == arrived && e.Code+uint64(e.N) == first && e.N+n > n {
			e.N += n
			return
		}
	}
	q.push(Event{Kind: EventDatagramFate, Code: first, N: n, OK: arrived})
}

// forTLS returns what goes to TLS at a level, to put more behind it: in the event before, if that is one for the
// level, because a peer may cut its messages into bytes.
func (q *eventQueue) forTLS(level Level) *[]byte {
	if len(q.list) > q.head {
		if e := &q.list[len(q.list)-1]; e.Kind == EventTLS && e.Level == level {
			return &e.Data
		}
	}
	d := new(Detail)
	q.push(Event{Kind: EventTLS, Level: level, Detail: d})
	return &d.Data
}

// rest gives the memory of an empty queue back.
func (q *eventQueue) rest() {
	if q.head == len(q.list) {
		*q = eventQueue{}
	}
}

func (q *eventQueue) pop() (Event, bool) {
	if q.head == len(q.list) {
		return Event{}, false
	}
	e := q.list[q.head]
	q.list[q.head] = Event{}
	q.head++
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
		if cap(q.list) > maxIdleEvents {
			q.list = nil
		}
	}
	return e, true
}
