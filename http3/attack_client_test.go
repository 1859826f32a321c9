package http3

import (
	"bytes"
	"slices"
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

// askAgain makes the victim send another request, when it has heard what has become of the one before.
func askAgain(a *attacker) {
	<-a.result
	a.message = a.ask(false, "GET")
}

// bidi opens a bidirectional stream of a server's.
func bidi(a *attacker) {
	st := a.open()
	_, _ = st.Write([]byte{0})
}

var clientAttacks = slices.Concat(onBoth(ok200, 100), badPromises(), []attack{
	// RFC 9114 §4.1: the order of frames.
	{"a whole response", []step{whole(fields(":status", "103", "link", "</a>"), head200, data("x"), fields("a", "1"))}, fine},
	{"DATA behind an informational block", []step{msg(fields(":status", "103"), data("x"))}, ends(FrameUnexpected)},
	{"nothing at all", []step{whole()}, cuts(MessageError)},
	{"informational and nothing", []step{whole(fields(":status", "103"))}, cuts(MessageError)},
	{"the end within PUSH_PROMISE", []step{whole(promised(0)[:5])}, ends(FrameError)},
	// RFC 9114 §4.1, §4.1.2, §4.3.2, §4.4: responses, and tunnels.
	{"no :status", []step{msg(fields("a", "1"))}, cuts(MessageError)},
	{":status of 999", []step{msg(fields(":status", "999"))}, cuts(MessageError)},
	{":status of abc", []step{msg(fields(":status", "abc"))}, cuts(MessageError)},
	{":status of 20", []step{msg(fields(":status", "20"))}, cuts(MessageError)},
	{":status of 0200", []step{msg(fields(":status", "0200"))}, cuts(MessageError)},
	{":status of 101", []step{msg(fields(":status", "101"))}, cuts(MessageError)},
	{":status twice", []step{msg(fields(":status", "200", ":status", "200"))}, cuts(MessageError)},
	{":status behind others", []step{msg(fields("a", "1", ":status", "200"))}, cuts(MessageError)},
	{"te of trailers", []step{msg(fields(":status", "200", "te", "trailers"))}, cuts(MessageError)},
	{":method in a response", []step{msg(fields(":status", "200", ":method", "GET"))}, cuts(MessageError)},
	{"a second final response", []step{msg(head200, head200)}, cuts(MessageError)},
	{"an informational one behind the final", []step{msg(head200, fields(":status", "103"))}, cuts(MessageError)},
	{"204 with a body", []step{msg(fields(":status", "204"), data("x"))}, cuts(MessageError)},
	{"304 with the length of what it stands for", []step{whole(fields(":status", "304", "content-length", "4"))}, fine},
	{"HEAD: the length of what GET would have", []step{whole(fields(":status", "200", "content-length", "4"))}, fine},
	{"HEAD: a body", []step{msg(fields(":status", "200", "content-length", "1"), data("x"))}, cuts(MessageError)},
	{"CONNECT: trailers in the tunnel", []step{msg(head200, data("x"), fields("a", "1"))}, ends(FrameUnexpected)},
	{"CONNECT: a promise in the tunnel", []step{msg(head200, promised(0))}, ends(FrameUnexpected)},
	{"CONNECT: refused, with trailers", []step{whole(fields(":status", "403"), data("x"), fields("a", "1"))}, fine},
	{"storm of informational responses", []step{msg(bytes.Repeat(fields(":status", "102"), 5*maxInformational))}, cuts(ExcessiveLoad)},
	// RFC 9114 §6.1, §7.2, §7.2.3, §7.2.4, §7.2.6, §7.2.7, §7.2.8: frames on the wrong stream, and a stream that only clients open.
	{"SETTINGS on a response", []step{msg(frame(frameSettings))}, ends(FrameUnexpected)},
	{"GOAWAY on a response", []step{msg(head200, frame(frameGoAway, num(0)))}, ends(FrameUnexpected)},
	{"frame 0x2 of HTTP/2 on a response", []step{msg(frame(0x2))}, ends(FrameUnexpected)},
	{"frame 0x6 of HTTP/2 on a response", []step{msg(head200, frame(0x6))}, ends(FrameUnexpected)},
	{"frame 0x8 of HTTP/2 on a response", []step{msg(head200, frame(0x8))}, ends(FrameUnexpected)},
	{"frame 0x9 of HTTP/2 on a response", []step{msg(head200, data("x"), frame(0x9))}, ends(FrameUnexpected)},
	{"MAX_PUSH_ID on a response", []step{msg(head200, frame(frameMaxPushID, num(0)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE on a response", []step{msg(head200, frame(framePriorityStream, num(0)))}, ends(FrameUnexpected)},
	{"MAX_PUSH_ID from a server", []step{ctrl(frame(frameMaxPushID, num(1)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE from a server", []step{ctrl(frame(framePriorityStream, num(0)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE of a push from a server", []step{ctrl(frame(framePriorityPush, num(0)))}, ends(FrameUnexpected)},
	{"control begins with GOAWAY", []step{uni([]byte{streamControl}, frame(frameGoAway, num(0)))}, ends(MissingSettings)},
	{"CANCEL_PUSH on a response", []step{msg(head200, frame(frameCancelPush, num(0)))}, ends(FrameUnexpected)},
	{"pseudo-header field that is none", []step{msg(fields(":status", "200", ":foo", "x"))}, cuts(MessageError)},
	{"one blocked stream too many", []step{msg(blocked), func(a *attacker) { a.message = a.ask(false, "GET") }, msg(blocked)}, exceeds(QPACKDecompressionFailed)},
	{"blocked, reset, and again", []step{times(5, msg(blocked), heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 }), resetMsg,
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 }), askAgain), whole(head200)}, fine},
	{"blocked, served, and again", slices.Concat(unblocked(ok200, 5, askAgain), []step{whole(head200)}), fine},
	{"all that may be blocked, and insertions", []step{waitTogether(ok200, func(a *attacker) { a.message = a.ask(a.hooked, "GET") })}, fine},
	{"GOAWAY storm", []step{ctrl(bytes.Repeat(frame(frameGoAway, num(1<<40)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"CANCEL_PUSH storm", []step{ctrl(bytes.Repeat(frame(frameCancelPush, num(0)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"a bidirectional stream", []step{bidi}, ends(StreamCreationError)},
	// RFC 9114 §5.2, §7.2.6: GOAWAY carries a stream ID.
	{"GOAWAY with a stream of the server's", []step{ctrl(frame(frameGoAway, num(1)))}, ends(IDError)},
	{"GOAWAY with a unidirectional stream", []step{ctrl(frame(frameGoAway, num(2)))}, ends(IDError)},
	{"GOAWAY rises", []step{ctrl(frame(frameGoAway, num(4)), frame(frameGoAway, num(8)))}, ends(IDError)},
	// RFC 9114 §4.1, §4.6, §6.2.2, §7.2.3, §7.2.5: pushes. The victim lets five come.
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
	{"a promise on a push stream", []step{msg(promised(0)), pushStream(0, promised(1)), func(a *attacker) { a.readPush() }}, ends(FrameUnexpected)},
	{"a push stream beyond the limit", []step{pushStream(5)}, ends(IDError)},
	{"a promise to a client that allows none", []step{msg(promised(0))}, ends(IDError)},
	{"a push stream to a client that allows none", []step{pushStream(0)}, ends(IDError)},
	{"CANCEL_PUSH to a client that allows none", []step{ctrl(frame(frameCancelPush, num(0)))}, ends(IDError)},
	{"two streams of one push", []step{pushStream(0), pushStream(0)}, ends(IDError)},
	{"a push stream whose ID never comes", []step{uni([]byte{streamPush, 0x40}), closeLast, whole(head200)}, fine},
	{"CANCEL_PUSH beyond the limit", []step{ctrl(frame(frameCancelPush, num(5)))}, ends(IDError)},
	{"CANCEL_PUSH before the promise", []step{ctrl(frame(frameCancelPush, num(0))), whole(promised(0), head200)}, fine},
	// RFC 9204: QPACK.
	// Limits: only the message fails.
	{"header list over the limit", []step{msg(fields(":status", "200", "a", strings.Repeat("0", 450), "b", strings.Repeat("0", 520)))}, cuts(ExcessiveLoad)},
	{"trailers over the limit", []step{msg(head200, frame(frameHeaders, []byte{0, 0}, bytes.Repeat([]byte{0xd1}, 400)))}, cuts(ExcessiveLoad)},
	{"informational over the limit", []step{msg(fields(append([]string{":status", "103"}, strings.Split(strings.Repeat("a,b,", 20)+"c,d", ",")...)...))}, cuts(ExcessiveLoad)},
	{"PUSH_PROMISE that lies", []step{msg(lie(framePushPromise), grown)}, cuts(ExcessiveLoad)},
})

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
