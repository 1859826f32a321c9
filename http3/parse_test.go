package http3

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// RFC 9218 §4, §5: a priority field is a dictionary (RFC 9651 §3.2), whatever else is in it.
func TestParsePriority(t *testing.T) {
	for _, test := range []struct {
		value string
		want  Priority
		ok    bool
	}{
		{"", Priority{3, false}, true},
		{"  ", Priority{3, false}, true},
		{"u=0", Priority{0, false}, true},
		{"u=7, i", Priority{7, true}, true},
		{" i , \t u=5 ", Priority{5, true}, true},
		{"i=?1", Priority{3, true}, true},
		{"i=?0", Priority{3, false}, true},
		{"u=1;x=2;y, i;z=\"a, u=7\"", Priority{1, true}, true},
		{"u=1, u=2", Priority{2, false}, true}, // the last counts
		{"u=1, u=9", Priority{3, false}, true}, // and means nothing here
		{"i, i=x", Priority{3, false}, true},   // likewise
		{"u=8", Priority{3, false}, true},      // out of range
		{"u=-1", Priority{3, false}, true},     // likewise
		{"u=1.0", Priority{3, false}, true},    // no integer
		{"u=\"1\"", Priority{3, false}, true},  // likewise
		{"u", Priority{3, false}, true},        // a boolean
		{"i=1", Priority{3, false}, true},      // no boolean
		{"foo=\"a, u=7\", u=1", Priority{1, false}, true},
		{"foo=\"a; u=7\\\"\", u=1", Priority{1, false}, true},
		{"foo=(1 \"u=7, i\" x;y=1);z, u=1", Priority{1, false}, true},
		{"foo=(), u=1", Priority{1, false}, true},
		{"foo=:YWJj:, u=1", Priority{1, false}, true},
		{"foo=@1659578233, u=1", Priority{1, false}, true},
		{"foo=%\"%c3%bc\", u=1", Priority{1, false}, true},
		{"*a-b_c.d9=tok/en:*, u=1", Priority{1, false}, true},
		{"x=-12.345, u=1", Priority{1, false}, true},
		{"u=+1", DefaultPriority, false},
		{"u=", DefaultPriority, false},
		{"u=1,", DefaultPriority, false},
		{",u=1", DefaultPriority, false},
		{"u=1 u=2", DefaultPriority, false},
		{"u=1;", DefaultPriority, false},
		{"u=1;X", DefaultPriority, false},
		{"U=1", DefaultPriority, false},
		{"1=u", DefaultPriority, false},
		{"u=1, foo=\"", DefaultPriority, false},
		{"u=1, foo=\"\\a\"", DefaultPriority, false},
		{"u=1, foo=\"\x7f\"", DefaultPriority, false},
		{"u=1, foo=(1", DefaultPriority, false},
		{"u=1, foo=(1\"a\")", DefaultPriority, false},
		{"u=1, foo=:YWJj", DefaultPriority, false},
		{"u=1, foo=?2", DefaultPriority, false},
		{"u=1, foo=1234567890123456", DefaultPriority, false},
		{"u=1, foo=1.2345", DefaultPriority, false},
		{"u=1, foo=1.", DefaultPriority, false},
		{"u=1, foo=-", DefaultPriority, false},
		{"u=1, foo=é", DefaultPriority, false},
		{"u=1\t", DefaultPriority, false},
	} {
		if p, ok := ParsePriority(test.value); p != test.want || ok != test.ok {
			t.Errorf("%q is %+v, %v; want %+v, %v", test.value, p, ok, test.want, test.ok)
		}
	}
}

// What String writes, ParsePriority reads.
func TestPriorityString(t *testing.T) {
	for urgency := range 8 {
		for _, incremental := range []bool{false, true} {
			p := Priority{urgency, incremental}
			if got, ok := ParsePriority(p.String()); got != p || !ok {
				t.Errorf("%+v becomes %q, and that %+v, %v", p, p, got, ok)
			}
		}
	}
	if s := DefaultPriority.String(); s != "" {
		t.Errorf("the default is %q", s)
	}
}

func FuzzParsePriority(f *testing.F) {
	for _, s := range []string{"u=1, i", "a=\"b, c\";d=(1 2);e, u=0", "foo=:YQ==:", "u=%\"%c3\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, ok := ParsePriority(value)
		if !ok && p != DefaultPriority || p.Urgency < 0 || p.Urgency > 7 {
			t.Errorf("%q is %+v, %v", value, p, ok)
		}
		if q, again := ParsePriority(value + ", zz=1"); ok && strings.Trim(value, " ") != "" && (!again || q != p) {
			t.Errorf("%q is %+v, but with another member %+v, %v", value, p, q, again)
		}
	})
}

// RFC 9114 §7.1, §7.2.4, §7.2.4.1, §7.2.4.2: what is written is read again, and no setting of HTTP/2 in it.
func TestFramesAndSettings(t *testing.T) {
	for _, length := range []int{0, 1, 63, 64, 16383, 16384, 1 << 30} {
		b := appendFrameHead(nil, framePriorityPush, length)
		if typ, n, size := parseFrameHead(append(b, 1, 2)); typ != framePriorityPush || n != uint64(length) || size != len(b) {
			t.Errorf("length %d becomes %v, %d, %d", length, typ, n, size)
		}
		for i := range b {
			if _, _, size := parseFrameHead(b[:i]); size != 0 {
				t.Errorf("%d of %d bytes are a head", i, len(b))
			}
		}
	}
	for _, want := range []Settings{{}, {1, 2, 3, true, false}, {1 << 20, 1000, 1<<62 - 1, false, true}} {
		b := want.append(nil, 12345)
		_, n, size := parseFrameHead(b)
		var got Settings
		if f := got.parse(b[size:]); f != nil || got != want || int(n) != len(b)-size {
			t.Errorf("%+v becomes %+v, %v", want, got, f)
		}
	}
	for typ := range frameType(0x100) {
		if typ.http2() && (typ.control() || typ.message()) || typ.control() && typ.message() {
			t.Errorf("%v belongs to several kinds", typ)
		}
	}
	if s := frameType(0x1f).String(); s != "frame type 0x1f" {
		t.Errorf("an unknown type is %q", s)
	}
}

