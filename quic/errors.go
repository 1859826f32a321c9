package quic

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The codes that the Code methods of this package's errors return: the names
// that the API document gives them.
const (
	CodeInvalidState       = "ERR_INVALID_STATE"
	CodeOperationFailed    = "ERR_OPERATION_FAILED"
	CodeOutOfRange         = "ERR_OUT_OF_RANGE"
	CodeInvalidArgValue    = "ERR_INVALID_ARG_VALUE"
	CodeInvalidArgType     = "ERR_INVALID_ARG_TYPE"
	CodeMissingOption      = "ERR_MISSING_OPTION"
	CodeSocketBadPort      = "ERR_SOCKET_BAD_PORT"
	CodeInvalidTicket      = "ERR_QUIC_INVALID_TLS_SESSION_TICKET"
	CodeInvalidParams      = "ERR_QUIC_INVALID_REMOTE_TRANSPORT_PARAMS"
	CodeVersionNegotiation = "ERR_QUIC_VERSION_NEGOTIATION"
	CodeApplication        = "ERR_QUIC_APPLICATION_ERROR"
	CodeTransport          = "ERR_QUIC_TRANSPORT_ERROR"
	CodeStream             = "ERR_QUIC_STREAM_RESET"
	CodeIdleTimeout        = "ERR_QUIC_IDLE_TIMEOUT"
	CodeHandshakeTimeout   = "ERR_QUIC_HANDSHAKE_TIMEOUT"
	CodeStatelessReset     = "ERR_QUIC_STATELESS_RESET"
	CodeEarlyDataRejected  = "ERR_QUIC_EARLY_DATA_REJECTED"
	CodeHandler            = "ERR_UNHANDLED_ERROR"
	CodeFailedSession      = "ERR_QUIC_FAILED_TO_CREATE_SESSION"
	CodeMissingArgs        = "ERR_MISSING_ARGS"
	CodeSystem             = "ERR_SYSTEM_ERROR"

	codeTimedOut = "ETIMEDOUT" // the system's name, as deadlines have it
)

var (
	// ErrInvalidState is what a call on a socket, session or stream in the wrong
	// state fails with: errors.Is finds it in the *StateError that tells which.
	ErrInvalidState error = &sentinel{CodeInvalidState, "invalid state"}

	// ErrOperationFailed is what a call fails with that cannot be done now, as a
	// TryOpenStream without credit from the peer.
	ErrOperationFailed error = &sentinel{CodeOperationFailed, "operation failed"}

	// ErrEarlyDataRejected is what the streams of a session's 0-RTT data fail with
	// when the server refuses that data and has chosen another ALPN besides, so
	// that sending it again could mean something else.
	ErrEarlyDataRejected error = &sentinel{CodeEarlyDataRejected, "early data rejected and application protocol changed"}
)

// sentinel is an error that is only itself.
type sentinel struct{ code, text string }

func (e *sentinel) Error() string { return "quic: " + e.text }
func (e *sentinel) Code() string  { return e.code }

// StateError says that a call does not fit the state that its receiver is in.
// errors.Is matches it with ErrInvalidState and, when the receiver is closed, with
// net.ErrClosed; errors.As also finds what ended it.
type StateError struct {
	Op    string // the call, as "Session.OpenStream"
	State string // why not, as "session is closing"
	Err   error  // what led to the state, if anything: the reason of a close

	closed bool // net.ErrClosed matches although there is no reason
}

// Error names the call and the state.
func (e *StateError) Error() string {
	s := "quic: " + e.Op + ": " + e.State
	if e.Err != nil {
		s += ": " + bare(e.Err)
	}
	return s
}

// Code returns "ERR_INVALID_STATE".
func (e *StateError) Code() string { return CodeInvalidState }

// Unwrap returns ErrInvalidState, the reason, and net.ErrClosed if the receiver is
// closing or closed.
func (e *StateError) Unwrap() []error {
	switch {
	case e.Err != nil:
		return []error{ErrInvalidState, e.Err, net.ErrClosed}
	case e.closed:
		return []error{ErrInvalidState, net.ErrClosed}
	}
	return []error{ErrInvalidState}
}

// destroyedError is the program's own error that something was destroyed with. It
// reads like that error, and is net.ErrClosed besides, as loops over connections expect.
type destroyedError struct{ err error }

