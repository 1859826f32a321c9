package wire

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// Integers in the wire strings below: 4bbc is 3004, 8003ef77 is 257911,
// ffff ffff ffff ffff is 1<<62-1.
var frameTests = []struct {
	frame  Frame
	wire   string
	log    string
	toEnd  bool // the data runs to the end of the packet: a truncation is another frame
	typeIs FrameType
}{
	{frame: Padding{1}, wire: "00", log: "PADDING len=1", typeIs: 0x00},
	{frame: Padding{5}, wire: "0000000000", log: "PADDING len=5", typeIs: 0x00, toEnd: true},
	{frame: Ping{}, wire: "01", log: "PING", typeIs: 0x01},
	{
		frame: MakeAck(ranges.Set{{Start: 7, End: 8}}, 3004, nil),
		wire:  "02 07 4bbc 00 00", log: "ACK delay=3004 7", typeIs: 0x02,
	},
	{
		frame: MakeAck(ranges.Set{{Start: 0, End: 4}, {Start: 5, End: 8}, {Start: 100, End: 3005}}, 0, nil),
		wire:  "02 4bbc 00 02 4b58 405b 02 00 03", log: "ACK delay=0 100-3004 5-7 0-3", typeIs: 0x02,
	},
	{
		frame: MakeAck(ranges.Set{{Start: 0, End: 1 << 62}}, 1<<62-1, nil),
		wire:  "02 ffffffffffffffff ffffffffffffffff 00 ffffffffffffffff",
		log:   "ACK delay=4611686018427387903 0-4611686018427387903", typeIs: 0x02,
	},
	{
		frame: MakeAck(ranges.Set{{Start: 1, End: 2}, {Start: 3, End: 5}}, 8, &ECNCounts{3004, 0, 257911}),
		wire:  "03 04 08 01 01 00 00 4bbc 00 8003ef77", log: "ACK_ECN delay=8 3-4 1 ect0=3004 ect1=0 ce=257911", typeIs: 0x03,
	},
	{
		frame: ResetStream{ID: 4, Code: 3004, FinalSize: 257911},
		wire:  "04 04 4bbc 8003ef77", log: "RESET_STREAM id=4 code=0xbbc final=257911", typeIs: 0x04,
	},
	{frame: StopSending{ID: 4, Code: 3004}, wire: "05 04 4bbc", log: "STOP_SENDING id=4 code=0xbbc", typeIs: 0x05},
	{frame: Crypto{0, []byte("hi")}, wire: "06 00 02 6869", log: "CRYPTO off=0 len=2", typeIs: 0x06},
	{frame: Crypto{1<<62 - 3, []byte("hi")}, wire: "06 fffffffffffffffd 02 6869", log: "CRYPTO off=4611686018427387901 len=2", typeIs: 0x06},
	{frame: Crypto{3004, []byte{}}, wire: "06 4bbc 00", log: "CRYPTO off=3004 len=0", typeIs: 0x06},
	{frame: NewToken{[]byte("tok")}, wire: "07 03 746f6b", log: "NEW_TOKEN len=3", typeIs: 0x07},
	{frame: Stream{ID: 4, Data: []byte("hi")}, wire: "08 04 6869", log: "STREAM id=4 off=0 len=2", typeIs: 0x08, toEnd: true},
	{frame: Stream{ID: 4, Data: []byte{}, Fin: true}, wire: "09 04", log: "STREAM id=4 off=0 len=0 fin", typeIs: 0x09},
	{frame: Stream{ID: 4, Data: []byte("hi"), HasLen: true}, wire: "0a 04 02 6869", log: "STREAM id=4 off=0 len=2", typeIs: 0x0a},
	{frame: Stream{ID: 4, Data: []byte("hi"), HasLen: true, Fin: true}, wire: "0b 04 02 6869", log: "STREAM id=4 off=0 len=2 fin", typeIs: 0x0b},
	{frame: Stream{ID: 4, Offset: 3004, Data: []byte("hi")}, wire: "0c 04 4bbc 6869", log: "STREAM id=4 off=3004 len=2", typeIs: 0x0c, toEnd: true},
	{frame: Stream{ID: 4, Offset: 3004, Data: []byte("hi"), Fin: true}, wire: "0d 04 4bbc 6869", log: "STREAM id=4 off=3004 len=2 fin", typeIs: 0x0d, toEnd: true},
	{frame: Stream{ID: 4, Offset: 3004, Data: []byte("hi"), HasLen: true}, wire: "0e 04 4bbc 02 6869", log: "STREAM id=4 off=3004 len=2", typeIs: 0x0e},
	{
		frame: Stream{ID: 1<<62 - 1, Offset: 1<<62 - 2, Data: []byte("h"), HasLen: true, Fin: true},
		wire:  "0f ffffffffffffffff fffffffffffffffe 01 68",
		log:   "STREAM id=4611686018427387903 off=4611686018427387902 len=1 fin", typeIs: 0x0f,
	},
	{frame: MaxData{3004}, wire: "10 4bbc", log: "MAX_DATA max=3004", typeIs: 0x10},
	{frame: MaxStreamData{4, 3004}, wire: "11 04 4bbc", log: "MAX_STREAM_DATA id=4 max=3004", typeIs: 0x11},
	{frame: MaxStreams{false, 3004}, wire: "12 4bbc", log: "MAX_STREAMS_BIDI max=3004", typeIs: 0x12},
	{frame: MaxStreams{true, 1 << 60}, wire: "13 d000000000000000", log: "MAX_STREAMS_UNI max=1152921504606846976", typeIs: 0x13},
	{frame: DataBlocked{3004}, wire: "14 4bbc", log: "DATA_BLOCKED limit=3004", typeIs: 0x14},
	{frame: StreamDataBlocked{4, 3004}, wire: "15 04 4bbc", log: "STREAM_DATA_BLOCKED id=4 limit=3004", typeIs: 0x15},
	{frame: StreamsBlocked{false, 1 << 60}, wire: "16 d000000000000000", log: "STREAMS_BLOCKED_BIDI limit=1152921504606846976", typeIs: 0x16},
	{frame: StreamsBlocked{true, 3004}, wire: "17 4bbc", log: "STREAMS_BLOCKED_UNI limit=3004", typeIs: 0x17},
	{
		frame: NewConnectionID{Seq: 3004, RetirePriorTo: 2, ID: cid("a1a2a3a4"), Token: ResetToken{0: 1, 15: 2}},
		wire:  "18 4bbc 02 04 a1a2a3a4 01000000000000000000000000000002",
		log:   "NEW_CONNECTION_ID seq=3004 retire=2 id=a1a2a3a4", typeIs: 0x18,
	},
	{
		frame: NewConnectionID{Seq: 2, RetirePriorTo: 2, ID: cid(strings.Repeat("ab", 20))},
		wire:  "18 02 02 14" + strings.Repeat("ab", 20) + strings.Repeat("00", 16),
		log:   "NEW_CONNECTION_ID seq=2 retire=2 id=" + strings.Repeat("ab", 20), typeIs: 0x18,
	},
	{frame: RetireConnectionID{3004}, wire: "19 4bbc", log: "RETIRE_CONNECTION_ID seq=3004", typeIs: 0x19},
	{frame: PathChallenge{[8]byte{0: 1, 7: 8}}, wire: "1a 0100000000000008", log: "PATH_CHALLENGE 0100000000000008", typeIs: 0x1a},
	{frame: PathResponse{[8]byte{0: 1, 7: 8}}, wire: "1b 0100000000000008", log: "PATH_RESPONSE 0100000000000008", typeIs: 0x1b},
	{
		frame: Close{Code: 0x178, Frame: FrameCrypto, Reason: []byte("no\n")},
		wire:  "1c 4178 06 03 6e6f0a", log: `CONNECTION_CLOSE code=CRYPTO_ERROR(0x178) frame=CRYPTO reason="no\n"`, typeIs: 0x1c,
	},
	{frame: Close{Code: 7, Frame: 0x2f, Reason: []byte{}}, wire: "1c 07 2f 00", log: `CONNECTION_CLOSE code=FRAME_ENCODING_ERROR frame=0x2f reason=""`, typeIs: 0x1c},
	{frame: Close{App: true, Code: 3004, Reason: []byte("no")}, wire: "1d 4bbc 02 6e6f", log: `APPLICATION_CLOSE code=0xbbc reason="no"`, typeIs: 0x1d},
	{frame: HandshakeDone{}, wire: "1e", log: "HANDSHAKE_DONE", typeIs: 0x1e},
	{frame: ImmediateAck{}, wire: "1f", log: "IMMEDIATE_ACK", typeIs: 0x1f},
	{frame: Datagram{Data: []byte("hi")}, wire: "30 6869", log: "DATAGRAM len=2", typeIs: 0x30, toEnd: true},
	{frame: Datagram{Data: []byte{}}, wire: "30", log: "DATAGRAM len=0", typeIs: 0x30},
	{frame: Datagram{Data: []byte("hi"), HasLen: true}, wire: "31 02 6869", log: "DATAGRAM len=2", typeIs: 0x31},
	{frame: Datagram{Data: []byte{}, HasLen: true}, wire: "31 00", log: "DATAGRAM len=0", typeIs: 0x31},
	{
		frame: AckFrequency{Seq: 7, Threshold: 3004, MaxDelay: 257911, Reorder: 3},
		wire:  "40af 07 4bbc 8003ef77 03", log: "ACK_FREQUENCY seq=7 threshold=3004 delay=257911 reorder=3", typeIs: 0xaf,
	},
	{
		frame: AckFrequency{Seq: 1<<62 - 1, Threshold: 1<<62 - 1, MaxDelay: 1<<62 - 1, Reorder: 1<<62 - 1},
		wire:  "40af ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
		log:   "ACK_FREQUENCY seq=4611686018427387903 threshold=4611686018427387903 delay=4611686018427387903 reorder=4611686018427387903", typeIs: 0xaf,
	},
}

