package http3

import (
	"bytes"
	"strings"
	"testing"
)

func TestAttacksOnClient(t *testing.T) {
	for _, x := range clientAttacks {
		for name, hooked := range victims {
			t.Run(x.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				x.onClient(t, hooked)
			})
		}
	}
}

// pushStream begins a push stream.
func pushStream(id uint64, b ...[]byte) step {
	return uni([]byte{streamPush}, num(id), bytes.Join(b, nil))
}

// bidi opens a bidirectional stream of a server's.
func bidi(a *attacker) {
	st := a.open()
	_, _ = st.Write([]byte{0})
}

var clientAttacks = []attack{
	// RFC 9114 §4.1: the order of frames.
	{"a whole response", []step{whole(fields(":status", "103", "link", "</a>"), head200, data("x"), fields("a", "1"))}, fine},
	{"DATA before HEADERS", []step{msg(data("x"))}, ends(FrameUnexpected)},
	{"DATA behind an informational block", []step{msg(fields(":status", "103"), data("x"))}, ends(FrameUnexpected)},
	{"HEADERS behind the trailers", []step{msg(head200, fields("a", "1"), fields("b", "2"))}, ends(FrameUnexpected)},
	{"DATA behind the trailers", []step{msg(head200, fields("a", "1"), data("x"))}, ends(FrameUnexpected)},
	{"nothing at all", []step{whole()}, cuts(MessageError)},
	{"informational and nothing", []step{whole(fields(":status", "103"))}, cuts(MessageError)},
	{"the end within HEADERS", []step{whole(head200[:2])}, ends(FrameError)},
	{"the end within DATA", []step{whole(head200, data("abc")[:3])}, ends(FrameError)},
	{"the end within PUSH_PROMISE", []step{whole(promised(0)[:5])}, ends(FrameError)},
	// RFC 9114 §7.2.8, §9: frames that nobody knows.
	{"unknown frames everywhere", []step{whole(frame(0x21, grown), head200, frame(0x40), data("x"), frame(0x21))}, fine},
	// RFC 9114 §4.1.2, §4.3.2: responses.
	{"no :status", []step{msg(fields("a", "1"))}, cuts(MessageError)},
	{":status of 999", []step{msg(fields(":status", "999"))}, cuts(MessageError)},
	{":status of abc", []step{msg(fields(":status", "abc"))}, cuts(MessageError)},
	{":status of 20", []step{msg(fields(":status", "20"))}, cuts(MessageError)},
	{":status of 0200", []step{msg(fields(":status", "0200"))}, cuts(MessageError)},
	{":status of 101", []step{msg(fields(":status", "101"))}, cuts(MessageError)},
	{":status twice", []step{msg(fields(":status", "200", ":status", "200"))}, cuts(MessageError)},
	{":status behind others", []step{msg(fields("a", "1", ":status", "200"))}, cuts(MessageError)},
	{":method in a response", []step{msg(fields(":status", "200", ":method", "GET"))}, cuts(MessageError)},
	{"storm of informational responses", []step{msg(bytes.Repeat(fields(":status", "102"), 5*maxInformational))}, cuts(ExcessiveLoad)},
	// RFC 9114 §4.1: one final response, and informational ones before it.
	{"a second final response", []step{msg(head200, head200)}, cuts(MessageError)},
	{"an informational one behind the final", []step{msg(head200, fields(":status", "103"))}, cuts(MessageError)},
	// RFC 9114 §4.1.2, §4.2: names in lower case.
	{"upper case", []step{msg(fields(":status", "200", "Server", "x"))}, cuts(MessageError)},
	// RFC 9114 §4.1, §4.2: fields of connections of HTTP/1.
	{"transfer-encoding", []step{msg(fields(":status", "200", "transfer-encoding", "chunked"))}, cuts(MessageError)},
	// RFC 9114 §4.2, §10.3: what cannot be in values.
	{"value with LF", []step{msg(fields(":status", "200", "a", "b\nc"))}, cuts(MessageError)},
	// RFC 9114 §4.1.2: Content-Length.
	{"Content-Length too long", []step{whole(fields(":status", "200", "content-length", "4"), data("abc"))}, cuts(MessageError)},
	{"Content-Length too short", []step{msg(fields(":status", "200", "content-length", "2"), data("abc"))}, cuts(MessageError)},
	{"Content-Length and an empty DATA", []step{whole(fields(":status", "200", "content-length", "4"), data(""))}, cuts(MessageError)},
	{"204 with a body", []step{msg(fields(":status", "204"), data("x"))}, cuts(MessageError)},
	{"304 with the length of what it stands for", []step{whole(fields(":status", "304", "content-length", "4"))}, fine},
	{"HEAD: the length of what GET would have", []step{whole(fields(":status", "200", "content-length", "4"))}, fine},
	{"HEAD: a body", []step{msg(fields(":status", "200", "content-length", "1"), data("x"))}, cuts(MessageError)},
	// RFC 9114 §4.4: there is nothing but DATA in a tunnel.
	{"CONNECT: trailers in the tunnel", []step{msg(head200, data("x"), fields("a", "1"))}, ends(FrameUnexpected)},
	{"CONNECT: a promise in the tunnel", []step{msg(head200, promised(0))}, ends(FrameUnexpected)},
	{"CONNECT: refused, with trailers", []step{whole(fields(":status", "403"), data("x"), fields("a", "1"))}, fine},
	// RFC 9114 §7.2: frames on the wrong stream.
	{"PRIORITY_UPDATE from a server", []step{ctrl(frame(framePriorityStream, num(0)))}, ends(FrameUnexpected)},
	{"H3_DATAGRAM of 2", []step{uni([]byte{streamControl}, frame(frameSettings, num(0x33, 2)))}, ends(SettingsError)},
	{"pseudo-header field that is none", []step{msg(fields(":status", "200", ":foo", "x"))}, cuts(MessageError)},
	{"cancellation flood", []step{uni([]byte{streamQPACKDecoder}, bytes.Repeat([]byte{0x44}, 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"unknown frames flood on control", []step{ctrl(bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"GOAWAY storm", []step{ctrl(bytes.Repeat(frame(frameGoAway, num(1<<40)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"CANCEL_PUSH storm", []step{ctrl(bytes.Repeat(frame(frameCancelPush, num(0)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	// RFC 9114 §7.2.1, §7.2.2: DATA and HEADERS.
	{"DATA on control", []step{ctrl(data("x"))}, ends(FrameUnexpected)},
	{"HEADERS on control", []step{ctrl(head200)}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.3: CANCEL_PUSH.
	{"CANCEL_PUSH on a response", []step{msg(head200, frame(frameCancelPush, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.4: SETTINGS.
	{"SETTINGS on a response", []step{msg(frame(frameSettings))}, ends(FrameUnexpected)},
	{"SETTINGS twice", []step{ctrl(frame(frameSettings))}, ends(FrameUnexpected)},
	{"a setting twice", []step{uni([]byte{streamControl}, frame(frameSettings, num(6, 1, 6, 1)))}, ends(SettingsError)},
	// RFC 9114 §7.2.4.1: settings of HTTP/2.
	{"setting 0x2 of HTTP/2", []step{uni([]byte{streamControl}, frame(frameSettings, num(2, 1)))}, ends(SettingsError)},
	// RFC 9114 §7.2.6: GOAWAY.
	{"GOAWAY on a response", []step{msg(head200, frame(frameGoAway, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.7: MAX_PUSH_ID.
	{"MAX_PUSH_ID from a server", []step{ctrl(frame(frameMaxPushID, num(1)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.8: frames of HTTP/2.
	{"frame 0x8 of HTTP/2 on a response", []step{msg(head200, frame(0x8))}, ends(FrameUnexpected)},
	// RFC 9114 §6.1: only clients open bidirectional streams.
	{"a bidirectional stream", []step{bidi}, ends(StreamCreationError)},
	// RFC 9114 §6.2, §6.2.3, §9: other unidirectional streams.
	{"a stream of an unknown type", []step{uni(num(0x21), grown), func(a *attacker) { a.wantStopped(StreamCreationError) }, whole(head200)}, fine},
	// RFC 9114 §6.2.1: control streams.
	{"control begins with GOAWAY", []step{uni([]byte{streamControl}, frame(frameGoAway, num(0)))}, ends(MissingSettings)},
	{"control closed", []step{ctrl(), closeLast}, ends(ClosedCriticalStream)},
	{"control stopped", []step{ctrl(), stopPeer}, ends(ClosedCriticalStream)},
	{"a second control stream", []step{ctrl(), uni([]byte{streamControl})}, ends(StreamCreationError)},
	// RFC 9204 §2.1.2, §3.2.2: QPACK.
	{"insertion without capacity", []step{uni([]byte{streamQPACKEncoder, 0xc0, 0x01, 'a'})}, ends(QPACKEncoderStreamError)},
	{"one blocked stream too many", []step{msg(blocked), func(a *attacker) { a.message = a.ask(false, "GET") }, msg(blocked)}, ends(QPACKDecompressionFailed)},
	// RFC 9114 §5.2, §7.2.6: GOAWAY carries a stream ID.
	{"GOAWAY with a stream of the server's", []step{ctrl(frame(frameGoAway, num(1)))}, ends(IDError)},
	{"GOAWAY with a unidirectional stream", []step{ctrl(frame(frameGoAway, num(2)))}, ends(IDError)},
	{"GOAWAY rises", []step{ctrl(frame(frameGoAway, num(4)), frame(frameGoAway, num(8)))}, ends(IDError)},
	// RFC 9114 §4.6, §7.2.5: pushes. The victim lets five come.
	{"a promise", []step{whole(promised(0), head200)}, fine},
	{"a promise behind everything", []step{whole(head200, data("x"), fields("a", "1"), promised(4))}, fine},
	{"a promise for another host", []step{whole(promised(0, ":method", "GET", ":scheme", "https", ":authority", "bank.example", ":path", "/"), pushedByName, head200), wantCancelled}, fine},
	{"a promise of the port of another service", []step{whole(promised(0, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"), head200), wantCancelled}, fine},
	{"a promise for a name in the certificate", []step{whole(pushedByName, head200), wantPromised}, fine},
	{"a promise beyond the limit", []step{msg(promised(5))}, ends(IDError)},
	{"a promise without an ID", []step{msg(frame(framePushPromise))}, ends(FrameError)},
	{"a promise twice", []step{whole(promised(0), promised(0), head200)}, fine},
	{"a promise of two requests", []step{msg(promised(0), promised(0, ":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/2"))}, ends(GeneralProtocolError)},
	{"a promise of a malformed request", []step{msg(promised(0, ":method", "GET"))}, cuts(MessageError)},
	{"a promise of a bad block", []step{msg(frame(framePushPromise, num(0), []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
	{"a promise over the limit of a list", []step{msg(promised(0, append(getFields[:8:8], "a", strings.Repeat("0", 450), "b", strings.Repeat("0", 450))...))}, cuts(ExcessiveLoad)},
	{"promises flood", []step{msg(bytes.Repeat(promised(0), 5*budgetBurst))}, ends(ExcessiveLoad)},
	// RFC 9114 §4.1, §7.2.5: promises stand on responses.
	{"a promise on a push stream", []step{msg(promised(0)), pushStream(0, promised(1)), func(a *attacker) { a.readPush() }}, ends(FrameUnexpected)},
	// RFC 9114 §4.6, §6.2.2: push streams.
	{"a push stream beyond the limit", []step{pushStream(5)}, ends(IDError)},
	{"two streams of one push", []step{pushStream(0), pushStream(0)}, ends(IDError)},
	{"a push stream whose ID never comes", []step{uni([]byte{streamPush, 0x40}), closeLast, whole(head200)}, fine},
	// RFC 9114 §7.2.3: CANCEL_PUSH, here too.
	{"CANCEL_PUSH beyond the limit", []step{ctrl(frame(frameCancelPush, num(5)))}, ends(IDError)},
	{"CANCEL_PUSH before the promise", []step{ctrl(frame(frameCancelPush, num(0))), whole(promised(0), head200)}, fine},
	// RFC 9204 §3.1, §4.3.1, §4.4.3: QPACK.
	{"static entry 99", []step{msg(frame(frameHeaders, []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
	{"bad block in trailers", []step{msg(head200, frame(frameHeaders, []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
	{"table capacity of 10^10", []step{uni([]byte{streamQPACKEncoder, 0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25})}, ends(QPACKEncoderStreamError)},
	{"increment of 0", []step{uni([]byte{streamQPACKDecoder, 0x00})}, ends(QPACKDecoderStreamError)},
	// Limits: only the message fails.
	{"header list over the limit", []step{msg(fields(":status", "200", "a", strings.Repeat("0", 450), "b", strings.Repeat("0", 520)))}, cuts(ExcessiveLoad)},
	{"trailers over the limit", []step{msg(head200, frame(frameHeaders, []byte{0, 0}, bytes.Repeat([]byte{0xd1}, 400)))}, cuts(ExcessiveLoad)},
	{"informational over the limit", []step{msg(fields(append([]string{":status", "103"}, strings.Split(strings.Repeat("a,b,", 20)+"c,d", ",")...)...))}, cuts(ExcessiveLoad)},
	{"HEADERS that lie", []step{msg(lie(frameHeaders), grown)}, cuts(ExcessiveLoad)},
	{"PUSH_PROMISE that lies", []step{msg(lie(framePushPromise), grown)}, cuts(ExcessiveLoad)},
	{"unknown frames flood", []step{msg(head200, bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"empty DATA flood", []step{msg(head200, bytes.Repeat(data(""), 5*budgetBurst))}, ends(ExcessiveLoad)},
}

// pushedByName promises a request to a host that is in the server's certificate.
var pushedByName = promised(1, ":method", "GET", ":scheme", "https", ":authority", "example.com:8443", ":path", "/")

// wantCancelled waits until the first push is over, as the victim does not want it.
func wantCancelled(a *attacker) {
	eventually(a, func() bool {
		a.victim.mu.Lock()
		defer a.victim.mu.Unlock()
		return a.victim.pushes.ended(0) && a.victim.pushes.known[0] == nil
	})
}

// wantPromised waits until a push is promised that the victim wants.
func wantPromised(a *attacker) {
	eventually(a, func() bool {
		a.victim.mu.Lock()
		defer a.victim.mu.Unlock()
		p := a.victim.pushes.known[1]
		return p != nil && p.headers != nil
	})
}

// readPush makes the victim read a push.
func (a *attacker) readPush() {
	st, err := a.victim.AcceptStream(a.ctx)
	must(a, err)
	if h, err := st.Headers(); err == nil {
		a.Errorf("the push has headers %v", h)
	}
}
