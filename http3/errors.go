package http3

import (
	"errors"
	"fmt"
	"net"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// ErrorCode is an error code of HTTP/3 (RFC 9114 §8.1), QPACK (RFC 9204 §6) or HTTP
// datagrams (RFC 9297 §5.2), as QUIC carries it when a stream or a session is cut off. One
// that is not known means no more than NoError does (RFC 9114 §8).
type ErrorCode uint64

// The codes that have names.
const (
	NoError                  ErrorCode = 0x100
	GeneralProtocolError     ErrorCode = 0x101
	InternalError            ErrorCode = 0x102
	StreamCreationError      ErrorCode = 0x103
	ClosedCriticalStream     ErrorCode = 0x104
	FrameUnexpected          ErrorCode = 0x105
	FrameError               ErrorCode = 0x106
	ExcessiveLoad            ErrorCode = 0x107
	IDError                  ErrorCode = 0x108
	SettingsError            ErrorCode = 0x109
	MissingSettings          ErrorCode = 0x10a
	RequestRejected          ErrorCode = 0x10b
	RequestCancelled         ErrorCode = 0x10c
	RequestIncomplete        ErrorCode = 0x10d
	MessageError             ErrorCode = 0x10e
	ConnectError             ErrorCode = 0x10f
	VersionFallback          ErrorCode = 0x110
	QPACKDecompressionFailed ErrorCode = 0x200
	QPACKEncoderStreamError  ErrorCode = 0x201
	QPACKDecoderStreamError  ErrorCode = 0x202
	DatagramError            ErrorCode = 0x33
)

var codeNames = map[ErrorCode]string{
	NoError:                  "H3_NO_ERROR",
	GeneralProtocolError:     "H3_GENERAL_PROTOCOL_ERROR",
	InternalError:            "H3_INTERNAL_ERROR",
	StreamCreationError:      "H3_STREAM_CREATION_ERROR",
	ClosedCriticalStream:     "H3_CLOSED_CRITICAL_STREAM",
	FrameUnexpected:          "H3_FRAME_UNEXPECTED",
	FrameError:               "H3_FRAME_ERROR",
	ExcessiveLoad:            "H3_EXCESSIVE_LOAD",
	IDError:                  "H3_ID_ERROR",
	SettingsError:            "H3_SETTINGS_ERROR",
	MissingSettings:          "H3_MISSING_SETTINGS",
	RequestRejected:          "H3_REQUEST_REJECTED",
	RequestCancelled:         "H3_REQUEST_CANCELLED",
	RequestIncomplete:        "H3_REQUEST_INCOMPLETE",
	MessageError:             "H3_MESSAGE_ERROR",
	ConnectError:             "H3_CONNECT_ERROR",
	VersionFallback:          "H3_VERSION_FALLBACK",
	QPACKDecompressionFailed: "QPACK_DECOMPRESSION_FAILED",
	QPACKEncoderStreamError:  "QPACK_ENCODER_STREAM_ERROR",
	QPACKDecoderStreamError:  "QPACK_DECODER_STREAM_ERROR",
	DatagramError:            "H3_DATAGRAM_ERROR",
}

// failureCodes are those that say what is wrong. Whatever else a peer closes a session with means no
// more than NoError (RFC 9114 §8).
var failureCodes = func() (list []uint64) {
	for code := range codeNames {
		if code != NoError {
			list = append(list, uint64(code))
		}
	}
	return list
}()

// String returns the code's name in the RFCs, or its number.
func (c ErrorCode) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", uint64(c))
}

// Error is a stream or a session that was cut off with a code of HTTP/3's. It unwraps to
// the error of package quic that says the same.
type Error struct {
	ErrorCode ErrorCode
	Remote    bool   // the peer did it, or else this end
	Session   bool   // all of the session is over, and not one stream
	Reason    string // of this end, or of the peer if it gave one
	Err       error  // of package quic; nil if it is not yet known there
}

// Error names the code, who used it and why.
func (e *Error) Error() string {
	what, who := "stream", "here"
	if e.Session {
		what = "session"
	}
	if e.Remote {
		who = "by the peer"
	}
	s := fmt.Sprintf("http3: %s ended %s: %v", what, who, e.ErrorCode)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Code returns the name of the error in the API document.
func (e *Error) Code() string {
	if e.Session {
		return quic.CodeApplication
	}
	return quic.CodeStream
}

// Unwrap returns Err, and net.ErrClosed for sessions.
func (e *Error) Unwrap() []error {
	var list []error
	if e.Err != nil {
		list = append(list, e.Err)
	}
	if e.Session {
		list = append(list, net.ErrClosed)
	}
	return list
}

// Is reports whether target is an *Error with the same code, side and extent.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.ErrorCode == e.ErrorCode && t.Remote == e.Remote && t.Session == e.Session
}

// destruction is what a stream below is destroyed with: the program's error, and the code for the
// peer, which package quic looks for in it.
type destruction struct {
	err error
	cut *quic.StreamError
}

func (f *destruction) Error() string   { return f.err.Error() }
func (f *destruction) Unwrap() []error { return []error{f.err, f.cut} }

// wrap gives an error of package quic its form here, if a code of HTTP/3's is in it.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	if f := (*destruction)(nil); errors.As(err, &f) {
		if err == error(f) {
			return f.err
		}
		return err // it is net.ErrClosed besides
	}
	var ours *Error
	if errors.As(err, &ours) {
		return err
	}
	var st *quic.StreamError
	if errors.As(err, &st) {
		return &Error{ErrorCode: ErrorCode(st.ErrorCode), Remote: st.Remote, Err: err}
	}
	var app *quic.ApplicationError
	if errors.As(err, &app) {
		return &Error{ErrorCode: ErrorCode(app.ErrorCode), Remote: app.Remote, Session: true, Reason: app.Reason, Err: err}
	}
	return err
}

// fault is what a frame, a field section or an instruction of the peer's does wrong:
// it ends the stream or the session.
type fault struct {
	code    ErrorCode
	session bool
	reason  string
	limit   bool // the peer went over a limit that has another code than ExcessiveLoad
}

func sessionFault(code ErrorCode, format string, a ...any) *fault {
	return &fault{code: code, session: true, reason: fmt.Sprintf(format, a...)}
}

func streamFault(code ErrorCode, format string, a ...any) *fault {
	return &fault{code: code, reason: fmt.Sprintf(format, a...)}
}

// error returns what the program is told.
func (f *fault) error() error {
	return &Error{ErrorCode: f.code, Session: f.session, Reason: f.reason}
}