// One row, every view: wire bytes, struct, type, log, and each truncation (RFC 9000 §19.3).
func TestFrames(t *testing.T) {
	seen := map[FrameType]bool{}
	for _, test := range frameTests {
		seen[test.typeIs] = true
		b := unhex(t, test.wire)
		if got := test.frame.Append([]byte("xy")); string(got[:2]) != "xy" || !bytes.Equal(got[2:], b) {
			t.Errorf("%v: Append = %x, want %x", test.frame, got[2:], b)
		}
		if got := test.frame.Type(); got != test.typeIs {
			t.Errorf("%v: Type = %#x, want %#x", test.frame, uint64(got), uint64(test.typeIs))
		}
		if got := test.frame.String(); got != test.log {
			t.Errorf("String = %q, want %q", got, test.log)
		}
		frames, err := ParseFrames(b)
		if err != nil || len(frames) != 1 || !reflect.DeepEqual(frames[0], test.frame) {
			t.Errorf("ParseFrames(%x) = %v, %v; want %v", b, frames, err, test.frame)
		}
		for n := varint.Len(uint64(test.typeIs)); n < len(b); n++ {
			c := varint.NewCursor(b[:n])
			f, err := ParseFrame(&c)
			switch {
			case err == nil && !test.toEnd:
				t.Errorf("%v cut to %x: parsed as %v", test.frame, b[:n], f)
			case err == nil && !bytes.Equal(f.Append(nil), b[:n]):
				t.Errorf("%v cut to %x: parsed as %v", test.frame, b[:n], f)
			case err != nil:
				wantError(t, test.frame.String(), err, FrameEncodingError, test.typeIs)
			}
		}
	}
	for ft := range FrameType(0x140) {
		if ft.Known() != seen[ft] {
			t.Errorf("%v (%#x) is known %v and tested %v", ft, uint64(ft), ft.Known(), seen[ft])
		}
	}
}