func (e *destroyedError) Error() string   { return e.err.Error() }
func (e *destroyedError) Unwrap() []error { return []error{e.err, net.ErrClosed} }

// own returns the program's own error where it asks for that.
func own(err error) error {
	if d, ok := err.(*destroyedError); ok {
		return d.err
	}
	return err
}

// destroyed makes an error that Destroy was given match net.ErrClosed.
func destroyed(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	return &destroyedError{err}
}

// OperationError says that a call failed for a reason outside of its receiver.
// errors.Is matches it with ErrOperationFailed.
type OperationError struct {
	Op  string // the call, as "Session.TryOpenStream"
	Err error  // the reason
}

// Error names the call and the reason.
func (e *OperationError) Error() string { return "quic: " + e.Op + ": " + bare(e.Err) }

// Code returns "ERR_OPERATION_FAILED".
func (e *OperationError) Code() string { return CodeOperationFailed }

// Unwrap returns ErrOperationFailed and the reason.
func (e *OperationError) Unwrap() []error { return []error{ErrOperationFailed, e.Err} }

// OptionError says that an option has a value that it cannot have. Nothing was
// done: options are checked before any resource is taken.
type OptionError struct {
	Option string // as "ConnectOptions.IdleTimeout"
	Value  any
	Want   string // what it can be, as "0 to 65535"
	Err    error  // why, if another error tells

	code string
}

// Error names the option, its value and the range.
func (e *OptionError) Error() string {
	s := fmt.Sprintf("quic: option %s is %v", e.Option, e.Value)
	if v, ok := e.Value.(string); ok {
		s = fmt.Sprintf("quic: option %s is %q", e.Option, v)
	}
	if e.Value == nil {
		s = "quic: option " + e.Option + " is missing"
	}
	if e.Want != "" {
		s += ", want " + e.Want
	}
	if e.Err != nil {
		s += ": " + bare(e.Err)
	}
	return s
}

// Code returns "ERR_OUT_OF_RANGE", "ERR_INVALID_ARG_VALUE" or one of the more
// special codes for options.
func (e *OptionError) Code() string {
	if e.code == "" {
		return CodeOutOfRange // as package http3 makes them
	}
	return e.code
}

// Unwrap returns the error that tells why.
func (e *OptionError) Unwrap() error { return e.Err }

// ApplicationError is a session that an application closed with a code of its
// own (RFC 9000 §20.2): the peer's if Remote is true, else ours. It unwraps to
// net.ErrClosed.
type ApplicationError struct {
	ErrorCode uint64 // 0 to 1<<62-1
	Reason    string
	Remote    bool
}

// Error returns who closed, the code and the reason.
func (e *ApplicationError) Error() string {
	return closeText(e.Remote, fmt.Sprintf("application code %#x", e.ErrorCode), e.Reason)
}

// Code returns "ERR_QUIC_APPLICATION_ERROR".
func (e *ApplicationError) Code() string { return CodeApplication }

// Is reports whether target is an *ApplicationError with the same code and side;
// an empty Reason in target matches every reason.
func (e *ApplicationError) Is(target error) bool {
	t, ok := target.(*ApplicationError)
	return ok && t.ErrorCode == e.ErrorCode && t.Remote == e.Remote && (t.Reason == "" || t.Reason == e.Reason)
}

// Unwrap returns net.ErrClosed.
func (e *ApplicationError) Unwrap() error { return net.ErrClosed }

// TransportError is a session that ended with a transport error code (RFC 9000
// §20.1), TLS alerts among them: sent by the peer if Remote is true, else found
// here. It unwraps to net.ErrClosed and to the cause.
type TransportError struct {
	ErrorCode uint64 // 0x100 plus the alert for TLS (RFC 9001 §4.8)
	FrameType uint64 // the frame at fault, 0 if none or unknown
	Reason    string
	Remote    bool
	Err       error // found here by TLS: its error, for errors.As with those of crypto/x509
}

// Error returns who closed, the RFC's name of the code or the alert, the frame and the reason.
func (e *TransportError) Error() string {
	what := wire.ErrorCode(e.ErrorCode).String()
	reason := e.Reason
	alert, ok := wire.ErrorCode(e.ErrorCode).Alert()
	switch {
	case ok: // the frame is always CRYPTO
		what = alertText(alert)
		if reason == tls.AlertError(alert).Error() {
			reason = ""
		}
	case e.FrameType != 0:
		what += " in " + wire.FrameType(e.FrameType).String()
	}
	if e.Err != nil {
		reason = bare(e.Err)
	}
	return closeText(e.Remote, what, reason)
}

