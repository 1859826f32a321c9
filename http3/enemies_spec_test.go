package http3

import "testing"

// The violations of HTTP/3 and QPACK that public conformance tests try on servers, under their
// numbers, with the mirror image for a client where there is one: each must end with
// the one code that the RFCs have for it.

const specBound = smallBound

// RFC 9114 §4.1
func TestHS01DataBeforeHeaders(t *testing.T) {
	besiege(t, specBound, "server: DATA before HEADERS", "client: DATA before HEADERS", "client: DATA behind an informational block")
}

// RFC 9114 §4.3
func TestHS02PseudoHeaderTwice(t *testing.T) {
	besiege(t, specBound, "server: :method twice", "server: :path twice", "client: :status twice")
}

// RFC 9114 §4.3.1
func TestHS03PseudoHeaderMissing(t *testing.T) {
	besiege(t, specBound, "server: no authority", "server: empty authority", "server: no :method", "server: no :scheme", "server: no :path", "client: no :status")
}

// RFC 9114 §4.3
func TestHS04PseudoHeaderUnknown(t *testing.T) {
	besiege(t, specBound, "server: misspelt pseudo-header field", "server: unknown pseudo-header field", "client: pseudo-header field that is none")
}

// RFC 9114 §4.3
func TestHS05PseudoHeaderBehindOthers(t *testing.T) {
	besiege(t, specBound, "server: pseudo-header field behind others", "client: :status behind others")
}

// RFC 9114 §6.2.1
func TestHS06ControlBeginsWithoutSettings(t *testing.T) {
	besiege(t, specBound, "server: control begins with MAX_PUSH_ID", "client: control begins with GOAWAY")
}

// RFC 9114 §7.2.1
func TestHS07DataOnControl(t *testing.T) {
	besiege(t, specBound, "server: DATA on control", "client: DATA on control")
}

// RFC 9114 §7.2.2
func TestHS08HeadersOnControl(t *testing.T) {
	besiege(t, specBound, "server: HEADERS on control", "client: HEADERS on control")
}

// RFC 9114 §7.2.4
func TestHS09SettingsTwice(t *testing.T) {
	besiege(t, specBound, "server: SETTINGS twice", "client: SETTINGS twice")
}

// RFC 9114 §7.2.4, §7.2.4.1
func TestHS10SettingsOfHTTP2(t *testing.T) {
	besiege(t, specBound, "server: setting 0x2 of HTTP/2", "client: setting 0x2 of HTTP/2", "server: a setting twice", "client: a setting twice")
}

// RFC 9114 §7.2.3
func TestHS11CancelPushOnRequest(t *testing.T) {
	besiege(t, specBound, "server: CANCEL_PUSH on a request", "client: CANCEL_PUSH on a response")
}

// RFC 9204 §3.1
func TestHS12StaticEntry99(t *testing.T) {
	besiege(t, specBound, "server: static entry 99", "client: static entry 99")
}

// RFC 9204 §3.2.3
func TestHS13TableCapacity(t *testing.T) {
	besiege(t, specBound, "server: table capacity of 10^10", "client: table capacity of 10^10")
}

// RFC 9114 §6.2.1, RFC 9204 §4.2
func TestHS14ControlClosed(t *testing.T) {
	besiege(t, specBound, "server: control closed", "client: control closed")
}

// RFC 9204 §4.4.3
func TestHS15IncrementOfZero(t *testing.T) {
	besiege(t, specBound, "server: increment of 0", "client: increment of 0")
}