// allInARow returns the frames of frameTests that have an end, as one payload.
func allInARow() (payload []byte, frames []Frame) {
	for _, test := range frameTests {
		if test.toEnd || test.typeIs == FrameStream|streamFin || test.typeIs == FrameDatagram {
			continue
		}
		payload = test.frame.Append(payload)
		frames = append(frames, test.frame)
	}
	return payload, frames
}

func wantError(t *testing.T, what string, err error, code ErrorCode, frame FrameType) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Frame != frame {
		t.Errorf("%s: error %v, want %v in %v", what, err, code, frame)
	}
}

func TestParseFramesRefuses(t *testing.T) {
	max := "ffffffffffffffff"
	for _, test := range []struct {
		why, wire string
		code      ErrorCode
		frame     FrameType
	}{
		{"unknown type", "2f", FrameEncodingError, 0x2f},
		{"h3spec's unknown type", "20", FrameEncodingError, 0x20},
		{"huge type", max, FrameEncodingError, 1<<62 - 1},
		{"type cut short", "40", FrameEncodingError, 0},
		{"PING in two bytes", "4001", ProtocolViolation, 0x01},
		{"STREAM in eight bytes", "c000000000000008 00", ProtocolViolation, 0x08},
		{"unknown type in four bytes", "8000002f", ProtocolViolation, 0x2f},
		{"first range below 0", "02 05 00 00 06", FrameEncodingError, 0x02},
		{"gap below 0", "02 05 00 01 00 04 00", FrameEncodingError, 0x02},
		{"second range below 0", "02 05 00 01 00 03 01", FrameEncodingError, 0x02},
		{"gaps that wrap around", "02 05 00 03 00" + max + max + max + max + max + max, FrameEncodingError, 0x02},
		{"more ranges than bytes", "02 05 00 02 00 00 00", FrameEncodingError, 0x02},
		{"2^62-1 ranges", "02 05 00 " + max + " 00 00 00", FrameEncodingError, 0x02},
		{"counts cut short", "03 05 00 00 00 01 01", FrameEncodingError, 0x03},
		{"CRYPTO ends at 2^62", "06 " + max + " 01 00", FrameEncodingError, 0x06},
		{"CRYPTO longer than the packet", "06 00 " + max + " 00", FrameEncodingError, 0x06},
		{"empty token", "07 00", FrameEncodingError, 0x07},
		{"STREAM ends at 2^62", "0e 00 " + max + " 01 00", FrameEncodingError, 0x0e},
		{"STREAM to the end ends at 2^62", "0c 00 " + max + " 00", FrameEncodingError, 0x0c},
		{"STREAM longer than the packet", "0a 00 02 00", FrameEncodingError, 0x0a},
		{"MAX_STREAMS 2^60+1", "12 d000000000000001", FrameEncodingError, 0x12},
		{"MAX_STREAMS 2^60+1, uni", "13 d000000000000001", FrameEncodingError, 0x13},
		{"STREAMS_BLOCKED 2^60+1", "16 d000000000000001", FrameEncodingError, 0x16},
		{"STREAMS_BLOCKED 2^60+1, uni", "17 d000000000000001", FrameEncodingError, 0x17},
		{"ID of 0 bytes", "18 01 00 00" + strings.Repeat("00", 16), FrameEncodingError, 0x18},
		{"ID of 21 bytes", "18 01 00 15" + strings.Repeat("00", 21+16), FrameEncodingError, 0x18},
		{"ID of 255 bytes", "18 01 00 ff" + strings.Repeat("00", 255+16), FrameEncodingError, 0x18},
		{"Retire Prior To above the sequence number", "18 01 02 01 aa" + strings.Repeat("00", 16), FrameEncodingError, 0x18},
		{"reason longer than the packet", "1c 00 00 02 00", FrameEncodingError, 0x1c},
		{"DATAGRAM longer than the packet", "31 02 00", FrameEncodingError, 0x31},
	} {
		frames, err := ParseFrames(append([]byte{0x01}, unhex(t, test.wire)...))
		wantError(t, test.why, err, test.code, test.frame)
		if len(frames) != 1 {
			t.Errorf("%s: %v before it, want the PING only", test.why, frames)
		}
	}
}