// alertText names a TLS alert.
func alertText(alert uint8) string {
	name := strings.TrimPrefix(tls.AlertError(alert).Error(), "tls: ")
	if strings.HasPrefix(name, "alert(") { // crypto/tls has no name for it
		return fmt.Sprintf("TLS alert %d", alert)
	}
	return fmt.Sprintf("TLS alert %q", name)
}

// String names the code, and whose it is.
func (c CloseCode) String() string {
	var s string
	switch alert, ok := wire.ErrorCode(c.Code).Alert(); {
	case c.Family == CloseApplication:
		s = fmt.Sprintf("application code %#x", c.Code)
	case c.Family == CloseTLS && ok:
		s = alertText(alert)
	default:
		s = c.Family.String() + " code " + wire.ErrorCode(c.Code).String()
	}
	if c.Silent {
		s += ", nothing was said here"
	}
	return s
}

// String returns "transport", "TLS" or "application".
func (f CloseFamily) String() string {
	switch f {
	case CloseTransport:
		return "transport"
	case CloseTLS:
		return "TLS"
	case CloseApplication:
		return "application"
	}
	return fmt.Sprintf("CloseFamily(%d)", uint8(f))
}

// Code returns "ERR_QUIC_TRANSPORT_ERROR".
func (e *TransportError) Code() string { return CodeTransport }

// Is reports whether target is a *TransportError with the same code and side.
func (e *TransportError) Is(target error) bool {
	t, ok := target.(*TransportError)
	return ok && t.ErrorCode == e.ErrorCode && t.Remote == e.Remote
}

// Unwrap returns net.ErrClosed and the cause.
func (e *TransportError) Unwrap() []error {
	if e.Err == nil {
		return []error{net.ErrClosed}
	}
	return []error{net.ErrClosed, e.Err}
}

// StreamError is a stream that was cut off with an application's code: by the
// peer's reset or its wish that we stop if Remote is true, else by our own
// Reset, Stop or Destroy (RFC 9000 §19.4, §19.5).
type StreamError struct {
	StreamID  int64
	ErrorCode uint64
	Remote    bool
}

// Error returns the stream, who cut it off, and the code.
func (e *StreamError) Error() string {
	who := "here"
	if e.Remote {
		who = "by the peer"
	}
	return fmt.Sprintf("quic: stream %d was cut off %s with code %#x", e.StreamID, who, e.ErrorCode)
}

// Code returns "ERR_QUIC_STREAM_RESET".
func (e *StreamError) Code() string { return CodeStream }

// Is reports whether target is a *StreamError with the same stream, code and side.
func (e *StreamError) Is(target error) bool {
	t, ok := target.(*StreamError)
	return ok && *t == *e
}

// IdleTimeoutError is a session in which nothing was heard for its idle timeout
// (RFC 9000 §10.1). It is a net.Error with Timeout and unwraps to net.ErrClosed.
type IdleTimeoutError struct{}

// Error describes the timeout.
func (*IdleTimeoutError) Error() string { return "quic: session closed: idle timeout" }

// Code returns "ERR_QUIC_IDLE_TIMEOUT".
func (*IdleTimeoutError) Code() string { return CodeIdleTimeout }

// Timeout returns true.
func (*IdleTimeoutError) Timeout() bool { return true }

// Temporary returns false: the session is over.
func (*IdleTimeoutError) Temporary() bool { return false }

// Unwrap returns net.ErrClosed.
func (*IdleTimeoutError) Unwrap() error { return net.ErrClosed }

// HandshakeTimeoutError is a session whose handshake took longer than
// HandshakeTimeout, or whose TLS callback took longer than CallbackTimeout. It
// is a net.Error with Timeout and unwraps to net.ErrClosed.
type HandshakeTimeoutError struct {
	Remote netip.AddrPort // the peer
	After  time.Duration  // the time that was given
	Heard  bool           // something was heard from the peer: if not, maybe nobody is there

	callback bool // it was CallbackTimeout
}

