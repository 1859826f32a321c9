// Package qpack compresses HTTP fields for HTTP/3: RFC 9204 whole, with the
// dynamic table in both directions. It is a pure machine: bytes in, bytes out,
// without goroutines, locks or streams of its own.
//
// # Two streams beside the requests
//
// An [Encoder] turns a list of fields into a field section, which travels on the
// request's stream, and into instructions, which travel on the encoder stream and
// build the dynamic table of the peer's [Decoder]. That one answers on the decoder
// stream: which sections it has processed, how many insertions it has seen, what it
// has given up. An endpoint has one Encoder and one Decoder for a connection.
//
//	section := encoder.AppendSection(nil, streamID, fields)
//	n := write(encoderStream, encoder.Instructions()) // with the section, or before it
//	encoder.Sent(n)
//
//	decoder.Receive(bytes of the peer's encoder stream)
//	fields, err := decoder.Decode(nil, streamID, section, limit)
//	n = write(decoderStream, decoder.Instructions())
//	decoder.Sent(n)
//
// Streams are not ordered among themselves, so a section may arrive before the
// insertions that it needs. Decode then returns [ErrBlocked]; the caller keeps the
// section, leaves it in its stream's flow-control window, and tries again when
// [Decoder.InsertCount] has come to what [Decoder.RequiredInsertCount] says then.
//
// # What the encoder does
//
// It starts with the static table alone. Once the peer's settings are known
// ([Encoder.SetLimits]), it inserts fields whose names are known to repeat at once,
// and others when they come again within its short memory. It refers to an entry
// that is not acknowledged only while fewer streams are at risk of being blocked
// than the peer allows, and never evicts an entry that is referred to or not
// acknowledged. Entries about to be evicted that are still in use are duplicated
// (RFC 9204 §2.1.1.1). Insertions may cost little more than references have saved, so
// that a table too small for what repeats does not do harm. Secrets never enter the table and are marked, so that nobody
// on the way puts them into one: whatever has Field.Sensitive, credentials, and
// cookies short enough to be guessed (RFC 9204 §7.1).
//
// # Bounds
//
// What a peer can make grow, and who holds it down:
//
//   - the decoder's table: the capacity that was advertised;
//   - a partial instruction on the encoder stream: the longest string that fits the
//     table, at most 3.75 times the capacity if it is badly compressed; a longer one is
//     refused by its length field;
//   - a partial instruction on the decoder stream: ten bytes;
//   - blocked streams: the number that was advertised; the sections are the caller's;
//   - decoded fields: Limit; a string needs its bytes at hand before any memory is
//     taken for it, and Huffman coding expands it by 8/5 at most;
//   - the decoder's pending instructions: a few bytes for each section and each
//     cancelled stream, and one Insert Count Increment, until Sent. A peer that reads
//     none of them makes them grow: the caller looks at the length of Instructions and
//     closes the connection beyond a limit of its own (64 KiB is generous);
//   - the encoder's pending instructions: a section's worth, within the capacity of the
//     table, because nothing is inserted while instructions wait to be sent;
//   - the encoder's memory of sections without acknowledgement: 512; sections beyond
//     these use no dynamic entries.
package qpack

import (
	"errors"
	"fmt"
)

// The error codes of RFC 9204 §6.
const (
	DecompressionFailed = 0x200 // QPACK_DECOMPRESSION_FAILED: a field section cannot be understood
	EncoderStreamError  = 0x201 // QPACK_ENCODER_STREAM_ERROR: an encoder instruction cannot be understood
	DecoderStreamError  = 0x202 // QPACK_DECODER_STREAM_ERROR: a decoder instruction cannot be understood
)

// Field is one field line. Pseudo-header fields are ordinary ones whose names begin
// with ':'. Names go on the wire as they are: HTTP/3 wants them in lower case.
type Field struct {
	Name, Value string

	// Sensitive says that the value must never be indexed, here or on any further
	// hop (RFC 9204 §7.1.3). It survives decoding.
	Sensitive bool
}

// Size is what the field counts towards a limit on field sections and towards the
// capacity of a table (RFC 9114 §4.2.2, RFC 9204 §3.2.1).
func (f Field) Size() uint64 { return uint64(len(f.Name)) + uint64(len(f.Value)) + entryOverhead }

// Limit bounds what a field section may decode to. A zero means no limit of that
// kind.
type Limit struct {
	Size   uint64 // the sum of Field.Size
	Fields int    // the number of fields
}

// ErrBlocked is returned by Decode for a section that needs insertions which have
// not arrived. It is no failure: try again when InsertCount is as large as RequiredInsertCount.
var ErrBlocked = errors.New("qpack: the field section needs insertions that have not arrived")

// ErrTooLarge is returned by Decode for a section that exceeds its Limit. The
// section counts as processed and the connection is in order; only this message
// cannot be had.
var ErrTooLarge = errors.New("qpack: the field section exceeds its limit")

// Error is a violation of RFC 9204 by the peer. The connection has to be closed with
// its code.
type Error struct {
	Code   uint64 // DecompressionFailed, EncoderStreamError or DecoderStreamError
	Reason string // for people
	Limit  bool   // the peer went over what this end has advertised: the table's capacity, or the streams that may be blocked
}

// Error names the code as the RFC does, and the reason.
func (e *Error) Error() string {
	name := fmt.Sprintf("error 0x%x", e.Code)
	switch e.Code {
	case DecompressionFailed:
		name = "QPACK_DECOMPRESSION_FAILED"
	case EncoderStreamError:
		name = "QPACK_ENCODER_STREAM_ERROR"
	case DecoderStreamError:
		name = "QPACK_DECODER_STREAM_ERROR"
	}
	return "qpack: " + name + ": " + e.Reason
}

func failf(code uint64, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}
