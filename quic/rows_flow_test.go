package quic

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// Each kind of stream has its own window, at each end.
func TestMaxStreamDataRows(t *testing.T) {
	uni := StreamOptions{HalfOpen: true}
	for _, test := range []struct{ local, remote, uni, wantLocal, wantRemote, wantUni int64 }{
		{0, 0, 0, 256 << 10, 256 << 10, 256 << 10}, {1000, 2000, 3000, 1000, 2000, 3000}, {None, None, None, 0, 0, 0},
	} {
		lo := ListenOptions{MaxStreamDataBidiLocal: test.local, MaxStreamDataBidiRemote: test.remote, MaxStreamDataUni: test.uni}
		co := ConnectOptions{MaxStreamDataBidiLocal: test.local, MaxStreamDataBidiRemote: test.remote, MaxStreamDataUni: test.uni}
		inPair(t, ListenOptions{}, co, func(t *testing.T, m *memNet, p *pair) {
			c, s := &p.client.Session, &p.server.Session
			says := received(s)
			if n := taken(t, c, s, StreamOptions{}, false); n != test.wantLocal || says.MaxStreamDataBidiLocal != n {
				t.Errorf("the client takes %d bytes on its own streams and says %d, want %d", n, says.MaxStreamDataBidiLocal, test.wantLocal)
			}
			covers(t, "CON-023")
			if n := taken(t, c, s, StreamOptions{}, true); n != test.wantRemote || says.MaxStreamDataBidiRemote != n {
				t.Errorf("the client takes %d bytes on the server's streams and says %d, want %d", n, says.MaxStreamDataBidiRemote, test.wantRemote)
			}
			covers(t, "CON-024")
			if n := taken(t, c, s, uni, true); n != test.wantUni || says.MaxStreamDataUni != n {
				t.Errorf("the client takes %d bytes on unidirectional streams and says %d, want %d", n, says.MaxStreamDataUni, test.wantUni)
			}
			covers(t, "CON-025")
		})
		inPair(t, lo, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
			c, s := &p.client.Session, &p.server.Session
			says := received(c)
			if n := taken(t, s, c, StreamOptions{}, false); n != test.wantLocal || says.MaxStreamDataBidiLocal != n {
				t.Errorf("the server takes %d bytes on its own streams and says %d, want %d", n, says.MaxStreamDataBidiLocal, test.wantLocal)
			}
			covers(t, "LIS-026")
			if n := taken(t, s, c, StreamOptions{}, true); n != test.wantRemote || says.MaxStreamDataBidiRemote != n {
				t.Errorf("the server takes %d bytes on the client's streams and says %d, want %d", n, says.MaxStreamDataBidiRemote, test.wantRemote)
			}
			covers(t, "LIS-027")
			if n := taken(t, s, c, uni, true); n != test.wantUni || says.MaxStreamDataUni != n {
				t.Errorf("the server takes %d bytes on unidirectional streams and says %d, want %d", n, says.MaxStreamDataUni, test.wantUni)
			}
			covers(t, "LIS-028")
		})
	}
	const most = "1 to 4611686018427387903, or None for 0"
	wantRefused(t, "MaxStreamDataBidiLocal", "-2", most, ConnectOptions{MaxStreamDataBidiLocal: -2}, ListenOptions{MaxStreamDataBidiLocal: -2})
	wantRefused(t, "MaxStreamDataBidiLocal", "4611686018427387904", most, ConnectOptions{MaxStreamDataBidiLocal: 1 << 62}, ListenOptions{MaxStreamDataBidiLocal: 1 << 62})
	wantRefused(t, "MaxStreamDataBidiRemote", "-2", most, ConnectOptions{MaxStreamDataBidiRemote: -2}, ListenOptions{MaxStreamDataBidiRemote: -2})
	wantRefused(t, "MaxStreamDataBidiRemote", "4611686018427387904", most, ConnectOptions{MaxStreamDataBidiRemote: 1 << 62}, ListenOptions{MaxStreamDataBidiRemote: 1 << 62})
	wantRefused(t, "MaxStreamDataUni", "-2", most, ConnectOptions{MaxStreamDataUni: -2}, ListenOptions{MaxStreamDataUni: -2})
	wantRefused(t, "MaxStreamDataUni", "4611686018427387904", most, ConnectOptions{MaxStreamDataUni: 1 << 62}, ListenOptions{MaxStreamDataUni: 1 << 62})
}

