package wire

import "fmt"

// ErrorCode is a transport error code (RFC 9000 §20.1).
type ErrorCode uint64

// The transport error codes of RFC 9000 §20.1, and RFC 9368's for version
// negotiation. CryptoError makes those of the TLS alerts.
const (
	NoError                 ErrorCode = 0x00
	InternalError           ErrorCode = 0x01
	ConnectionRefused       ErrorCode = 0x02
	FlowControlError        ErrorCode = 0x03
	StreamLimitError        ErrorCode = 0x04
	StreamStateError        ErrorCode = 0x05
	FinalSizeError          ErrorCode = 0x06
	FrameEncodingError      ErrorCode = 0x07
	TransportParameterError ErrorCode = 0x08
	ConnectionIDLimitError  ErrorCode = 0x09
	ProtocolViolation       ErrorCode = 0x0a
	InvalidToken            ErrorCode = 0x0b
	ApplicationError        ErrorCode = 0x0c
	CryptoBufferExceeded    ErrorCode = 0x0d
	KeyUpdateError          ErrorCode = 0x0e
	AEADLimitReached        ErrorCode = 0x0f
	NoViablePath            ErrorCode = 0x10
	VersionNegotiationError ErrorCode = 0x11
)

var errorNames = [...]string{
	NoError:                 "NO_ERROR",
	InternalError:           "INTERNAL_ERROR",
	ConnectionRefused:       "CONNECTION_REFUSED",
	FlowControlError:        "FLOW_CONTROL_ERROR",
	StreamLimitError:        "STREAM_LIMIT_ERROR",
	StreamStateError:        "STREAM_STATE_ERROR",
	FinalSizeError:          "FINAL_SIZE_ERROR",
	FrameEncodingError:      "FRAME_ENCODING_ERROR",
	TransportParameterError: "TRANSPORT_PARAMETER_ERROR",
	ConnectionIDLimitError:  "CONNECTION_ID_LIMIT_ERROR",
	ProtocolViolation:       "PROTOCOL_VIOLATION",
	InvalidToken:            "INVALID_TOKEN",
	ApplicationError:        "APPLICATION_ERROR",
	CryptoBufferExceeded:    "CRYPTO_BUFFER_EXCEEDED",
	KeyUpdateError:          "KEY_UPDATE_ERROR",
	AEADLimitReached:        "AEAD_LIMIT_REACHED",
	NoViablePath:            "NO_VIABLE_PATH",
	VersionNegotiationError: "VERSION_NEGOTIATION_ERROR",
}

// CryptoError returns the code that reports a TLS alert (RFC 9001 §4.8).
func CryptoError(alert uint8) ErrorCode { return 0x100 + ErrorCode(alert) }

// Alert returns the TLS alert that the code reports, if it is a CryptoError.
func (c ErrorCode) Alert() (alert uint8, ok bool) { return uint8(c), c>>8 == 1 }

// String returns the RFC's name, such as "FLOW_CONTROL_ERROR" or
// "CRYPTO_ERROR(0x178)", or for an unknown code its number in hexadecimal.
func (c ErrorCode) String() string {
	if c < ErrorCode(len(errorNames)) {
		return errorNames[c]
	}
	if _, ok := c.Alert(); ok {
		return fmt.Sprintf("CRYPTO_ERROR(%#x)", uint64(c))
	}
	return fmt.Sprintf("%#x", uint64(c))
}

// Error is a fault of the peer's that we have found, or one of our own: what we
// close the connection with. What the peer has closed it with is a Close.
type Error struct {
	Code   ErrorCode
	Frame  FrameType // the frame at fault, 0 if none
	Reason string    // goes to the peer
}

// Error returns the code, the frame and the reason.
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Frame != 0 {
		s += " in " + e.Frame.String()
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}
