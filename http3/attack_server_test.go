package http3

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestAttacksOnServer(t *testing.T) {
	for _, x := range serverAttacks {
		for name, hooked := range victims {
			t.Run(x.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				x.onServer(t, hooked)
			})
		}
	}
}

var grown = bytes.Repeat([]byte("x"), 600)

var serverAttacks = append(onBoth(get, 16), []attack{
	// RFC 9114 §4.1, §4.4: the order of frames.
	{"a whole request", []step{whole(get(), data("body"), fields("a", "1"))}, fine},
	{"a request without control stream yet", []step{whole(get())}, fine},
	{"nothing at all", []step{whole()}, cuts(RequestIncomplete)},
	{"unknown frame and nothing", []step{whole(frame(0x21, []byte("abc")))}, cuts(RequestIncomplete)},
	{"HEADERS within CONNECT", []step{msg(fields(":method", "CONNECT", ":authority", "a:1"), fields("a", "1"))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2, §7.2.3, §7.2.4, §7.2.6, §7.2.7, §7.2.8, §9: frames on the wrong stream.
	{"SETTINGS on a request", []step{msg(frame(frameSettings))}, ends(FrameUnexpected)},
	{"CANCEL_PUSH on a request", []step{msg(frame(frameCancelPush, num(0)))}, ends(FrameUnexpected)},
	{"GOAWAY on a request", []step{msg(get(), frame(frameGoAway, num(0)))}, ends(FrameUnexpected)},
	{"MAX_PUSH_ID on a request", []step{msg(frame(frameMaxPushID, num(0)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE on a request", []step{msg(frame(framePriorityStream, num(0)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE of a push on a request", []step{msg(frame(framePriorityPush, num(0)))}, ends(FrameUnexpected)},
	{"PUSH_PROMISE to a server", []step{msg(get(), promised(0))}, ends(FrameUnexpected)},
	{"frame 0x2 of HTTP/2 on a request", []step{msg(frame(0x2))}, ends(FrameUnexpected)},
	{"frame 0x6 of HTTP/2 on a request", []step{msg(get(), frame(0x6))}, ends(FrameUnexpected)},
	{"frame 0x8 of HTTP/2 on a request", []step{msg(frame(0x8))}, ends(FrameUnexpected)},
	{"frame 0x9 of HTTP/2 on a request", []step{msg(frame(0x9))}, ends(FrameUnexpected)},
	{"unknown frames on control", []step{ctrl(frame(0x21, grown), frame(0x40), frame(frameMaxPushID, num(7))), whole(get())}, fine},
	// RFC 9114 §7.1, §10.8: frames that are not as long as they say.
	{"PRIORITY_UPDATE that lies", []step{ctrl(lie(framePriorityStream))}, ends(ExcessiveLoad)},
	{"MAX_PUSH_ID that lies", []step{ctrl(lie(frameMaxPushID))}, exceeds(FrameError)},
	{"MAX_PUSH_ID without a number", []step{ctrl(frame(frameMaxPushID))}, ends(FrameError)},
	{"MAX_PUSH_ID of two numbers", []step{ctrl(frame(frameMaxPushID, num(1, 2)))}, ends(FrameError)},
	// RFC 9114 §4.2, §4.3, §4.3.1, §4.4: fields.
	{":method twice", []step{msg(get(":method", "GET"))}, cuts(MessageError)},
	{":path twice", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/", ":path", "/"))}, cuts(MessageError)},
	{"no :method", []step{msg(fields(":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"no :scheme", []step{msg(fields(":method", "GET", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"no :path", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a"))}, cuts(MessageError)},
	{"no authority", []step{msg(fields(":method", "GET", ":scheme", "https", ":path", "/"))}, cuts(MessageError)},
	{"empty authority", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "", ":path", "/"))}, cuts(MessageError)},
	{"Host alone", []step{whole(fields(":method", "GET", ":scheme", "https", ":path", "/", "host", "a"))}, fine},
	{"Host is another", []step{msg(get("host", "b"))}, cuts(MessageError)},
	{"Host is the same", []step{whole(get("host", "a"))}, fine},
	{"Host twice", []step{msg(get("host", "a", "host", "a"))}, cuts(MessageError)},
	{"user information", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "me@a", ":path", "/"))}, cuts(MessageError)},
	{"empty :path", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", ""))}, cuts(MessageError)},
	{"relative :path", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", "x"))}, cuts(MessageError)},
	{"* for GET", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", "*"))}, cuts(MessageError)},
	{"* for OPTIONS", []step{whole(fields(":method", "OPTIONS", ":scheme", "https", ":authority", "a", ":path", "*"))}, fine},
	{":path with a space", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/ HTTP/1.1"))}, cuts(MessageError)},
	{":path with a fragment", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/#a"))}, cuts(MessageError)},
	{":path with CR LF, of another scheme", []step{msg(fields(":method", "GET", ":scheme", "x", ":authority", "a", ":path", "/\r\n"))}, cuts(MessageError)},
	{":authority with CR LF, of another scheme", []step{msg(fields(":method", "GET", ":scheme", "x", ":authority", "a\r\n", ":path", "/"))}, cuts(MessageError)},
	{"HTTPS without authority", []step{msg(fields(":method", "GET", ":scheme", "HTTPS", ":path", "/"))}, cuts(MessageError)},
	{":scheme that is none", []step{msg(fields(":method", "GET", ":scheme", "1x", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{":method with a space", []step{msg(fields(":method", "GET /", ":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"unknown pseudo-header field", []step{msg(fields(":method", "GET", ":foo", "x", ":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"misspelt pseudo-header field", []step{msg(fields(":method", "GET", ":scheme", "https", ":autority", "a", ":path", "/"))}, cuts(MessageError)},
	{":status in a request", []step{msg(get(":status", "200"))}, cuts(MessageError)},
	{":protocol without an agreement", []step{msg(fields(":method", "CONNECT", ":protocol", "x", ":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"pseudo-header field behind others", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", "x", "y", ":path", "/"))}, cuts(MessageError)},
	{"te of trailers", []step{whole(get("te", "trailers"))}, fine},
	{"CONNECT", []step{whole(fields(":method", "CONNECT", ":authority", "a:1"), data("x"))}, fine},
	{"CONNECT with :path", []step{msg(fields(":method", "CONNECT", ":authority", "a:1", ":path", "/"))}, cuts(MessageError)},
	{"CONNECT without a port", []step{msg(fields(":method", "CONNECT", ":authority", "a"))}, cuts(MessageError)},
	{"CONNECT with an empty port", []step{msg(fields(":method", "CONNECT", ":authority", "a:"))}, cuts(MessageError)},
	{"CONNECT with port 0", []step{msg(fields(":method", "CONNECT", ":authority", "a:0"))}, cuts(MessageError)},
	{"CONNECT with port 65536", []step{msg(fields(":method", "CONNECT", ":authority", "a:65536"))}, cuts(MessageError)},
	{"CONNECT without a host", []step{msg(fields(":method", "CONNECT", ":authority", ":80"))}, cuts(MessageError)},
	{"CONNECT to an IPv6 address", []step{whole(fields(":method", "CONNECT", ":authority", "[::1]:80"), data("x"))}, fine},
	{"CONNECT without authority", []step{msg(fields(":method", "CONNECT", "host", "a"))}, cuts(MessageError)},
	// RFC 9114 §6.2.1, §7.2.4: control streams and settings.
	{"control begins with MAX_PUSH_ID", []step{uni([]byte{streamControl}, frame(frameMaxPushID, num(1)))}, ends(MissingSettings)},
	// RFC 9114 §6.2, §6.2.2: other unidirectional streams.
	{"a push stream from a client", []step{uni([]byte{streamPush})}, ends(StreamCreationError)},
	// RFC 9114 §4.6, §7.2.3, §7.2.7: pushes.
	{"MAX_PUSH_ID falls", []step{ctrl(frame(frameMaxPushID, num(5)), frame(frameMaxPushID, num(4)))}, ends(IDError)},
	{"MAX_PUSH_ID rises", []step{ctrl(frame(frameMaxPushID, num(5)), frame(frameMaxPushID, num(5)), frame(frameMaxPushID, num(1<<62-1))), whole(get())}, fine},
	{"MAX_PUSH_ID storm", []step{ctrl(bytes.Repeat(frame(frameMaxPushID, num(5)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"CANCEL_PUSH for what was not promised", []step{ctrl(frame(frameMaxPushID, num(5)), frame(frameCancelPush, num(0)))}, ends(IDError)},
	// RFC 9114 §5.2: GOAWAY carries a push ID.
	{"GOAWAY rises", []step{ctrl(frame(frameGoAway, num(1)), frame(frameGoAway, num(2)))}, ends(IDError)},
	{"GOAWAY falls", []step{ctrl(frame(frameGoAway, num(2)), frame(frameGoAway, num(1)), frame(frameGoAway, num(1))), whole(get())}, fine},
	{"GOAWAY storm", []step{ctrl(bytes.Repeat(frame(frameGoAway, num(1)), 5*budgetBurst))}, ends(ExcessiveLoad)},
	// RFC 9218 §7: PRIORITY_UPDATE.
	{"PRIORITY_UPDATE", []step{ctrl(frame(framePriorityStream, num(0), []byte("u=0, i"))), whole(get())}, fine},
	{"PRIORITY_UPDATE of junk", []step{ctrl(frame(framePriorityStream, num(0), []byte(`"`))), whole(get())}, fine},
	{"PRIORITY_UPDATE without an ID", []step{ctrl(frame(framePriorityStream))}, ends(FrameError)},
	{"PRIORITY_UPDATE of a unidirectional stream", []step{ctrl(frame(framePriorityStream, num(2), []byte("u=1")))}, ends(IDError)},
	{"PRIORITY_UPDATE beyond the limit", []step{ctrl(frame(framePriorityStream, num(1<<20), []byte("u=1")))}, ends(IDError)},
	{"PRIORITY_UPDATE of no push", []step{ctrl(frame(framePriorityPush, num(0), []byte("u=1")))}, ends(IDError)},
	{"PRIORITY_UPDATE of a long value", []step{ctrl(frame(framePriorityStream, num(0), bytes.Repeat([]byte("a"), 300)))}, ends(ExcessiveLoad)},
	{"PRIORITY_UPDATE flood", []step{ctrl(bytes.Repeat(frame(framePriorityStream, num(0), []byte("u=1")), 5*budgetBurst))}, ends(ExcessiveLoad)},
	// RFC 9204: QPACK.
	{"one blocked stream too many", []step{msg(blocked), func(a *attacker) { a.message = nil }, msg(blocked)}, exceeds(QPACKDecompressionFailed)},
	{"blocked, reset, and again", []step{times(5, msg(blocked), heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 }), resetMsg,
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 }), func(a *attacker) { a.message = nil }), whole(get())}, fine},
	{"blocked, served, and again", slices.Concat(unblocked(get, 5, func(a *attacker) { a.message = nil }), []step{whole(get())}), fine},
	{"all that may be blocked, and insertions", []step{waitTogether(get, func(a *attacker) { a.message = nil })}, fine},
	// Limits: only the message fails.
	{"header list over the limit", []step{msg(get("a", strings.Repeat("0", 450), "b", strings.Repeat("0", 450)))}, cuts(ExcessiveLoad)},
	{"more fields than the limit", []step{msg(get(strings.Split(strings.Repeat("a,b,", 17)+"c,d", ",")...))}, cuts(ExcessiveLoad)},
	{"a block longer than the limit", []step{msg(get("a", strings.Repeat("\x7f", 10)+strings.Repeat("&", 900)))}, cuts(ExcessiveLoad)},
	{"trailers over the limit", []step{msg(get(), fields("a", strings.Repeat("0", 450), "b", strings.Repeat("0", 450), "c", ""))}, cuts(ExcessiveLoad)},
	{"a bomb of references", []step{msg(frame(frameHeaders, []byte{0, 0}, bytes.Repeat([]byte{0xd1}, 400)))}, cuts(ExcessiveLoad)},
	// What is legal and of no use.
	{"requests of HTTP/0.9", []step{whole([]byte("GET /index.html\r\n"))}, ends(FrameError)},
	{"requests of HTTP/1.1", []step{whole([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))}, ends(FrameError)},
	{"preface of HTTP/2", []step{msg([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), msg(nil), whole()}, ends(FrameError)},
	{"a ClientHello in a stream", []step{whole([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})}, ends(QPACKDecompressionFailed)},
	{"cookies without end", []step{msg(get(slices.Repeat([]string{"cookie", "a=b"}, 5000)...))}, cuts(ExcessiveLoad)},
}...)
