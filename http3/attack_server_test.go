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

var serverAttacks = []attack{
	// RFC 9114 §4.1: the order of frames.
	{"a whole request", []step{whole(get(), data("body"), fields("a", "1"))}, fine},
	{"a request without control stream yet", []step{whole(get())}, fine},
	{"DATA before HEADERS", []step{msg(data("x"))}, ends(FrameUnexpected)},
	{"HEADERS behind the trailers", []step{msg(get(), fields("a", "1"), fields("b", "2"))}, ends(FrameUnexpected)},
	{"DATA behind the trailers", []step{msg(get(), fields("a", "1"), data("x"))}, ends(FrameUnexpected)},
	{"nothing at all", []step{whole()}, cuts(RequestIncomplete)},
	{"empty DATA", []step{whole(get(), data(""), data("x"), data(""))}, fine},
	// RFC 9114 §4.4: there is nothing but DATA in a tunnel.
	{"HEADERS within CONNECT", []step{msg(fields(":method", "CONNECT", ":authority", "a:1"), fields("a", "1"))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.8, §9: frames that nobody knows.
	{"unknown frame and nothing", []step{whole(frame(0x21, []byte("abc")))}, cuts(RequestIncomplete)},
	{"unknown frames everywhere", []step{whole(frame(0x21, grown), get(), frame(0x40), data("x"), frame(0x5f, grown), fields("a", "1"), frame(0x21))}, fine},
	// RFC 9114 §7.2: frames on the wrong stream.
	{"PRIORITY_UPDATE on a request", []step{msg(frame(framePriorityStream, num(0)))}, ends(FrameUnexpected)},
	{"PRIORITY_UPDATE of a push on a request", []step{msg(frame(framePriorityPush, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.1, §7.2.2: DATA and HEADERS.
	{"DATA on control", []step{ctrl(data("x"))}, ends(FrameUnexpected)},
	{"HEADERS on control", []step{ctrl(get())}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.3: CANCEL_PUSH.
	{"CANCEL_PUSH on a request", []step{msg(frame(frameCancelPush, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.4: SETTINGS.
	{"SETTINGS on a request", []step{msg(frame(frameSettings))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.5: PUSH_PROMISE.
	{"PUSH_PROMISE to a server", []step{msg(get(), promised(0))}, ends(FrameUnexpected)},
	{"PUSH_PROMISE on control", []step{ctrl(promised(0))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.6: GOAWAY.
	{"GOAWAY on a request", []step{msg(get(), frame(frameGoAway, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.7: MAX_PUSH_ID.
	{"MAX_PUSH_ID on a request", []step{msg(frame(frameMaxPushID, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.8: frames of HTTP/2.
	{"frame 0x2 of HTTP/2 on a request", []step{msg(frame(0x2))}, ends(FrameUnexpected)},
	{"frame 0x6 of HTTP/2 on a request", []step{msg(get(), frame(0x6))}, ends(FrameUnexpected)},
	{"frame 0x8 of HTTP/2 on a request", []step{msg(frame(0x8))}, ends(FrameUnexpected)},
	{"frame 0x9 of HTTP/2 on a request", []step{msg(frame(0x9))}, ends(FrameUnexpected)},
	{"frame 0x2 of HTTP/2 on control", []step{ctrl(frame(0x2))}, ends(FrameUnexpected)},
	{"frame 0x6 of HTTP/2 on control", []step{ctrl(frame(0x6))}, ends(FrameUnexpected)},
	{"frame 0x8 of HTTP/2 on control", []step{ctrl(frame(0x8))}, ends(FrameUnexpected)},
	{"frame 0x9 of HTTP/2 on control", []step{ctrl(frame(0x9))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.8, §9: frames that nobody knows, here too.
	{"unknown frames on control", []step{ctrl(frame(0x21, grown), frame(0x40), frame(frameMaxPushID, num(7))), whole(get())}, fine},
	// RFC 9114 §7.1, §10.8: frames that are not as long as they say.
	{"the end within a frame's head", []step{whole(get(), []byte{0x40})}, ends(FrameError)},
	{"the end within HEADERS", []step{whole(get()[:5])}, ends(FrameError)},
	{"the end within DATA", []step{whole(get(), data("abc")[:3])}, ends(FrameError)},
	{"the end within an unknown frame", []step{whole(get(), frame(0x21, grown)[:100])}, ends(FrameError)},
	{"HEADERS that lie", []step{msg(lie(frameHeaders), grown)}, cuts(ExcessiveLoad)},
	{"DATA that lies", []step{whole(get(), lie(frameData), grown)}, ends(FrameError)},
	{"an unknown frame that lies", []step{whole(lie(0x21), grown)}, ends(FrameError)},
	{"SETTINGS that lie", []step{uni([]byte{streamControl}, lie(frameSettings))}, ends(ExcessiveLoad)},
	{"PRIORITY_UPDATE that lies", []step{ctrl(lie(framePriorityStream))}, ends(ExcessiveLoad)},
	{"MAX_PUSH_ID that lies", []step{ctrl(lie(frameMaxPushID))}, ends(FrameError)},
	{"an unknown frame that lies on control", []step{ctrl(lie(0x21), grown), whole(get())}, fine},
	{"MAX_PUSH_ID without a number", []step{ctrl(frame(frameMaxPushID))}, ends(FrameError)},
	{"MAX_PUSH_ID of two numbers", []step{ctrl(frame(frameMaxPushID, num(1, 2)))}, ends(FrameError)},
	{"GOAWAY of half a number", []step{ctrl(frame(frameGoAway, []byte{0x80, 0}))}, ends(FrameError)},
	{"CANCEL_PUSH without a number", []step{ctrl(frame(frameCancelPush))}, ends(FrameError)},
	// RFC 9114 §4.3, §4.3.1: what a request asks for.
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
	// RFC 9114 §4.3: pseudo-header fields.
	{"unknown pseudo-header field", []step{msg(fields(":method", "GET", ":foo", "x", ":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"misspelt pseudo-header field", []step{msg(fields(":method", "GET", ":scheme", "https", ":autority", "a", ":path", "/"))}, cuts(MessageError)},
	{":status in a request", []step{msg(get(":status", "200"))}, cuts(MessageError)},
	{":protocol without an agreement", []step{msg(fields(":method", "CONNECT", ":protocol", "x", ":scheme", "https", ":authority", "a", ":path", "/"))}, cuts(MessageError)},
	{"pseudo-header field behind others", []step{msg(fields(":method", "GET", ":scheme", "https", ":authority", "a", "x", "y", ":path", "/"))}, cuts(MessageError)},
	{"pseudo-header field in trailers", []step{msg(get(), fields(":path", "/"))}, cuts(MessageError)},
	// RFC 9114 §4.2: names in lower case.
	{"upper case", []step{msg(get("Accept", "x"))}, cuts(MessageError)},
	{"upper case in trailers", []step{msg(get(), fields("A", "x"))}, cuts(MessageError)},
	// RFC 9114 §4.2, §10.3: what cannot be in names and values.
	{"empty name", []step{msg(get("", "x"))}, cuts(MessageError)},
	{"name with a space", []step{msg(get("a b", "x"))}, cuts(MessageError)},
	{"name with a colon", []step{msg(get("a:b", "x"))}, cuts(MessageError)},
	{"name beyond ASCII", []step{msg(get("é", "x"))}, cuts(MessageError)},
	{"value with CR", []step{msg(get("a", "x\ry"))}, cuts(MessageError)},
	{"value with LF", []step{msg(get("a", "x\ny"))}, cuts(MessageError)},
	{"value with NUL", []step{msg(get("a", "x\x00y"))}, cuts(MessageError)},
	// RFC 9114 §4.1, §4.2: fields of connections of HTTP/1.
	{"connection", []step{msg(get("connection", "close"))}, cuts(MessageError)},
	{"proxy-connection", []step{msg(get("proxy-connection", "close"))}, cuts(MessageError)},
	{"keep-alive", []step{msg(get("keep-alive", "1"))}, cuts(MessageError)},
	{"transfer-encoding", []step{msg(get("transfer-encoding", "chunked"))}, cuts(MessageError)},
	{"upgrade", []step{msg(get("upgrade", "h2c"))}, cuts(MessageError)},
	{"te of gzip", []step{msg(get("te", "gzip"))}, cuts(MessageError)},
	{"te of trailers", []step{whole(get("te", "trailers"))}, fine},
	// RFC 9114 §4.4: CONNECT.
	{"CONNECT", []step{whole(fields(":method", "CONNECT", ":authority", "a:1"), data("x"))}, fine},
	{"CONNECT with :path", []step{msg(fields(":method", "CONNECT", ":authority", "a:1", ":path", "/"))}, cuts(MessageError)},
	{"CONNECT without authority", []step{msg(fields(":method", "CONNECT", "host", "a"))}, cuts(MessageError)},
	// RFC 9114 §4.1.2: Content-Length.
	{"Content-Length", []step{whole(get("content-length", "3"), data("a"), data("bc"))}, fine},
	{"Content-Length too long", []step{whole(get("content-length", "4"), data("abc"))}, cuts(MessageError)},
	{"Content-Length too long, with trailers", []step{whole(get("content-length", "4"), data("abc"), fields("a", "1"))}, cuts(MessageError)},
	{"Content-Length and nothing", []step{whole(get("content-length", "1"))}, cuts(MessageError)},
	{"Content-Length and an empty DATA", []step{whole(get("content-length", "1"), data(""))}, cuts(MessageError)},
	{"Content-Length and the end by itself", []step{msg(get("content-length", "1")), whole()}, cuts(MessageError)},
	{"Content-Length too short", []step{msg(get("content-length", "2"), data("abc"))}, cuts(MessageError)},
	{"Content-Length twice", []step{msg(get("content-length", "3", "content-length", "3"))}, cuts(MessageError)},
	{"Content-Length of -1", []step{msg(get("content-length", "-1"))}, cuts(MessageError)},
	{"Content-Length of +1", []step{msg(get("content-length", "+1"))}, cuts(MessageError)},
	{"Content-Length of 2^64", []step{msg(get("content-length", "18446744073709551616"))}, cuts(MessageError)},
	{"Content-Length list", []step{msg(get("content-length", "1, 1"))}, cuts(MessageError)},
	// RFC 9114 §6.2.1, §7.2.4: control streams and settings.
	{"control begins with MAX_PUSH_ID", []step{uni([]byte{streamControl}, frame(frameMaxPushID, num(1)))}, ends(MissingSettings)},
	{"control begins with an unknown frame", []step{uni([]byte{streamControl}, frame(0x21))}, ends(MissingSettings)},
	{"control ends at once", []step{uni([]byte{streamControl}), closeLast}, ends(ClosedCriticalStream)},
	{"SETTINGS twice", []step{ctrl(frame(frameSettings))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.4, §7.2.4.1: settings.
	{"setting 0x0", []step{uni([]byte{streamControl}, frame(frameSettings, num(0, 1)))}, ends(SettingsError)},
	{"setting 0x2 of HTTP/2", []step{uni([]byte{streamControl}, frame(frameSettings, num(2, 1)))}, ends(SettingsError)},
	{"setting 0x3 of HTTP/2", []step{uni([]byte{streamControl}, frame(frameSettings, num(3, 1)))}, ends(SettingsError)},
	{"setting 0x4 of HTTP/2", []step{uni([]byte{streamControl}, frame(frameSettings, num(4, 1)))}, ends(SettingsError)},
	{"setting 0x5 of HTTP/2", []step{uni([]byte{streamControl}, frame(frameSettings, num(5, 1)))}, ends(SettingsError)},
	{"a setting twice", []step{uni([]byte{streamControl}, frame(frameSettings, num(6, 1, 6, 1)))}, ends(SettingsError)},
	{"an unknown setting twice", []step{uni([]byte{streamControl}, frame(frameSettings, num(0x21, 1, 0x21, 1)))}, ends(SettingsError)},
	{"half a setting", []step{uni([]byte{streamControl}, frame(frameSettings, num(6)))}, ends(FrameError)},
	{"ENABLE_CONNECT_PROTOCOL of 2", []step{uni([]byte{streamControl}, frame(frameSettings, num(8, 2)))}, ends(SettingsError)},
	{"H3_DATAGRAM of 2", []step{uni([]byte{streamControl}, frame(frameSettings, num(0x33, 2)))}, ends(SettingsError)},
	// RFC 9114 §7.2.4, §9: settings that nobody knows.
	{"an unknown setting", []step{func(a *attacker) {
		uni([]byte{streamControl}, frame(frameSettings, num(0x21, 77, 0x4242, 1)))(a)
		a.control = a.last
	}, whole(get())}, fine},
	// RFC 9114 §6.2.1, RFC 9204 §4.2: critical streams.
	{"a second control stream", []step{ctrl(), uni([]byte{streamControl})}, ends(StreamCreationError)},
	{"a second encoder stream", []step{uni([]byte{streamQPACKEncoder}), uni([]byte{streamQPACKEncoder})}, ends(StreamCreationError)},
	{"a second decoder stream", []step{uni([]byte{streamQPACKDecoder}), uni([]byte{streamQPACKDecoder})}, ends(StreamCreationError)},
	{"control closed", []step{ctrl(), closeLast}, ends(ClosedCriticalStream)},
	{"control reset", []step{ctrl(), heard(func(s *Session) bool { return s.has(streamControl) }), resetLast}, ends(ClosedCriticalStream)},
	{"encoder closed", []step{uni([]byte{streamQPACKEncoder}), closeLast}, ends(ClosedCriticalStream)},
	{"encoder reset", []step{uni([]byte{streamQPACKEncoder}), heard(func(s *Session) bool { return s.has(streamQPACKEncoder) }), resetLast}, ends(ClosedCriticalStream)},
	{"decoder closed", []step{uni([]byte{streamQPACKDecoder}), closeLast}, ends(ClosedCriticalStream)},
	{"control stopped", []step{ctrl(), stopPeer}, ends(ClosedCriticalStream)},
	// RFC 9114 §6.2, §6.2.3, §9: other unidirectional streams.
	{"a stream of an unknown type", []step{uni(num(0x21), grown), func(a *attacker) { a.wantStopped(StreamCreationError) }, whole(get())}, fine},
	{"a stream whose type never comes", []step{uni([]byte{0x40}), whole(get())}, fine},
	{"a stream that ends before its type", []step{uni([]byte{0xc0, 0}), closeLast, uni([]byte{0xc0, 0}), resetLast, whole(get())}, fine},
	{"more streams of unknown types than are allowed at once", []step{times(100, uni(num(0x21)), closeLast), whole(get())}, fine},
	{"streams of unknown types at line rate", []step{times(5*budgetBurst, uni(num(0x21)), closeLast)}, ends(ExcessiveLoad)},
	// RFC 9114 §6.2.2: pushes come from servers.
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
	{"a block that is cut off", []step{msg(frame(frameHeaders, []byte{0}))}, ends(QPACKDecompressionFailed)},
	{"an empty block", []step{msg(frame(frameHeaders))}, ends(QPACKDecompressionFailed)},
	{"Huffman that ends badly", []step{msg(frame(frameHeaders, []byte{0, 0, 0x51, 0x81, 0x00}))}, ends(QPACKDecompressionFailed)},
	{"table capacity flood", []step{uni([]byte{streamQPACKEncoder}, bytes.Repeat([]byte{0x20}, 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"table churn", []step{uni([]byte{streamQPACKEncoder}, firstEntry, make([]byte, 20_000)), whole(get())}, fine},
	{"cancellation flood", []step{uni([]byte{streamQPACKDecoder}, bytes.Repeat([]byte{0x44}, 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"cancellation of nothing", []step{uni([]byte{streamQPACKDecoder, 0x40}), whole(get())}, fine},
	// RFC 9204 §3.1: the static table ends at 98.
	{"static entry 99", []step{msg(frame(frameHeaders, []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
	{"bad block in trailers", []step{msg(get(), frame(frameHeaders, []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
	{"insertion with static name 99", []step{uni([]byte{streamQPACKEncoder, 0x3f, 0xe1, 0x1f, 0xff, 36, 1, 'x'})}, ends(QPACKEncoderStreamError)},
	// RFC 9204 §2.2.1, §2.2.3: references to what is not there.
	{"entry of an empty table", []step{msg(frame(frameHeaders, []byte{0, 0, 0x80}))}, ends(QPACKDecompressionFailed)},
	{"entry beyond what the block needs", []step{uni([]byte{streamQPACKEncoder}, firstEntry), msg(frame(frameHeaders, []byte{2, 0, 0x81}))}, ends(QPACKDecompressionFailed)},
	{"duplicate of nothing", []step{uni([]byte{streamQPACKEncoder, 0x00})}, ends(QPACKEncoderStreamError)},
	// RFC 9204 §3.2.2: insertions that do not fit.
	{"insertion without capacity", []step{uni([]byte{streamQPACKEncoder, 0xc0, 0x01, 'a'})}, ends(QPACKEncoderStreamError)},
	{"insertion larger than the table", []step{uni([]byte{streamQPACKEncoder, 0x3f, 0x02, 0x41, 'x', 2, 'y', 'y'})}, ends(QPACKEncoderStreamError)},
	// RFC 9204 §4.3.1: the capacity.
	{"table capacity of 10^10", []step{uni([]byte{streamQPACKEncoder, 0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25})}, ends(QPACKEncoderStreamError)},
	// RFC 9204 §4.4.1, §4.4.3: what the decoder says.
	{"acknowledgement of nothing", []step{uni([]byte{streamQPACKDecoder, 0x80})}, ends(QPACKDecoderStreamError)},
	{"increment of 0", []step{uni([]byte{streamQPACKDecoder, 0x00})}, ends(QPACKDecoderStreamError)},
	{"increment beyond what was inserted", []step{uni([]byte{streamQPACKDecoder, 0x01})}, ends(QPACKDecoderStreamError)},
	// RFC 9204 §4.5.1.1, §4.5.1.2: the prefix of a block.
	{"Required Insert Count that cannot be", []step{msg(frame(frameHeaders, []byte{0xff, 0x02, 0, 0x80}))}, ends(QPACKDecompressionFailed)},
	{"Base below 0", []step{uni([]byte{streamQPACKEncoder}, firstEntry), msg(frame(frameHeaders, []byte{2, 0x81, 0x80}))}, ends(QPACKDecompressionFailed)},
	// RFC 9204 §7.4: numbers and strings.
	{"index of more than 62 bits", []step{msg(frame(frameHeaders, []byte{0, 0}, bytes.Repeat([]byte{0xff}, 10), []byte{0x7f}))}, ends(QPACKDecompressionFailed)},
	{"string longer than its block", []step{msg(frame(frameHeaders, []byte{0, 0, 0x51, 0x05, 'a'}))}, ends(QPACKDecompressionFailed)},
	// RFC 9204 §2.1.2: blocked streams.
	{"one blocked stream too many", []step{msg(blocked), func(a *attacker) { a.message = nil }, msg(blocked)}, ends(QPACKDecompressionFailed)},
	{"blocked, reset, and again", []step{times(5, msg(blocked), heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 1 }), resetMsg,
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 }), func(a *attacker) { a.message = nil }), whole(get())}, fine},
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
	{"unknown frames flood", []step{msg(get(), bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"unknown frames flood on control", []step{ctrl(bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
	{"empty DATA flood", []step{msg(get(), bytes.Repeat(data(""), 5*budgetBurst))}, ends(ExcessiveLoad)},
}

// blocked is a header block that needs an insertion which does not come.
var blocked = frame(frameHeaders, []byte{2, 0, 0x80})

// wantStopped waits until the victim has asked to stop the latest unidirectional stream.
func (a *attacker) wantStopped(code ErrorCode) {
	a.Helper()
	eventually(a, func() bool {
		_, err := a.last.TryWrite([]byte("x"))
		return err != nil
	})
	if err := wrap(a.last.Err()); !isCut(err, code) {
		a.Errorf("the stream ends with %v, want %v", err, code)
	}
}

// has reports whether the peer's critical stream of a type has come.
func (s *Session) has(kind int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened[kind]
}
