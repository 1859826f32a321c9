package main

import (
	"errors"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// sessionEnd says in words how a session ended, "" if it ended as it should.
func sessionEnd(err error) string {
	var app *quic.ApplicationError
	var idle *quic.IdleTimeoutError
	switch {
	case errors.As(err, &app) && app.ErrorCode == closeDone:
		return ""
	case errors.As(err, &app) && app.Remote && app.Reason != "":
		return "the other end closed the session: " + printable(app.Reason)
	case errors.As(err, &app) && app.Remote:
		return fmt.Sprintf("the other end closed the session with code %d", app.ErrorCode)
	case errors.As(err, &app):
		return app.Reason
	case errors.As(err, &idle):
		return fmt.Sprintf("nothing was heard of the other end for %v", idleTimeout)
	}
	return printable(err.Error())
}

// streamEnd says in words why a file did not come to its end.
func streamEnd(err error) string {
	var stream *quic.StreamError
	if errors.As(err, &stream) && stream.Remote && stream.ErrorCode == streamCancelled {
		return "the sender gave up"
	}
	return sessionEnd(err)
}