// The control stream's reader does the same whatever pieces it is given.
func FuzzControl(f *testing.F) {
	f.Add(slices.Concat(frame(frameSettings, num(1, 100)), frame(0x21, grown), frame(frameMaxPushID, num(3)), frame(frameGoAway, num(4))), byte(1))
	f.Add(slices.Concat(frame(frameSettings), frame(frameMaxPushID, num(3)), frame(frameMaxPushID, num(2))), byte(3))
	f.Add(slices.Concat(frame(frameSettings), lie(0x21), grown), byte(7))
	f.Add(slices.Concat(frame(frameSettings), frame(frameCancelPush, num(0))), byte(2))
	below := newPair(f, Options{}, Options{}).settled(f).server.q
	read := func(t *testing.T, b []byte, piece int) (f *fault, got []any) {
		s := &Session{q: below, server: true, told: make(chan struct{})}
		s.life = life{sent: -1, received: -1}
		s.pushes.init(0)
		s.fields.init(s)
		s.in.init(s)
		for len(b) > 0 && f == nil {
			n := min(piece, len(b))
			f = s.in.take(slices.Clone(b[:n]))
			if cap(s.in.buf) > 4*maxSettingsLen {
				t.Fatalf("%d bytes are kept of %d that came", cap(s.in.buf), len(b))
			}
			b = b[n:]
		}
		return f, []any{s.peer, s.pushes.limit, s.life.received, s.in.skip, s.in.settled, string(s.in.buf), s.useful.total, len(s.updates)}
	}
	f.Fuzz(func(t *testing.T, b []byte, piece byte) {
		whole, want := read(t, b, len(b)+1)
		f, got := read(t, b, int(piece)+1)
		if (whole == nil) != (f == nil) || f != nil && *f != *whole || f == nil && !slices.Equal(got, want) {
			t.Errorf("in one piece %v %v, in pieces of %d %v %v", whole, want, piece+1, f, got)
		}
	})
}

// Capsules come out whole whatever pieces they come in, and nothing makes the reader take memory.
func FuzzCapsuleReader(f *testing.F) {
	f.Add(AppendCapsule(AppendCapsule(nil, CapsuleDatagram, []byte("abc")), 0x1234, grown))
	f.Add([]byte{0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		type capsule struct {
			t     CapsuleType
			n     int64
			value string
		}
		read := func(r io.Reader, values bool) (list []capsule, err error) {
			c := NewCapsuleReader(r)
			for {
				typ, n, err := c.Next()
				if err != nil {
					return list, err
				}
				x := capsule{t: typ, n: n}
				if values {
					v, rerr := io.ReadAll(c)
					x.value = string(v)
					if whole := rerr == nil; whole != (int64(len(v)) == n) {
						t.Errorf("a value of %d bytes of %d: %v", len(v), n, rerr)
					}
				}
				list = append(list, x)
			}
		}
		want, werr := read(bytes.NewReader(b), true)
		got, gerr := read(iotest.OneByteReader(bytes.NewReader(b)), true)
		if !slices.Equal(got, want) || gerr != werr {
			t.Errorf("whole %v %v, byte by byte %v %v", want, werr, got, gerr)
		}
		skipped, serr := read(bytes.NewReader(b), false)
		if len(skipped) != len(want) || serr != werr {
			t.Errorf("skipping finds %d capsules, %v; reading %d, %v", len(skipped), serr, len(want), werr)
		}
		var again []byte
		for _, x := range want {
			if int64(len(x.value)) == x.n {
				again = AppendCapsule(again, x.t, []byte(x.value))
			}
		}
		if list, err := read(bytes.NewReader(again), true); err != io.EOF || len(list) > len(want) {
			t.Errorf("what was written anew reads %v, %v", list, err)
		}
	})
}

// Errors find their form, their code and what they wrap.
func TestErrors(t *testing.T) {
	stream := wrap(&quic.StreamError{ErrorCode: uint64(RequestRejected), Remote: true})
	session := wrap(&quic.ApplicationError{ErrorCode: uint64(ExcessiveLoad), Reason: "enough"})
	if s := stream.Error(); s != "http3: stream ended by the peer: H3_REQUEST_REJECTED" {
		t.Error(s)
	}
	if s := session.Error(); s != "http3: session ended here: H3_EXCESSIVE_LOAD: enough" {
		t.Error(s)
	}
	wantCode(t, "a stream's", stream, "ERR_QUIC_STREAM_RESET")
	wantCode(t, "a session's", session, quic.CodeApplication)
	if !errors.Is(session, net.ErrClosed) || errors.Is(stream, net.ErrClosed) || errors.Is(stream, session) {
		t.Error("a session's error is not ErrClosed, or a stream's is")
	}
	if !errors.As(stream, new(*quic.StreamError)) || !errors.As(session, new(*quic.ApplicationError)) {
		t.Error("the errors below are not found")
	}
	own := errors.New("mine")
	if err := wrap(&destruction{own, &quic.StreamError{}}); err != own {
		t.Errorf("the program's own error becomes %v", err)
	}
	if s := ErrorCode(0x4242).String(); s != "0x4242" || NoError.String() != "H3_NO_ERROR" {
		t.Errorf("codes are %s and %s", s, NoError)
	}
}
