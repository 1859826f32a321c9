package http3

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// onBoth are the attacks that are the same in both roles. head is a header block that begins a message, with more
// fields; most is how many unidirectional streams the victim takes at once.
func onBoth(head func(kv ...string) []byte, most int) []attack {
	return slices.Concat(badFields(head), badBodies(head), badFrames(head), badSettings(head), badStreams(head, most), badQPACK(head))
}

// tuned changes the limits of the victims of some attacks, which are those of scant for all others.
var tuned = map[string]func(o *Options){
	"a blocked stream where none may be":         func(o *Options) { o.QPACKBlockedStreams = quic.None },
	"all that may be blocked, and insertions":    func(o *Options) { o.QPACKBlockedStreams = manyBlocked },
	"an insertion where there is no table":       func(o *Options) { o.QPACKMaxTableCapacity = quic.None },
	"a promise to a client that allows none":     func(o *Options) { o.MaxPushes = quic.None },
	"a push stream to a client that allows none": func(o *Options) { o.MaxPushes = quic.None },
	"CANCEL_PUSH to a client that allows none":   func(o *Options) { o.MaxPushes = quic.None },

	"10^5 lines":                                    func(o *Options) { *o = Options{MaxHeaderLength: 1 << 20, MaxHeaderPairs: 10_000} },
	"10^4 references to a large entry":              func(o *Options) { *o = Options{} },
	"10^4 references to a large entry, in trailers": func(o *Options) { *o = Options{MaxHeaderPairs: 10_000} },
}

// largeEntry is an insertion of 4,000 bytes, into a table of 4 KiB, and references a header block that
// would have 10^4 times as much.
var (
	largeEntry = slices.Concat([]byte{0x3f, 0xe1, 0x1f, 0x41, 'x', 0x7f, 0xa1, 0x1e}, bytes.Repeat([]byte("y"), 4000))
	references = append([]byte{2, 0}, bytes.Repeat([]byte{0x80}, 10_000)...)
)

// ok200 is the header block of a response, and more fields.
func ok200(kv ...string) []byte { return fields(append([]string{":status", "200"}, kv...)...) }

// badField are fields that no block may have, in names and values (RFC 9114 §4.2, §4.1.2, §10.3). The first
// stands for itself in the tables.
var badField = []struct {
	name string
	kv   []string
}{
	{"upper case", []string{"Accept", "x"}},
	{"empty name", []string{"", "x"}},
	{"name with a space", []string{"a b", "x"}},
	{"name with a colon", []string{"a:b", "x"}},
	{"name with CR LF", []string{"a\r\nb", "x"}},
	{"name with NUL", []string{"a\x00b", "x"}},
	{"name beyond ASCII", []string{"é", "x"}},
	{"value with CR", []string{"a", "x\ry"}},
	{"value with LF", []string{"a", "x\ny"}},
	{"value with NUL", []string{"a", "x\x00y"}},
	{"connection", []string{"connection", "close"}},
	{"proxy-connection", []string{"proxy-connection", "close"}},
	{"keep-alive", []string{"keep-alive", "1"}},
	{"transfer-encoding", []string{"transfer-encoding", "chunked"}},
	{"upgrade", []string{"upgrade", "h2c"}},
	{"te of gzip", []string{"te", "gzip"}},
	{"Content-Length twice", []string{"content-length", "3", "content-length", "3"}},
	{"Content-Length of -1", []string{"content-length", "-1"}},
	{"Content-Length of +1", []string{"content-length", "+1"}},
	{"Content-Length of 2^64", []string{"content-length", "18446744073709551616"}},
	{"Content-Length list", []string{"content-length", "1, 1"}},
}

func badFields(head func(kv ...string) []byte) []attack {
	list := []attack{
		{"upper case in trailers", []step{msg(head(), fields("A", "x"))}, cuts(MessageError)},
		{"pseudo-header field in trailers", []step{msg(head(), fields(":path", "/"))}, cuts(MessageError)},
		{":status in trailers", []step{msg(head(), fields(":status", "200"))}, cuts(MessageError)},
	}
	for i, f := range badField {
		list = append(list, attack{f.name, []step{msg(head(f.kv...))}, cuts(MessageError)})
		if i > 0 {
			list = append(list, attack{f.name + " in trailers", []step{msg(head(), fields(f.kv...))}, cuts(MessageError)})
		}
	}
	return list
}

// badPromises are the same fields where a server promises a request.
func badPromises() (list []attack) {
	for _, f := range badField {
		list = append(list, attack{f.name + " in a promise", []step{msg(promised(0, slices.Concat(getFields, f.kv)...))}, cuts(MessageError)})
	}
	return list
}

