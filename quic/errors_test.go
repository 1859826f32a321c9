package quic

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func TestCloseErrors(t *testing.T) {
	for _, test := range []struct {
		reason  transport.CloseReason
		want    error
		text    string
		code    string
		orderly bool
		close   CloseCode
	}{
		{transport.CloseReason{Kind: transport.CloseLocal, App: true, Code: 3, Reason: "x"}, &ApplicationError{3, "x", false},
			"quic: session closed here: application code 0x3: x", CodeApplication, true, CloseCode{3, CloseApplication, false}},
		{transport.CloseReason{Kind: transport.ClosePeer, App: true, Code: 3}, &ApplicationError{3, "", true},
			"quic: session closed by the peer: application code 0x3", CodeApplication, false, CloseCode{3, CloseApplication, true}},
		{transport.CloseReason{Kind: transport.ClosePeer, App: true}, &ApplicationError{Remote: true},
			"quic: session closed by the peer: application code 0x0", CodeApplication, true, CloseCode{0, CloseApplication, true}},
		{transport.CloseReason{Kind: transport.CloseLocal, Code: 3, Frame: wire.FrameStream, Reason: "too much"}, &TransportError{ErrorCode: 3},
			"quic: session closed here: FLOW_CONTROL_ERROR in STREAM: too much", CodeTransport, false, CloseCode{3, CloseTransport, false}},
		{transport.CloseReason{Kind: transport.ClosePeer, Code: 0x128}, &TransportError{ErrorCode: 0x128, Remote: true},
			`quic: session closed by the peer: TLS alert "handshake failure"`, CodeTransport, false, CloseCode{0x128, CloseTLS, true}},
		{transport.CloseReason{Kind: transport.ClosePeer}, &TransportError{Remote: true},
			"quic: session closed by the peer: NO_ERROR", CodeTransport, true, CloseCode{0, CloseTransport, true}},
		{transport.CloseReason{Kind: transport.CloseIdle}, nil, "quic: session closed: idle timeout", CodeIdleTimeout, true, CloseCode{0, CloseApplication, true}},
		{transport.CloseReason{Kind: transport.CloseHandshakeTimeout}, nil, "quic: session closed: handshake timeout", CodeHandshakeTimeout, false, CloseCode{0, CloseApplication, true}},
		{transport.CloseReason{Kind: transport.CloseReset}, nil, "quic: session closed: stateless reset by the peer", CodeStatelessReset, true, CloseCode{0, CloseApplication, true}},
		{transport.CloseReason{Kind: transport.CloseVersion, Versions: []uint32{2, 3}, Ours: []uint32{1}, Version: 1}, nil,
			"quic: session closed: no common version: we speak 0x1, the server 0x2 0x3", CodeVersionNegotiation, false, CloseCode{0, CloseApplication, true}},
	} {
		err := closeError(&test.reason)
		if err.Error() != test.text {
			t.Errorf("%q, want %q", err, test.text)
		}
		wantCode(t, err, test.code)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v is not net.ErrClosed", err)
		}
		if test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%v is not %v", err, test.want)
		}
		if (&Session{conn: new(transport.Conn)}).orderly(err) != test.orderly {
			t.Errorf("orderly(%v) is %v", err, !test.orderly)
		}
		if c := closeCode(&test.reason); c != test.close {
			t.Errorf("%v: %+v, want %+v", err, c, test.close)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		err  error
		text string
		code string
		is   []error
	}{
		{&StateError{Op: "Op", State: "closed", Err: boom}, "quic: Op: closed: boom", CodeInvalidState, []error{ErrInvalidState, boom}},
		{&StateError{Op: "Op", State: "closing"}, "quic: Op: closing", CodeInvalidState, []error{ErrInvalidState}},
		{&OperationError{"Op", ErrOperationFailed}, "quic: Op: operation failed", CodeOperationFailed, []error{ErrOperationFailed}},
		{&OptionError{"A.B", 7, "1 to 5", nil, CodeOutOfRange}, "quic: option A.B is 7, want 1 to 5", CodeOutOfRange, nil},
		{&OptionError{"A.B", "x", "", boom, CodeInvalidArgValue}, `quic: option A.B is "x": boom`, CodeInvalidArgValue, []error{boom}},
		{&OptionError{"A.B", nil, "", nil, CodeMissingOption}, "quic: option A.B is missing", CodeMissingOption, nil},
		{&StreamError{4, 9, true}, "quic: stream 4 was cut off by the peer with code 0x9", CodeStream, []error{&StreamError{4, 9, true}}},
		{&StreamError{4, 9, false}, "quic: stream 4 was cut off here with code 0x9", CodeStream, nil},
		{&TransportError{ErrorCode: 0x12a, Err: boom}, `quic: session closed here: TLS alert "bad certificate": boom`, CodeTransport, []error{boom, net.ErrClosed}},
		{&VerifyError{Reason: "REASON", Err: boom}, "quic: peer is not authenticated: boom", "ERR_QUIC_VERIFY_REASON", []error{boom}},
		{&HandlerError{Value: boom}, "quic: hook panicked: boom", CodeHandler, []error{boom}},
		{ErrEarlyDataRejected, "quic: early data rejected and application protocol changed", CodeEarlyDataRejected, nil},
	} {
		if test.err.Error() != test.text {
			t.Errorf("%q, want %q", test.err, test.text)
		}
		wantCode(t, test.err, test.code)
		for _, is := range test.is {
			if !errors.Is(test.err, is) {
				t.Errorf("%v is not %v", test.err, is)
			}
		}
	}
	if errors.Is(&StreamError{4, 9, true}, &StreamError{4, 8, true}) || errors.Is(&ApplicationError{1, "", true}, &ApplicationError{1, "", false}) {
		t.Error("different errors match")
	}
	if !strings.HasPrefix(errReadDeadline.Error(), "quic: read: ") {
		t.Error(errReadDeadline)
	}
}