// Error tells whether the peer has answered at all, and what time it was given.
func (e *HandshakeTimeoutError) Error() string {
	switch {
	case !e.Remote.IsValid():
		return "quic: session closed: handshake timeout"
	case e.callback:
		return fmt.Sprintf("quic: handshake with %v given up: a TLS callback took longer than %v", e.Remote, e.After)
	case !e.Heard:
		return fmt.Sprintf("quic: no answer from %v within %v", e.Remote, e.After)
	}
	return fmt.Sprintf("quic: handshake with %v not complete after %v", e.Remote, e.After)
}

// handshakeTimeout returns the error of a session whose time has run out.
func (s *Session) handshakeTimeout(after time.Duration, callback bool) *HandshakeTimeoutError {
	stats := s.conn.Stats()
	heard := s.server != nil || stats.PacketsReceived > 0
	if d := now().Sub(stats.Begun).Round(time.Millisecond); !heard && d < after {
		after = d // the idle timeout is for silent servers too
	}
	return &HandshakeTimeoutError{Remote: s.conn.Path().Remote, After: after, Heard: heard, callback: callback}
}

// Code returns "ERR_QUIC_HANDSHAKE_TIMEOUT".
func (*HandshakeTimeoutError) Code() string { return CodeHandshakeTimeout }

// Timeout returns true.
func (*HandshakeTimeoutError) Timeout() bool { return true }

// Temporary returns false: the session is over.
func (*HandshakeTimeoutError) Temporary() bool { return false }

// Unwrap returns net.ErrClosed.
func (*HandshakeTimeoutError) Unwrap() error { return net.ErrClosed }

// StatelessResetError is a session that ended because the peer has lost its
// state (RFC 9000 §10.3). It unwraps to net.ErrClosed.
type StatelessResetError struct{}

// Error describes the reset.
func (*StatelessResetError) Error() string {
	return "quic: session closed: stateless reset by the peer"
}

// Code returns "ERR_QUIC_STATELESS_RESET".
func (*StatelessResetError) Code() string { return CodeStatelessReset }

// Unwrap returns net.ErrClosed.
func (*StatelessResetError) Unwrap() error { return net.ErrClosed }

// VersionNegotiationError is a client's session to a server that does not speak
// a version of QUIC that we do (RFC 9000 §6.2). It unwraps to net.ErrClosed.
type VersionNegotiationError struct {
	Version           uint32   // what we began with
	RequestedVersions []uint32 // what the server speaks
	SupportedVersions []uint32 // what we speak
}

// Error lists the versions.
func (e *VersionNegotiationError) Error() string {
	var b strings.Builder
	b.WriteString("quic: session closed: no common version: we speak")
	for _, v := range e.SupportedVersions {
		fmt.Fprintf(&b, " %#x", v)
	}
	b.WriteString(", the server")
	for _, v := range e.RequestedVersions {
		fmt.Fprintf(&b, " %#x", v)
	}
	return b.String()
}

// Code returns "ERR_QUIC_VERSION_NEGOTIATION".
func (*VersionNegotiationError) Code() string { return CodeVersionNegotiation }

// Unwrap returns net.ErrClosed.
func (*VersionNegotiationError) Unwrap() error { return net.ErrClosed }

// VerifyError is why a peer is not authenticated: what Authenticated false
// means in a session that was allowed to go on.
type VerifyError struct {
	Reason string // the rest of the code, as "HOSTNAME_MISMATCH"
	Err    error  // crypto/x509's error
	Peer   string // whom it is about: a server's name that was to be verified, a client's address

	server bool // it has been found here at the server
}

// Error names the peer, returns the reason in words, and for an issuer that is not trusted
// where to name those that are.
func (e *VerifyError) Error() string {
	s, cas := "peer", "TLS.RootCAs"
	switch {
	case e.server:
		s, cas = "client "+e.Peer, "TLS.ClientCAs"
	case e.Peer != "":
		s = fmt.Sprintf("server %q", e.Peer)
	}
	s = "quic: " + s + " is not authenticated: " + bare(e.Err)
	if e.Peer != "" && (e.Reason == reasonAuthority || e.Reason == reasonSelfSigned) {
		s += "; whom to trust is said in securecontext's CA or " + cas
	}
	return s
}

// Code returns "ERR_QUIC_VERIFY_" and the Reason.
func (e *VerifyError) Code() string { return "ERR_QUIC_VERIFY_" + e.Reason }