// All frames that have an end may follow one another.
func TestParseFramesInARow(t *testing.T) {
	b, want := allInARow()
	b = append([]byte{0, 0, 0}, b...) // joins the PADDING that comes first
	want[0] = Padding{4}
	got, err := ParseFrames(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
	if got, err := ParseFrames(nil); got != nil || err != nil {
		t.Errorf("ParseFrames(nil) = %v, %v", got, err)
	}
}

func TestParseType(t *testing.T) {
	for _, test := range []struct {
		wire    string
		t       FrameType
		minimal bool
	}{
		{"30", 0x30, true}, {"4030", 0x30, false}, {"4040", 0x40, true}, {"80000040", 0x40, false}, {"", 0, false}, {"80", 0, false},
	} {
		c := varint.NewCursor(unhex(t, test.wire))
		got, minimal := ParseType(&c)
		if got != test.t || minimal != test.minimal {
			t.Errorf("ParseType(%s) = %v, %v", test.wire, got, minimal)
		}
	}
}

// The header lengths are those of the headers, at every size of every field.
func TestHeaderLens(t *testing.T) {
	sizes := []int64{0, 1, 63, 64, 16383, 16384, 1<<30 - 1, 1 << 30, 1<<62 - 1}
	for _, off := range sizes {
		for _, n := range []int{0, 63, 64, 1200, 16384} {
			if got, want := CryptoHeaderLen(off, n), len(AppendCryptoHeader(nil, off, n)); got != want {
				t.Errorf("CryptoHeaderLen(%d, %d) = %d, want %d", off, n, got, want)
			}
			for _, id := range sizes {
				for _, hasLen := range []bool{false, true} {
					b := AppendStreamHeader(nil, id, off, n, hasLen, true)
					if got := StreamHeaderLen(id, off, n, hasLen); got != len(b) {
						t.Errorf("StreamHeaderLen(%d, %d, %d, %v) = %d, want %d", id, off, n, hasLen, got, len(b))
					}
				}
			}
		}
	}
}

// What is parsed can be written, at no greater length, and parsed again.
func FuzzParseFrames(f *testing.F) {
	for _, test := range frameTests {
		f.Add(test.frame.Append(nil))
	}
	all, _ := allInARow()
	f.Add(all)
	for n := range all {
		f.Add(all[:n])
		f.Add(append([]byte{0x1c, 0, 0, 0}, all[n:]...))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		frames, err := ParseFrames(payload)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != FrameEncodingError && e.Code != ProtocolViolation {
				t.Fatalf("error %v", err)
			}
		}
		has := err == nil && slices.ContainsFunc(frames, func(f Frame) bool { _, ok := f.(Close); return ok })
		if HasClose(payload) != has {
			t.Fatalf("HasClose: %v; %v, %v", !has, frames, err)
		}
		var again []byte
		for _, f := range frames {
			if !f.Type().Known() || f.String() == "" {
				t.Fatalf("%#v is of an unknown type", f)
			}
			again = f.Append(again)
		}
		if len(again) > len(payload) {
			t.Fatalf("%x written again is longer: %x", payload, again)
		}
		frames2, err := ParseFrames(again)
		if err != nil || len(frames2) != len(frames) {
			t.Fatalf("%v written again is %v, %v", frames, frames2, err)
		}
		for i := range frames {
			if !bytes.Equal(frames[i].Append(nil), frames2[i].Append(nil)) || frames[i].String() != frames2[i].String() {
				t.Fatalf("%v written again is %v", frames[i], frames2[i])
			}
		}
		if !bytes.Equal(payload, before) {
			t.Fatal("the payload has changed")
		}
	})
}
