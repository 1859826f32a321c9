package http3

import "testing"

// TestRFC9114OnServer and TestRFC9114OnClient are the MUSTs of RFC 9114 that the enemies' tables have for one
// end only, or not at all.
func TestRFC9114OnServer(t *testing.T) { onVictims(t, serverRules, (*attack).onServer) }
func TestRFC9114OnClient(t *testing.T) { onVictims(t, clientRules, (*attack).onClient) }

func onVictims(t *testing.T, list []attack, on func(*attack, *testing.T, bool)) {
	for _, x := range list {
		for name, hooked := range victims {
			t.Run(x.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				on(&x, t, hooked)
			})
		}
	}
}

var serverRules = []attack{
	// RFC 9114 §4.2: TE is for the header of a request.
	{"te in trailers", []step{msg(get(), fields("te", "trailers"))}, cuts(MessageError)},
	{"te that says more than trailers", []step{msg(get("te", "trailers, deflate"))}, cuts(MessageError)},
	// RFC 9114 §4.1: a second request on a stream.
	{"a second request", []step{msg(get(), get())}, cuts(MessageError)},
	// RFC 9114 §7.2.3: a push that the client has not allowed cannot be taken back.
	{"CANCEL_PUSH beyond the limit", []step{ctrl(frame(frameMaxPushID, num(5)), frame(frameCancelPush, num(6)))}, ends(IDError)},
	{"CANCEL_PUSH without MAX_PUSH_ID", []step{ctrl(frame(frameCancelPush, num(0)))}, ends(IDError)},
	// RFC 9114 §7.2.4.1: reserved settings mean nothing.
	{"reserved settings", []step{func(a *attacker) {
		uni([]byte{streamControl}, frame(frameSettings, num(0x21, 0, 0x40, 1<<61, 0x1f*1000+0x21, 7)))(a)
		a.control = a.last
	}, whole(get())}, fine},
	// RFC 9204 §4.2: QPACK's streams may be opened where nothing is to be said on them.
	{"QPACK streams without a word", []step{uni([]byte{streamQPACKEncoder}), uni([]byte{streamQPACKDecoder}), whole(get())}, fine},
}

var clientRules = []attack{
	// RFC 9114 §4.2: TE is for the header of a request.
	{"te in a response", []step{msg(fields(":status", "200", "te", "trailers"))}, cuts(MessageError)},
	{"te in trailers", []step{msg(head200, fields("te", "trailers"))}, cuts(MessageError)},
	{"connection", []step{msg(fields(":status", "200", "connection", "close"))}, cuts(MessageError)},
	// RFC 9114 §4.3: what a response may not have.
	{"pseudo-header field in trailers", []step{msg(head200, fields(":status", "200"))}, cuts(MessageError)},
	// RFC 9114 §4.2, §10.3: what cannot be in names.
	{"name with a space", []step{msg(fields(":status", "200", "a b", "c"))}, cuts(MessageError)},
	// RFC 9114 §7.2.5: PUSH_PROMISE.
	{"PUSH_PROMISE on control", []step{ctrl(promised(0))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.7: MAX_PUSH_ID.
	{"MAX_PUSH_ID on a response", []step{msg(head200, frame(frameMaxPushID, num(0)))}, ends(FrameUnexpected)},
	// RFC 9114 §7.2.8: frames of HTTP/2.
	{"frame 0x2 of HTTP/2 on control", []step{ctrl(frame(0x2))}, ends(FrameUnexpected)},
	{"frame 0x6 of HTTP/2 on a response", []step{msg(frame(0x6))}, ends(FrameUnexpected)},
	{"frame 0x9 of HTTP/2 on control", []step{ctrl(frame(0x9))}, ends(FrameUnexpected)},
	// RFC 9114 §7.1: a frame that is not as long as its fields.
	{"GOAWAY of two numbers", []step{ctrl(frame(frameGoAway, num(0, 0)))}, ends(FrameError)},
	{"CANCEL_PUSH without a number", []step{ctrl(frame(frameCancelPush))}, ends(FrameError)},
	{"half a setting", []step{uni([]byte{streamControl}, frame(frameSettings, num(6)))}, ends(FrameError)},
	// RFC 9114 §6.2.1, RFC 9204 §4.2: critical streams.
	{"a second encoder stream", []step{uni([]byte{streamQPACKEncoder}), uni([]byte{streamQPACKEncoder})}, ends(StreamCreationError)},
	{"a second decoder stream", []step{uni([]byte{streamQPACKDecoder}), uni([]byte{streamQPACKDecoder})}, ends(StreamCreationError)},
	{"encoder closed", []step{uni([]byte{streamQPACKEncoder}), closeLast}, ends(ClosedCriticalStream)},
	{"decoder closed", []step{uni([]byte{streamQPACKDecoder}), closeLast}, ends(ClosedCriticalStream)},
	// RFC 9204 §4.4.1: what the decoder says.
	{"acknowledgement of nothing", []step{uni([]byte{streamQPACKDecoder, 0x80})}, ends(QPACKDecoderStreamError)},
	// RFC 9114 §6.2, §6.2.3: streams that end before they say what they are.
	{"a stream that ends before its type", []step{uni([]byte{0xc0, 0}), closeLast, uni([]byte{0xc0, 0}), resetLast, whole(head200)}, fine},
}

// A server promises nothing after its client's GOAWAY, also below the push ID that is in it (RFC 9114 §5.2).
func TestNoPromiseAfterGoAway(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	eventuallyPushes(t, p)
	_, sv := p.request(t, post)
	_, err := sv.PushStream(getP, PushOptions{})
	must(t, err)
	p.client.GoAway()
	eventually(t, p.server.leaving)
	_, err = sv.PushStream(getP, PushOptions{})
	wantCode(t, "a promise behind GOAWAY", err, "ERR_INVALID_STATE")
}