// Unwrap returns crypto/x509's error.
func (e *VerifyError) Unwrap() error { return e.Err }

// HandlerError is a hook or a handler that panicked. What it panicked with is in
// Value; an error there is unwrapped.
type HandlerError struct {
	Value any
	Stack []byte // of the panic
}

// Error returns what the hook panicked with.
func (e *HandlerError) Error() string { return fmt.Sprintf("quic: hook panicked: %v", e.Value) }

// Code returns "ERR_UNHANDLED_ERROR".
func (e *HandlerError) Code() string { return CodeHandler }

// Unwrap returns Value if that is an error.
func (e *HandlerError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// timeoutError is what reads and writes fail with after their deadline: it is
// os.ErrDeadlineExceeded, with a name of its own.
type timeoutError struct{ op string }

func (e *timeoutError) Error() string   { return "quic: " + e.op + ": deadline exceeded" }
func (e *timeoutError) Code() string    { return codeTimedOut }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
func (e *timeoutError) Unwrap() error   { return os.ErrDeadlineExceeded }

var (
	errReadDeadline  error = &timeoutError{"read"}
	errWriteDeadline error = &timeoutError{"write"}
)

// What calls on a half of a stream fail with that was closed here, or that there is not.
var (
	errWriteClosed error = &StateError{Op: "Stream.Write", State: "write side is closed", closed: true}
	errReadClosed  error = &StateError{Op: "Stream.Read", State: "read side is closed", closed: true}
	errOnlyRead    error = &StateError{Op: "Stream.Write", State: onlyRead, closed: true}
	errOnlyWritten error = &StateError{Op: "Stream.Read", State: "the stream is only written here", closed: true}
	errNoWriteEnd  error = &StateError{Op: "Stream.CloseWrite", State: onlyRead, closed: true}
)

const onlyRead = "the stream is only read here"

// closeError turns the machine's reason for the end of a session into an error.
func closeError(r *transport.CloseReason) error {
	switch r.Kind {
	case transport.CloseIdle:
		return &IdleTimeoutError{}
	case transport.CloseHandshakeTimeout:
		return &HandshakeTimeoutError{} // the session fills it
	case transport.CloseReset:
		return &StatelessResetError{}
	case transport.CloseVersion:
		return &VersionNegotiationError{
			Version:           r.Version,
			RequestedVersions: r.Versions,
			SupportedVersions: r.Ours,
		}
	}
	remote := r.Kind == transport.ClosePeer
	if r.App || r.Kind == transport.CloseSilent {
		return &ApplicationError{ErrorCode: r.Code, Reason: r.Reason, Remote: remote}
	}
	return &TransportError{ErrorCode: r.Code, FrameType: uint64(r.Frame), Reason: r.Reason, Remote: remote}
}

// orderly reports whether a session that ended with err ended as sessions do:
// such an end is no error to the Error hook.
func (s *Session) orderly(err error) bool {
	switch e := err.(type) {
	case *ApplicationError:
		return !e.Remote || s.conn.Orderly(e.ErrorCode)
	case *TransportError:
		return e.ErrorCode == uint64(wire.NoError)
	case *IdleTimeoutError, *StatelessResetError:
		return true
	}
	return false
}

// streamError gives an error of the machine's stream its public form.
func (st *Stream) streamError(err error) error {
	switch err {
	case nil, io.EOF:
		return err
	case transport.ErrWriteClosed:
		if !st.t.CanSend() {
			return errOnlyRead
		}
		return errWriteClosed
	case transport.ErrReadClosed:
		if !st.t.CanReceive() {
			return errOnlyWritten
		}
		return errReadClosed
	case transport.ErrClosed:
		return st.s.closedError()
	}
	if reset, ok := err.(*transport.StreamError); ok {
		e := &StreamError{StreamID: st.t.ID(), ErrorCode: reset.Code, Remote: reset.Remote}
		if e.Remote {
			st.cutOff(e)
		}
		return e
	}
	return err
}

func closeText(remote bool, what, reason string) string {
	who := "here"
	if remote {
		who = "by the peer"
	}
	s := "quic: session closed " + who + ": " + what
	if reason != "" {
		s += ": " + reason
	}
	return s
}

// bare returns the text of err without the package's prefix, for use inside
// another of the package's texts.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "quic: ") }
