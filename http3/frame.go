package http3

import (
	"strconv"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// frameType is the type of a frame (RFC 9114 §7.2).
type frameType uint64

const (
	frameData           frameType = 0x0
	frameHeaders        frameType = 0x1
	frameCancelPush     frameType = 0x3
	frameSettings       frameType = 0x4
	framePushPromise    frameType = 0x5
	frameGoAway         frameType = 0x7
	frameMaxPushID      frameType = 0xd
	framePriorityStream frameType = 0xf0700 // PRIORITY_UPDATE for a request stream (RFC 9218 §7.2)
	framePriorityPush   frameType = 0xf0701 // for a push
)

// http2 reports whether the type is one of HTTP/2 that HTTP/3 does not have: it may not
// be sent, other than all other types that mean nothing here (RFC 9114 §7.2.8).
func (t frameType) http2() bool { return t == 0x2 || t == 0x6 || t == 0x8 || t == 0x9 }

// control reports whether frames of the type belong to the control stream only.
func (t frameType) control() bool {
	switch t {
	case frameCancelPush, frameSettings, frameGoAway, frameMaxPushID, framePriorityStream, framePriorityPush:
		return true
	}
	return false
}

// message reports whether frames of the type belong to request and push streams only.
func (t frameType) message() bool {
	return t == frameData || t == frameHeaders || t == framePushPromise
}

// Types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
const (
	streamControl      = 0x0
	streamPush         = 0x1
	streamQPACKEncoder = 0x2
	streamQPACKDecoder = 0x3
)

// Types that only keep receivers used to unknown ones are 0x1f*N + 0x21.
const greaseStep, greaseBase = 0x1f, 0x21

// maxFrameHead is how many bytes a frame's type and length take at most.
const maxFrameHead = 16 // no limit: of the format

// appendFrameHead appends the type and the length of a frame (RFC 9114 §7.1).
func appendFrameHead[N int | int64](b []byte, t frameType, length N) []byte {
	return varint.Append(varint.Append(b, uint64(t)), uint64(length))
}

// appendIDFrame appends a frame that holds one number: CANCEL_PUSH, GOAWAY, MAX_PUSH_ID.
func appendIDFrame(b []byte, t frameType, id int64) []byte {
	b = appendFrameHead(b, t, varint.Len(uint64(id)))
	return varint.Append(b, uint64(id))
}

// parseFrameHead reads a frame's type and length; n is 0 if b is too short.
func parseFrameHead(b []byte) (t frameType, length uint64, n int) {
	v, n1 := varint.Parse(b)
	if n1 == 0 {
		return 0, 0, 0
	}
	length, n2 := varint.Parse(b[n1:])
	if n2 == 0 {
		return 0, 0, 0
	}
	return frameType(v), length, n1 + n2
}

// parseID reads the payload of a frame that holds one number and nothing else.
func parseID(b []byte) (int64, bool) {
	v, n := varint.Parse(b)
	return int64(v), n > 0 && n == len(b)
}

// String returns the name of the type, or its number.
func (t frameType) String() string {
	switch t {
	case frameData:
		return "DATA"
	case frameHeaders:
		return "HEADERS"
	case frameCancelPush:
		return "CANCEL_PUSH"
	case frameSettings:
		return "SETTINGS"
	case framePushPromise:
		return "PUSH_PROMISE"
	case frameGoAway:
		return "GOAWAY"
	case frameMaxPushID:
		return "MAX_PUSH_ID"
	case framePriorityStream, framePriorityPush:
		return "PRIORITY_UPDATE"
	}
	return "frame type 0x" + strconv.FormatUint(uint64(t), 16)
}
