package transport

import (
	"errors"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

var (
	// ErrClosed is returned by commands on a connection that is over.
	ErrClosed = errors.New("connection is closed")
	// ErrWriteClosed is returned by writes after the end of the write side.
	ErrWriteClosed = errors.New("write side of the stream is closed")
	// ErrReadClosed is returned by reads after Stop.
	ErrReadClosed = errors.New("read side of the stream is closed")
	// ErrNoPath is returned by Migrate when the connection cannot use another path now.
	ErrNoPath = errors.New("connection cannot migrate now")
	// ErrPathLater is returned by MayMigrate while the handshake is not confirmed, or the
	// server's connection IDs for other paths have yet to come.
	ErrPathLater = errors.New("connection cannot migrate yet")
)

// StreamError is a stream that was cut off: by the peer's RESET_STREAM or
// STOP_SENDING if Remote, else by our own reset.
type StreamError struct {
	Code   uint64
	Remote bool
}

// Error describes the cut and its application error code.
func (e *StreamError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream cut off by the peer with code %#x", e.Code)
	}
	return fmt.Sprintf("stream reset with code %#x", e.Code)
}

func frameError(code wire.ErrorCode, t wire.FrameType, reason string) *wire.Error {
	return &wire.Error{Code: code, Frame: t, Reason: reason}
}

func internalError(err error) *wire.Error {
	return &wire.Error{Code: wire.InternalError, Reason: err.Error()}
}