// openAll opens streams until the peer allows no more, and returns them.
func openAll(t *testing.T, s *Session, uni bool) []*Stream {
	t.Helper()
	var list []*Stream
	for {
		st, err := s.TryOpenStream(StreamOptions{HalfOpen: uni})
		if err != nil {
			var oe *OperationError
			if !errors.As(err, &oe) || !errors.Is(err, ErrOperationFailed) || oe.Code() != CodeOperationFailed {
				t.Errorf("stream %d is refused with %v", len(list), err)
			}
			return list
		}
		list = append(list, st)
	}
}

// replenished ends a stream of from's and reports whether the peer then lets it open another one.
func replenished(t *testing.T, from, to *Session, st *Stream) bool {
	t.Helper()
	st.End([]byte("x"))
	far, err := to.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	io.Copy(io.Discard, far)
	if st.Bidirectional() {
		io.ReadAll(st)
	}
	time.Sleep(time.Second)
	_, err = from.TryOpenStream(StreamOptions{HalfOpen: st.Unidirectional()})
	return err == nil
}

func TestMaxStreamsOptionRows(t *testing.T) {
	for _, test := range []struct {
		bidi, uni         int64
		wantBidi, wantUni int
	}{{0, 0, 100, 3}, {7, 12, 7, 12}, {None, None, 0, 0}} {
		inPair(t, ListenOptions{}, ConnectOptions{MaxStreamsBidi: test.bidi, MaxStreamsUni: test.uni}, func(t *testing.T, m *memNet, p *pair) {
			c, s := &p.client.Session, &p.server.Session
			says := received(s)
			list := openAll(t, s, false)
			if n := len(list); n != test.wantBidi || says.MaxStreamsBidi != int64(n) || s.MaxStreams().Bidi != uint64(n) {
				t.Errorf("the client says %d, MaxStreams %d, and the server opens %d, want %d", says.MaxStreamsBidi, s.MaxStreams().Bidi, n, test.wantBidi)
			}
			if len(list) > 0 && !replenished(t, s, c, list[0]) {
				t.Error("a stream of the server's is over, and makes room for no other")
			}
			covers(t, "CON-026")
			list = openAll(t, s, true)
			if n := len(list); n != test.wantUni || says.MaxStreamsUni != int64(n) || s.MaxStreams().Uni != uint64(n) {
				t.Errorf("the client says %d, MaxStreams %d, and the server opens %d, want %d", says.MaxStreamsUni, s.MaxStreams().Uni, n, test.wantUni)
			}
			if len(list) > 0 && !replenished(t, s, c, list[0]) {
				t.Error("a unidirectional stream of the server's is over, and makes room for no other")
			}
			covers(t, "CON-027")
		})
		inPair(t, ListenOptions{MaxStreamsBidi: test.bidi, MaxStreamsUni: test.uni}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
			c, s := &p.client.Session, &p.server.Session
			says := received(c)
			list := openAll(t, c, false)
			if n := len(list); n != test.wantBidi || says.MaxStreamsBidi != int64(n) || c.MaxStreams().Bidi != uint64(n) {
				t.Errorf("the server says %d, MaxStreams %d, and the client opens %d, want %d", says.MaxStreamsBidi, c.MaxStreams().Bidi, n, test.wantBidi)
			}
			if len(list) > 0 && !replenished(t, c, s, list[0]) {
				t.Error("a stream of the client's is over, and makes room for no other")
			}
			covers(t, "LIS-024")
			list = openAll(t, c, true)
			if n := len(list); n != test.wantUni || says.MaxStreamsUni != int64(n) || c.MaxStreams().Uni != uint64(n) {
				t.Errorf("the server says %d, MaxStreams %d, and the client opens %d, want %d", says.MaxStreamsUni, c.MaxStreams().Uni, n, test.wantUni)
			}
			if len(list) > 0 && !replenished(t, c, s, list[0]) {
				t.Error("a unidirectional stream of the client's is over, and makes room for no other")
			}
			covers(t, "LIS-025")
		})
	}
	const most = "1 to 1152921504606846976, or None for 0"
	wantRefused(t, "MaxStreamsBidi", "-2", most, ConnectOptions{MaxStreamsBidi: -2}, ListenOptions{MaxStreamsBidi: -2})
	wantRefused(t, "MaxStreamsBidi", "1152921504606846977", most, ConnectOptions{MaxStreamsBidi: 1<<60 + 1}, ListenOptions{MaxStreamsBidi: 1<<60 + 1})
	wantRefused(t, "MaxStreamsUni", "-2", most, ConnectOptions{MaxStreamsUni: -2}, ListenOptions{MaxStreamsUni: -2})
	wantRefused(t, "MaxStreamsUni", "1152921504606846977", most, ConnectOptions{MaxStreamsUni: 1<<60 + 1}, ListenOptions{MaxStreamsUni: 1<<60 + 1})
}

