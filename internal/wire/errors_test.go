package wire

import (
	"errors"
	"testing"
)

func TestErrorCodeString(t *testing.T) {
	for code, want := range map[ErrorCode]string{
		0x00:             "NO_ERROR",
		0x01:             "INTERNAL_ERROR",
		0x02:             "CONNECTION_REFUSED",
		0x03:             "FLOW_CONTROL_ERROR",
		0x04:             "STREAM_LIMIT_ERROR",
		0x05:             "STREAM_STATE_ERROR",
		0x06:             "FINAL_SIZE_ERROR",
		0x07:             "FRAME_ENCODING_ERROR",
		0x08:             "TRANSPORT_PARAMETER_ERROR",
		0x09:             "CONNECTION_ID_LIMIT_ERROR",
		0x0a:             "PROTOCOL_VIOLATION",
		0x0b:             "INVALID_TOKEN",
		0x0c:             "APPLICATION_ERROR",
		0x0d:             "CRYPTO_BUFFER_EXCEEDED",
		0x0e:             "KEY_UPDATE_ERROR",
		0x0f:             "AEAD_LIMIT_REACHED",
		0x10:             "NO_VIABLE_PATH",
		0x11:             "VERSION_NEGOTIATION_ERROR",
		0x12:             "0x12",
		0xff:             "0xff",
		CryptoError(0):   "CRYPTO_ERROR(0x100)",
		CryptoError(120): "CRYPTO_ERROR(0x178)",
		CryptoError(255): "CRYPTO_ERROR(0x1ff)",
		0x200:            "0x200",
		1<<62 - 1:        "0x3fffffffffffffff",
	} {
		if got := code.String(); got != want {
			t.Errorf("ErrorCode(%#x) = %q, want %q", uint64(code), got, want)
		}
	}
}

func TestErrorCodeAlert(t *testing.T) {
	if alert, ok := CryptoError(40).Alert(); alert != 40 || !ok {
		t.Errorf("CryptoError(40).Alert() = %d, %v", alert, ok)
	}
	for _, c := range []ErrorCode{NoError, VersionNegotiationError, 0xff, 0x200, 0x1100} {
		if _, ok := c.Alert(); ok {
			t.Errorf("%v is a TLS alert", c)
		}
	}
}

func TestError(t *testing.T) {
	var err error = &Error{Code: FinalSizeError, Frame: FrameStream | 3, Reason: "it shrank"}
	if got, want := err.Error(), "FINAL_SIZE_ERROR in STREAM: it shrank"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got, want := (&Error{Code: NoViablePath}).Error(), "NO_VIABLE_PATH"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	var e *Error
	if !errors.As(err, &e) || e.Code != FinalSizeError {
		t.Error("errors.As does not find the *Error")
	}
}