// RFC 9114 §4.1.2: Content-Length.
func badBodies(head func(kv ...string) []byte) []attack {
	return []attack{
		{"Content-Length", []step{whole(head("content-length", "3"), data("a"), data("bc"))}, fine},
		{"Content-Length too long", []step{whole(head("content-length", "4"), data("abc"))}, cuts(MessageError)},
		{"Content-Length too long, with trailers", []step{whole(head("content-length", "4"), data("abc"), fields("a", "1"))}, cuts(MessageError)},
		{"Content-Length and nothing", []step{whole(head("content-length", "1"))}, cuts(MessageError)},
		{"Content-Length and an empty DATA", []step{whole(head("content-length", "1"), data(""))}, cuts(MessageError)},
		{"Content-Length and the end by itself", []step{msg(head("content-length", "1")), whole()}, cuts(MessageError)},
		{"Content-Length too short", []step{msg(head("content-length", "2"), data("abc"))}, cuts(MessageError)},
	}
}

func badFrames(head func(kv ...string) []byte) []attack {
	return []attack{
		// RFC 9114 §4.1: the order of frames.
		{"DATA before HEADERS", []step{msg(data("x"))}, ends(FrameUnexpected)},
		{"HEADERS behind the trailers", []step{msg(head(), fields("a", "1"), fields("b", "2"))}, ends(FrameUnexpected)},
		{"DATA behind the trailers", []step{msg(head(), fields("a", "1"), data("x"))}, ends(FrameUnexpected)},
		// RFC 9114 §7.2.8, §9: frames that nobody knows.
		{"unknown frames everywhere", []step{whole(frame(0x21, grown), head(), frame(0x40), data("x"), frame(0x5f, grown), fields("a", "1"), frame(0x21))}, fine},
		// RFC 9114 §4.1, §7.2.1: DATA of nothing.
		{"empty DATA", []step{whole(head(), data(""), data("x"), data(""))}, fine},
		// RFC 9114 §7.2, §7.2.1, §7.2.2, §7.2.5, §7.2.8: frames on the wrong stream.
		{"DATA on control", []step{ctrl(data("x"))}, ends(FrameUnexpected)},
		{"HEADERS on control", []step{ctrl(head())}, ends(FrameUnexpected)},
		{"PUSH_PROMISE on control", []step{ctrl(promised(0))}, ends(FrameUnexpected)},
		{"frame 0x2 of HTTP/2 on control", []step{ctrl(frame(0x2))}, ends(FrameUnexpected)},
		{"frame 0x6 of HTTP/2 on control", []step{ctrl(frame(0x6))}, ends(FrameUnexpected)},
		{"frame 0x8 of HTTP/2 on control", []step{ctrl(frame(0x8))}, ends(FrameUnexpected)},
		{"frame 0x9 of HTTP/2 on control", []step{ctrl(frame(0x9))}, ends(FrameUnexpected)},
		// RFC 9114 §7.1, §10.8: frames that are not as long as they say.
		{"the end within a frame's head", []step{whole(head(), []byte{0x40})}, ends(FrameError)},
		{"the end within HEADERS", []step{whole(head()[:3])}, ends(FrameError)},
		{"the end within DATA", []step{whole(head(), data("abc")[:3])}, ends(FrameError)},
		{"the end within an unknown frame", []step{whole(head(), frame(0x21, grown)[:100])}, ends(FrameError)},
		{"HEADERS that lie", []step{msg(lie(frameHeaders), grown)}, cuts(ExcessiveLoad)},
		{"DATA that lies", []step{whole(head(), lie(frameData), grown)}, ends(FrameError)},
		{"an unknown frame that lies", []step{whole(lie(0x21), grown)}, ends(FrameError)},
		{"SETTINGS that lie", []step{uni([]byte{streamControl}, lie(frameSettings))}, ends(ExcessiveLoad)},
		{"GOAWAY that lies", []step{ctrl(lie(frameGoAway))}, exceeds(FrameError)},
		{"CANCEL_PUSH that lies", []step{ctrl(lie(frameCancelPush))}, exceeds(FrameError)},
		{"an unknown frame that lies on control", []step{ctrl(lie(0x21), grown), whole(head())}, fine},
		{"GOAWAY of half a number", []step{ctrl(frame(frameGoAway, []byte{0x80, 0}))}, ends(FrameError)},
		{"GOAWAY of two numbers", []step{ctrl(frame(frameGoAway, num(0, 0)))}, ends(FrameError)},
		{"CANCEL_PUSH without a number", []step{ctrl(frame(frameCancelPush))}, ends(FrameError)},
		// RFC 9114 §10.5: what is legal and of no use.
		{"unknown frames flood", []step{msg(head(), bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
		{"unknown frames flood on control", []step{ctrl(bytes.Repeat(frame(0x21), 5*budgetBurst))}, ends(ExcessiveLoad)},
		{"empty DATA flood", []step{msg(head(), bytes.Repeat(data(""), 5*budgetBurst))}, ends(ExcessiveLoad)},
	}
}

// RFC 9114 §6.2.1, §7.2.4, §7.2.4.1, §9: settings.
func badSettings(head func(kv ...string) []byte) []attack {
	return []attack{
		{"control begins with an unknown frame", []step{uni([]byte{streamControl}, frame(0x21))}, ends(MissingSettings)},
		{"control begins with CANCEL_PUSH", []step{uni([]byte{streamControl}, frame(frameCancelPush, num(0)))}, ends(MissingSettings)},
		{"control ends at once", []step{uni([]byte{streamControl}), closeLast}, ends(ClosedCriticalStream)},
		{"SETTINGS twice", []step{ctrl(frame(frameSettings))}, ends(FrameUnexpected)},
		{"setting 0x0", []step{settings(0, 1)}, ends(SettingsError)},
		{"setting 0x2 of HTTP/2", []step{settings(2, 1)}, ends(SettingsError)},
		{"setting 0x3 of HTTP/2", []step{settings(3, 1)}, ends(SettingsError)},
		{"setting 0x4 of HTTP/2", []step{settings(4, 1)}, ends(SettingsError)},
		{"setting 0x5 of HTTP/2", []step{settings(5, 1)}, ends(SettingsError)},
		{"a setting twice", []step{settings(6, 1, 6, 1)}, ends(SettingsError)},
		{"an unknown setting twice", []step{settings(0x21, 1, 0x21, 1)}, ends(SettingsError)},
		{"half a setting", []step{settings(6)}, ends(FrameError)},
		{"ENABLE_CONNECT_PROTOCOL of 2", []step{settings(8, 2)}, ends(SettingsError)},
		{"H3_DATAGRAM of 2", []step{settings(0x33, 2)}, ends(SettingsError)}, // RFC 9297 §2.1.1
		{"an unknown setting", []step{settings(0x21, 77, 0x4242, 1), whole(head())}, fine},
	}
}

// RFC 9114 §6.2, §6.2.1, §6.2.3, §9 and RFC 9204 §4.2: unidirectional streams, critical and other.
func badStreams(head func(kv ...string) []byte, most int) []attack {
	known := func(kind int) step { return heard(func(s *Session) bool { return s.has(kind) }) }
	return []attack{
		{"control closed", []step{ctrl(), closeLast}, ends(ClosedCriticalStream)},
		{"encoder closed", []step{uni([]byte{streamQPACKEncoder}), closeLast}, ends(ClosedCriticalStream)},
		{"decoder closed", []step{uni([]byte{streamQPACKDecoder}), closeLast}, ends(ClosedCriticalStream)},
		{"control reset", []step{ctrl(), known(streamControl), resetLast}, ends(ClosedCriticalStream)},
		{"encoder reset", []step{uni([]byte{streamQPACKEncoder}), known(streamQPACKEncoder), resetLast}, ends(ClosedCriticalStream)},
		{"decoder reset", []step{uni([]byte{streamQPACKDecoder}), known(streamQPACKDecoder), resetLast}, ends(ClosedCriticalStream)},
		{"control stopped", []step{ctrl(), stopPeer(streamControl)}, ends(ClosedCriticalStream)},
		{"encoder stopped", []step{settings(1, 4096), stopPeer(streamQPACKEncoder)}, ends(ClosedCriticalStream)},
		{"decoder stopped", []step{ctrl(), uni([]byte{streamQPACKEncoder}, firstEntry), stopPeer(streamQPACKDecoder)}, ends(ClosedCriticalStream)},
		{"a second control stream", []step{ctrl(), uni([]byte{streamControl})}, ends(StreamCreationError)},
		{"a second encoder stream", []step{uni([]byte{streamQPACKEncoder}), uni([]byte{streamQPACKEncoder})}, ends(StreamCreationError)},
		{"a second decoder stream", []step{uni([]byte{streamQPACKDecoder}), uni([]byte{streamQPACKDecoder})}, ends(StreamCreationError)},
		{"a stream of an unknown type", []step{uni(num(0x21), grown), func(a *attacker) { a.wantStopped(StreamCreationError) }, whole(head())}, fine},
		{"a stream whose type never comes", []step{uni([]byte{0x40}), whole(head())}, fine},
		{"streams whose types never come, all that there may be", []step{ctrl(), times(most-1, uni([]byte{0xc0, 0, 0, 0, 0, 0, 0})), noMore, whole(head())}, fine},
		{"a stream that ends before its type", []step{uni([]byte{0xc0, 0}), closeLast, uni([]byte{0xc0, 0}), resetLast, whole(head())}, fine},
		{"more streams of unknown types than are allowed at once", []step{times(3*most, uni(num(0x21)), closeLast), whole(head())}, fine},
		{"streams of unknown types at line rate", []step{times(5*budgetBurst, uni(num(0x21)), closeLast)}, ends(ExcessiveLoad)},
	}
}

// noMore says that the victim takes no further unidirectional stream for now.
func noMore(a *attacker) {
	a.Helper()
	if st, err := a.q.TryOpenStream(quic.StreamOptions{HalfOpen: true}); err == nil {
		a.Errorf("stream %d is one more than there may be", st.ID())
	}
}

// RFC 9204 §2.1.2, §3.1, §3.2.2, §4.3.1, §4.4.1, §4.4.3: QPACK.
func badQPACK(head func(kv ...string) []byte) []attack {
	encoder := func(b ...[]byte) step { return uni(append([][]byte{{streamQPACKEncoder}}, b...)...) }
	decoder := func(b ...byte) step { return uni([]byte{streamQPACKDecoder}, b) }
	section := func(b ...[]byte) step { return msg(frame(frameHeaders, b...)) }
	return []attack{
		{"static entry 99", []step{section([]byte{0, 0, 0xff, 36})}, ends(QPACKDecompressionFailed)},
		{"a block that is cut off", []step{section([]byte{0})}, ends(QPACKDecompressionFailed)},
		{"an empty block", []step{section()}, ends(QPACKDecompressionFailed)},
		{"Huffman that ends badly", []step{section([]byte{0, 0, 0x51, 0x81, 0x00})}, ends(QPACKDecompressionFailed)},
		{"Required Insert Count that cannot be", []step{section([]byte{0xff, 0x02, 0, 0x80})}, ends(QPACKDecompressionFailed)},
		{"Base below 0", []step{encoder(firstEntry), section([]byte{2, 0x81, 0x80})}, ends(QPACKDecompressionFailed)},
		{"index of more than 62 bits", []step{section([]byte{0, 0}, bytes.Repeat([]byte{0xff}, 10), []byte{0x7f})}, ends(QPACKDecompressionFailed)},
		{"Required Insert Count of more than 62 bits", []step{section(bytes.Repeat([]byte{0xff}, 10), []byte{0x7f})}, ends(QPACKDecompressionFailed)},
		{"string longer than its block", []step{section([]byte{0, 0, 0x51, 0x05, 'a'})}, ends(QPACKDecompressionFailed)},
		{"entry of an empty table", []step{section([]byte{0, 0, 0x80})}, ends(QPACKDecompressionFailed)},
		{"entry beyond what the block needs", []step{encoder(firstEntry), section([]byte{2, 0, 0x81})}, ends(QPACKDecompressionFailed)},
		{"bad block in trailers", []step{msg(head(), frame(frameHeaders, []byte{0, 0, 0xff, 36}))}, ends(QPACKDecompressionFailed)},
		{"a blocked stream where none may be", []step{msg(blocked)}, exceeds(QPACKDecompressionFailed)},
		{"table capacity of 10^10", []step{encoder([]byte{0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25})}, exceeds(QPACKEncoderStreamError)},
		{"insertion without capacity", []step{encoder([]byte{0xc0, 0x01, 'a'})}, ends(QPACKEncoderStreamError)},
		{"insertion larger than the table", []step{encoder([]byte{0x3f, 0x02, 0x41, 'x', 2, 'y', 'y'})}, ends(QPACKEncoderStreamError)},
		{"insertion with static name 99", []step{encoder([]byte{0x3f, 0xe1, 0x1f, 0xff, 36, 1, 'x'})}, ends(QPACKEncoderStreamError)},
		{"insertion of an integer of more than 62 bits", []step{encoder(bytes.Repeat([]byte{0xff}, 10), []byte{0x7f})}, ends(QPACKEncoderStreamError)},
		{"an insertion where there is no table", []step{encoder(firstEntry)}, exceeds(QPACKEncoderStreamError)},
		{"duplicate of nothing", []step{encoder([]byte{0x00})}, ends(QPACKEncoderStreamError)},
		{"table capacity flood", []step{encoder(bytes.Repeat([]byte{0x20}, 5*budgetBurst))}, ends(ExcessiveLoad)},
		{"10^5 lines", []step{section([]byte{0, 0}, bytes.Repeat([]byte{0xd1}, 100_000))}, cuts(ExcessiveLoad)},
		{"10^4 references to a large entry", []step{encoder(largeEntry), section(references)}, cuts(ExcessiveLoad)},
		{"10^4 references to a large entry, in trailers", []step{encoder(largeEntry), msg(head(), frame(frameHeaders, references))}, cuts(ExcessiveLoad)},
		{"table churn", []step{encoder(firstEntry, make([]byte, 20_000)), whole(head())}, fine},
		{"increment of 0", []step{decoder(0x00)}, ends(QPACKDecoderStreamError)},
		{"increment beyond what was inserted", []step{decoder(0x01)}, ends(QPACKDecoderStreamError)},
		{"acknowledgement of nothing", []step{decoder(0x80)}, ends(QPACKDecoderStreamError)},
		{"cancellation of nothing", []step{decoder(0x40), whole(head())}, fine},
		{"cancellation flood", []step{decoder(bytes.Repeat([]byte{0x44}, 5*budgetBurst)...)}, ends(ExcessiveLoad)},
	}
}

// blocked is a header block that needs an insertion which does not come.
var blocked = frame(frameHeaders, []byte{2, 0, 0x80})

// unblocked sends n messages whose header blocks wait until what they need is inserted. next comes between two.
func unblocked(head func(kv ...string) []byte, n int, next step) (steps []step) {
	waiting := func(n int) step { return heard(func(s *Session) bool { return s.Stats().QPACKBlocked == n }) }
	lines := head()[len(frame(frameHeaders, []byte{0, 0})):]
	for i := range n {
		insertion := func(a *attacker) { _, _ = a.encoder.Write(firstEntry[3:]) }
		if i == 0 {
			insertion = func(a *attacker) {
				uni([]byte{streamQPACKEncoder}, firstEntry)(a)
				a.encoder = a.last
			}
		}
		steps = append(steps, whole(frame(frameHeaders, []byte{byte(i) + 2, 0}, lines, []byte{0x80})), waiting(1), insertion, waiting(0), next)
	}
	return steps
}

// manyBlocked is as many blocked streams as may be by default.
const manyBlocked = 100

// waitTogether sends as many messages as may wait, all for the same entry, and inserts those before it one by one: nobody
// looks at a block before what it needs is there. next comes between two messages.
func waitTogether(head func(kv ...string) []byte, next step) step {
	const last = 127 // one fewer than a table of 4 KiB can have
	lines := head()[len(frame(frameHeaders, []byte{0, 0})):]
	block := frame(frameHeaders, []byte{last + 1, 0}, lines, []byte{0x80})
	return func(a *attacker) {
		var answered []func() error
		for i := range manyBlocked {
			if i > 0 {
				answered = append(answered, a.answered()) // of the last, run sees to that
				next(a)
			}
			whole(block)(a)
		}
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == manyBlocked })(a)
		before := a.victim.stats.vain.Load()
		for i := range uint64(last) {
			if i == 0 {
				uni([]byte{streamQPACKEncoder}, firstEntry)(a)
			} else {
				_, _ = a.last.Write([]byte{0}) // a Duplicate (RFC 9204 §4.3.4)
			}
			heard(func(s *Session) bool { return s.Stats().QPACKInserted == i+1 })(a)
		}
		heard(func(s *Session) bool { return s.Stats().QPACKBlocked == 0 })(a)
		for _, wait := range answered {
			if err := wait(); err != nil {
				a.Error(err)
			}
		}
		// A program with hooks may look when a stream's end has come, too.
		if n := a.victim.stats.vain.Load() - before; n > manyBlocked {
			a.Errorf("%d looks at %d blocks that had to wait", n, manyBlocked)
		}
	}
}

// answered returns what waits until the latest message has its answer, or its reader.
func (a *attacker) answered() func() error {
	st, result := a.message, a.result
	return func() error {
		b, err := io.ReadAll(st) // the request, if there is a result: the stream is over then
		if result != nil {
			return <-result
		}
		if err == nil && !bytes.HasSuffix(b, []byte("ok")) {
			err = fmt.Errorf("the answer is %q", b)
		}
		return err
	}
}

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