// Zero is the row's default, and None the explicit zero of a row that has one: at both
// ends, as the peer sees it. What is left of -1 as a value out of range is -2.
func TestZeroValues(t *testing.T) {
	inPair(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		for _, s := range []*Session{&p.client.Session, &p.server.Session} {
			w := received(s)
			if w.MaxIdleTimeout != 10*time.Second || w.MaxData != 1<<20 || w.MaxAckDelay != 25*time.Millisecond || w.MaxUDPPayload != 65_527 ||
				w.MaxStreamDataBidiLocal != 256<<10 || w.MaxStreamDataBidiRemote != 256<<10 || w.MaxStreamDataUni != 256<<10 ||
				w.MaxStreamsBidi != 100 || w.MaxStreamsUni != 3 || w.ActiveCIDLimit != 2 {
				t.Errorf("defaults on the wire: %+v", w)
			}
		}
	})
	none := ConnectOptions{
		IdleTimeout: None, MaxData: None, MaxStreamDataBidiLocal: None, MaxStreamDataBidiRemote: None, MaxStreamDataUni: None,
		MaxStreamsBidi: None, MaxStreamsUni: None, MaxAckDelay: None,
	}
	lnone := ListenOptions{
		IdleTimeout: None, MaxData: None, MaxStreamDataBidiLocal: None, MaxStreamDataBidiRemote: None, MaxStreamDataUni: None,
		MaxStreamsBidi: None, MaxStreamsUni: None, MaxAckDelay: None,
	}
	inPair(t, lnone, none, func(t *testing.T, m *memNet, p *pair) {
		for _, s := range []*Session{&p.client.Session, &p.server.Session} {
			w := received(s)
			if w.MaxIdleTimeout != 0 || w.MaxData != 0 || w.MaxAckDelay != 0 || w.MaxStreamDataBidiLocal != 0 ||
				w.MaxStreamDataBidiRemote != 0 || w.MaxStreamDataUni != 0 || w.MaxStreamsBidi != 0 || w.MaxStreamsUni != 0 {
				t.Errorf("None on the wire: %+v", w)
			}
		}
	})
	for mark, want := range map[int]int{0: 16_384, None: 0, 1000: 1000} {
		inPair(t, ListenOptions{MaxData: None}, ConnectOptions{HighWaterMark: mark}, func(t *testing.T, m *memNet, p *pair) {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for m := 1; m > 0; n += m {
				if m, err = st.TryWrite(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			}
			if n < want || n > want+100 {
				t.Errorf("a stream with high water mark %d takes %d bytes that cannot be sent, want %d", mark, n, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // rejectUnauthorized is true unless it is said otherwise
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		strangers := func() *tls.Config { return &tls.Config{NextProtos: []string{"test"}, RootCAs: nil} }
		if err := m.connect(ConnectOptions{TLS: strangers()}).Handshake(t.Context()); err == nil {
			t.Error("a server that nobody vouches for is trusted")
		}
		if err := m.connect(ConnectOptions{TLS: strangers(), AllowUnauthenticated: true}).Handshake(t.Context()); err != nil {
			t.Errorf("AllowUnauthenticated: %v", err)
		}
	})
	covers(t, "X-020")

	// What is below None is out of range, and so is it of a stream's own mark.
	wantRefused(t, "MaxData", "-2", "1 to 4611686018427387903, or None for 0", ConnectOptions{MaxData: -2}, ListenOptions{MaxData: -2})
	wantRefused(t, "MaxStreamsUni", "-2", "1 to 1152921504606846976, or None for 0", ConnectOptions{MaxStreamsUni: -2}, ListenOptions{MaxStreamsUni: -2})
	wantRefused(t, "MaxAckDelay", "-2ns", "up to 16.383s, or None for 0", ConnectOptions{MaxAckDelay: -2}, ListenOptions{MaxAckDelay: -2})
	wantRefused(t, "IdleTimeout", "-2ns", "or None", ConnectOptions{IdleTimeout: -2}, ListenOptions{IdleTimeout: -2})
	inPair(t, ListenOptions{MaxData: None}, ConnectOptions{HighWaterMark: 5000}, func(t *testing.T, m *memNet, p *pair) {
		for mark, want := range map[int]int{0: 5000, None: 100, 700: 700} {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{HighWaterMark: mark})
			if err != nil {
				t.Fatal(err)
			}
			if n := takes(t, st); n != want {
				t.Errorf("a stream with the mark %d of its own takes %d bytes, want %d", mark, n, want)
			}
		}
		var oe *OptionError
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{HighWaterMark: -2}); !errors.As(err, &oe) || oe.Code() != CodeOutOfRange {
			t.Errorf("a stream with the mark -2: %v", err)
		}
	})
	covers(t, "X-020")
}

// A bad option is refused before there is a session, a port, or a packet.
func TestOptionsBeforeUse(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		o            ConnectOptions
		option, code string
	}{
		{ConnectOptions{IdleTimeout: time.Nanosecond}, "IdleTimeout", CodeOutOfRange},
		{ConnectOptions{KeepAlive: time.Nanosecond}, "KeepAlive", CodeOutOfRange},
		{ConnectOptions{HandshakeTimeout: -2}, "HandshakeTimeout", CodeOutOfRange},
		{ConnectOptions{ActiveConnectionIDLimit: 1}, "ActiveConnectionIDLimit", CodeOutOfRange},
		{ConnectOptions{MaxAckDelay: 17 * time.Second}, "MaxAckDelay", CodeOutOfRange},
		{ConnectOptions{MaxData: -2}, "MaxData", CodeOutOfRange},
		{ConnectOptions{MaxUDPPayloadSize: 1199}, "MaxUDPPayloadSize", CodeOutOfRange},
		{ConnectOptions{MaxStreamDataBidiLocal: -2}, "MaxStreamDataBidiLocal", CodeOutOfRange},
		{ConnectOptions{MaxStreamDataBidiRemote: -2}, "MaxStreamDataBidiRemote", CodeOutOfRange},
		{ConnectOptions{MaxStreamDataUni: -2}, "MaxStreamDataUni", CodeOutOfRange},
		{ConnectOptions{MaxStreamsBidi: -2}, "MaxStreamsBidi", CodeOutOfRange},
		{ConnectOptions{MaxStreamsUni: math.MaxInt64}, "MaxStreamsUni", CodeOutOfRange},
		{ConnectOptions{HighWaterMark: -2}, "HighWaterMark", CodeOutOfRange},
		{ConnectOptions{Port: -1}, "Port", CodeSocketBadPort},
		{ConnectOptions{Port: 65_536}, "Port", CodeSocketBadPort},
		{ConnectOptions{Type: "udp5"}, "Type", CodeInvalidArgValue},
		{ConnectOptions{CongestionAlgorithm: "vegas"}, "CongestionAlgorithm", CodeInvalidArgValue},
		{ConnectOptions{PreferredAddressPolicy: "perhaps"}, "PreferredAddressPolicy", CodeInvalidArgValue},
		{ConnectOptions{ServerName: "::1"}, "ServerName", CodeInvalidArgValue},
		{ConnectOptions{ALPN: long}, "ALPN", CodeInvalidArgValue},
		{ConnectOptions{TLS: withProtos("a", "")}, "TLS.NextProtos[1]", CodeInvalidArgValue},
		{ConnectOptions{TLS: withProtos(long)}, "TLS.NextProtos[0]", CodeInvalidArgValue},
		{ConnectOptions{TLS: withProtos()}, "ALPN", CodeMissingOption},
		{ConnectOptions{TLS: &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"test"}}}, "TLS.MaxVersion", CodeInvalidArgValue},
		{ConnectOptions{SecureContext: newContext(t, securecontext.Options{})}, "SecureContext", CodeInvalidArgValue}, // beside TLS
		{ConnectOptions{DCID: make([]byte, 7)}, "DCID", CodeInvalidArgValue},
		{ConnectOptions{SessionTicket: []byte("junk")}, "SessionTicket", CodeInvalidTicket},
		{ConnectOptions{RemoteTransportParams: []byte("junk")}, "RemoteTransportParams", CodeInvalidParams},
	} {
		sent := false
		n := udp.NewNetwork(udp.NetworkOptions{Filter: func(*dgram.Datagram) bool { sent = true; return true }})
		m := &memNet{t: t, net: n}
		s := m.socket(SocketOptions{})
		o := test.o
		if o.Port == 0 {
			o.Port = 4433
		}
		if o.TLS == nil {
			o.TLS = clientConfig()
		}
		o.Address = "10.0.0.1"
		c, err := s.Connect(t.Context(), o)
		var oe *OptionError
		if c != nil || !errors.As(err, &oe) || oe.Option != "ConnectOptions."+test.option || oe.Code() != test.code {
			t.Errorf("%s: %v", test.option, err)
		}
		if s.Stats().ClientSessions != 0 || s.Bound() || s.Pending() || sent {
			t.Errorf("%s: a session was counted, a port taken or a packet sent", test.option)
		}
		s.Destroy(nil)
	}
	if _, err := NewSocket(SocketOptions{Client: ConnectOptions{ALPN: long}}); err == nil || !strings.Contains(err.Error(), "SocketOptions.Client.ALPN") {
		t.Errorf("ALPN of 256 bytes: %v", err)
	}
	if _, err := NewSocket(SocketOptions{Server: ListenOptions{TLS: withProtos("")}}); err == nil || !strings.Contains(err.Error(), "SocketOptions.Server.TLS.NextProtos[0]") {
		t.Errorf("empty ALPN: %v", err)
	}
	covers(t, "CON-046")
}

