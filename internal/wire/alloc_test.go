package wire

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// walk parses the frames of a packet the way the transport does, and returns how
// many there were: -1 if one is malformed.
func walk(payload []byte) int {
	c := varint.NewCursor(payload)
	n := 0
	for ; c.Len() > 0; n++ {
		switch t, _ := ParseType(&c); {
		case t == FramePadding:
			SkipPadding(&c)
		case t == FramePing, t == FrameHandshakeDone:
		case t.IsStream():
			ParseStream(&c, t)
		case t == FrameAck, t == FrameAckECN:
			a := ParseAck(&c, t)
			for _, _, ok := a.Next(); ok; _, _, ok = a.Next() {
			}
		case t == FrameCrypto:
			ParseCrypto(&c)
		case t == FrameResetStream:
			ParseResetStream(&c)
		case t == FrameStopSending:
			ParseStopSending(&c)
		case t == FrameNewToken:
			ParseNewToken(&c)
		case t == FrameMaxData:
			ParseMaxData(&c)
		case t == FrameMaxStreamData:
			ParseMaxStreamData(&c)
		case t == FrameMaxStreamsBidi, t == FrameMaxStreamsUni:
			ParseMaxStreams(&c, t)
		case t == FrameDataBlocked:
			ParseDataBlocked(&c)
		case t == FrameStreamDataBlocked:
			ParseStreamDataBlocked(&c)
		case t == FrameStreamsBlockedBidi, t == FrameStreamsBlockedUni:
			ParseStreamsBlocked(&c, t)
		case t == FrameNewConnectionID:
			ParseNewConnectionID(&c)
		case t == FrameRetireConnectionID:
			ParseRetireConnectionID(&c)
		case t == FramePathChallenge:
			ParsePathChallenge(&c)
		case t == FramePathResponse:
			ParsePathResponse(&c)
		case t == FrameConnectionClose, t == FrameApplicationClose:
			ParseClose(&c, t)
		case t == FrameDatagram, t == FrameDatagramLen:
			ParseDatagram(&c, t)
		case t == FrameImmediateAck:
		case t == FrameAckFrequency:
			ParseAckFrequency(&c)
		default:
			return -1
		}
	}
	if c.Failed() {
		return -1
	}
	return n
}

func TestNoAllocations(t *testing.T) {
	payload, frames := allInARow()
	want := len(frames)
	dcid, scid := cid("0102030405060708"), cid("1112131415161718")
	out := make([]byte, 0, 1500)
	set := ranges.Set{{Start: 1, End: 2}, {Start: 3, End: 5}, {Start: 100, End: 3000}}
	ecn := ECNCounts{1, 2, 3}
	long, lengthAt := AppendLong(nil, Version1, Initial, &dcid, &scid, []byte("token"), 2)
	varint.Put2(long[lengthAt:], 100)
	long = append(long, make([]byte, 100)...)
	negotiation := AppendVersionNegotiation(nil, 0, dcid.Bytes(), scid.Bytes(), Version1)

	for _, test := range []struct {
		what string
		f    func()
	}{
		{"parsing frames", func() {
			if n := walk(payload); n != want {
				t.Fatalf("%d frames, want %d", n, want)
			}
		}},
		{"parsing a long header", func() {
			if _, ok := ParseLong(long); !ok {
				t.Fatal("not parsed")
			}
		}},
		{"parsing invariants", func() {
			if _, ok := ParseInvariant(long, 8); !ok {
				t.Fatal("not parsed")
			}
		}},
		{"parsing Version Negotiation", func() {
			if _, _, ok := ParseVersionNegotiation(negotiation); !ok {
				t.Fatal("not parsed")
			}
		}},
		{"writing packets", func() {
			b := out[:0]
			b, _ = AppendLong(b, Version1, Initial, &dcid, &scid, nil, 2)
			b = AppendShort(b, &dcid, true, true, 4)
			b = AppendPacketNumber(b, 1, PacketNumberLen(1, -1))
			b = AppendVersionNegotiation(b, 0, dcid.Bytes(), scid.Bytes(), Version1, 0x0a0a0a0a)
			b, _ = AppendAck(b, 100, set, 8, &ecn)
			b = AppendStreamHeader(b, 4, 100, 10, true, true)
			b = AppendCryptoHeader(b, 100, 10)
			b = MaxStreamData{4, 1 << 20}.Append(b)
			b = MaxStreams{true, 100}.Append(b)
			b = ResetStream{4, 1, 2}.Append(b)
			b = NewConnectionID{Seq: 1, ID: dcid}.Append(b)
			b = PathChallenge{}.Append(b)
			Close{Code: 1}.Append(b)
		}},
	} {
		if n := testing.AllocsPerRun(100, test.f); n != 0 {
			t.Errorf("%s: %v allocations", test.what, n)
		}
	}
}

// The loop that every packet passes through agrees with the cold one.
func FuzzWalk(f *testing.F) {
	for _, test := range frameTests {
		f.Add(test.frame.Append(nil))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		n := walk(payload)
		frames, err := ParseFrames(payload)
		if err == nil && n != len(frames) {
			t.Fatalf("%d frames, %v", n, frames)
		}
		if e, ok := err.(*Error); ok && e.Code == FrameEncodingError && n != -1 {
			t.Fatalf("%d frames although %v", n, err)
		}
	})
}

func BenchmarkParseStreamPacket(b *testing.B) {
	payload := Stream{ID: 4, Offset: 1 << 20, Data: make([]byte, 1400)}.Append(MakeAck(ranges.Set{{Start: 1, End: 2}, {Start: 3, End: 500}}, 8, nil).Append(nil))
	b.ReportAllocs()
	for b.Loop() {
		walk(payload)
	}
}

func BenchmarkParseAck64Ranges(b *testing.B) {
	var set ranges.Set
	for i := range int64(64) {
		set.Add(10_000+i*3, 10_000+i*3+2)
	}
	payload := MakeAck(set, 8, nil).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		walk(payload)
	}
}

func BenchmarkParseLong(b *testing.B) {
	dcid, scid := cid("0102030405060708"), cid("1112131415161718")
	p, lengthAt := AppendLong(nil, Version1, Initial, &dcid, &scid, nil, 2)
	varint.Put2(p[lengthAt:], 100)
	p = append(p, make([]byte, 100)...)
	b.ReportAllocs()
	for b.Loop() {
		ParseLong(p)
	}
}