// A sender keeps to what its peer grants, the peer grants more as it reads and not
// before, and one that does not keep to it is thrown out.
func TestFlowControlRow(t *testing.T) {
	lo := ListenOptions{MaxData: 10_000, MaxStreamDataBidiRemote: 4000, IdleTimeout: None}
	inPair(t, lo, ConnectOptions{IdleTimeout: None}, func(t *testing.T, m *memNet, p *pair) {
		var sent [3]*Stream
		for i := range sent {
			var err error
			if sent[i], err = p.client.OpenStream(t.Context(), StreamOptions{}); err != nil {
				t.Fatal(err)
			}
			sent[i].TryWrite(make([]byte, 16_000))
		}
		time.Sleep(time.Hour)
		var streams [3]uint64
		for i, st := range sent {
			streams[i] = st.Stats().BytesSent
		}
		if streams != [3]uint64{4000, 4000, 2000} || p.client.Stats().MaxDataLeft != 0 {
			t.Errorf("%v bytes were sent, %d more allowed, want 4000, 4000 and 2000 for ever", streams, p.client.Stats().MaxDataLeft)
		}
		far, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(far, make([]byte, 4000))
		time.Sleep(time.Minute)
		if n := sent[0].Stats().BytesSent + sent[2].Stats().BytesSent; n <= 6000 {
			t.Errorf("after the server has read, %d bytes were sent on two streams, want more than 6000", n)
		}
		if n := sent[0].Stats().BytesSent + sent[1].Stats().BytesSent + sent[2].Stats().BytesSent; n > 10_000+4000 {
			t.Errorf("after the server has read 4000 bytes, %d were sent in all, want 14000 at most", n)
		}
		if n := sent[1].Stats().BytesSent; n != 4000 {
			t.Errorf("%d bytes were sent on a stream that nobody reads, want 4000", n)
		}
	})
	// Saved up, and needed when the peer has come to its limit elsewhere.
	inPair(t, ListenOptions{MaxData: 10_000}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		c, s := p.streams(t)
		c.Write(make([]byte, 2999))
		io.ReadFull(s, make([]byte, 2999))
		other, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		other.Write(make([]byte, 7000)) // nobody reads this
		time.Sleep(time.Second)
		if n := p.client.Stats().MaxDataLeft; n != 0 {
			t.Fatalf("the client may still send %d bytes: the test shows nothing", n)
		}
		go c.Write(make([]byte, 2000))
		if n, err := io.ReadFull(s, make([]byte, 2000)); err != nil {
			t.Errorf("a stream that is read got %d bytes of 2000: %v", n, err)
		}
	})
	inPair(t, ListenOptions{MaxStreamDataBidiRemote: 4000}, ConnectOptions{}, func(t *testing.T, m *memNet, p *pair) {
		p.client.mu.Lock()
		p.client.conn.PeerParameters().MaxStreamDataBidiRemote = 1 << 40 // it is a liar now
		p.client.unlock(flushNone)
		st, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.TryWrite(make([]byte, 16_000))
		<-p.client.Closed()
		const flowControlError = 3
		if err := p.client.Err(); !errors.Is(err, &TransportError{ErrorCode: flowControlError, Remote: true}) {
			t.Errorf("who overruns its limit is told %v", err)
		}
		if cc := p.server.CloseCode(); cc != (CloseCode{flowControlError, CloseTransport, false}) {
			t.Errorf("the server's CloseCode is %+v", cc)
		}
	})
	overrunAll(t)
	covers(t, "SES-103")
}

// wantUniGrows fails unless the limit of unidirectional streams is a sum too.
func wantUniGrows(t *testing.T) {
	t.Helper()
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{MaxStreamsUni: 2})
	defer m.close()
	p := m.pair(ConnectOptions{})
	p.server.SetHooks(SessionHooks{Stream: func(st *Stream) error { return st.Close() }})
	for i := range uint64(4) {
		if n := p.client.MaxStreams(); n != (MaxStreams{Bidi: 100, Uni: 2 + i}) {
			t.Errorf("the client may open %+v streams, want %d unidirectional ones", n, 2+i)
		}
		st, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
		if err != nil {
			t.Fatal(err)
		}
		st.End(nil)
		time.Sleep(time.Second)
	}
}
