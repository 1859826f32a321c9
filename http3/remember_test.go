package http3

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// settingsFrame is a SETTINGS frame, with identifiers and values in turn.
func settingsFrame(pairs ...uint64) []byte {
	var p []byte
	for _, v := range pairs {
		p = varint.Append(p, v)
	}
	return append(appendFrameHead(nil, frameSettings, len(p)), p...)
}

// teller is a server that says SETTINGS as it is told, and takes all early data.
type teller struct {
	*memNet
	frame  []byte
	cache  tls.ClientSessionCache
	accept bool
}

func newTeller(t testing.TB) *teller {
	m := &teller{&memNet{t, udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})}, nil, tls.NewLRUClientSessionCache(1), true}
	socket, err := quic.NewSocket(m.at(memServer))
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	must(t, socket.Listen(t.Context(), quic.ListenOptions{
		ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, MaxDatagramFrameSize: 65535,
		AcceptEarly: func([]byte) bool { return m.accept },
		Handler: func(q *quic.ServerSession) error {
			go func() {
				st, err := q.OpenStream(t.Context(), quic.StreamOptions{HalfOpen: true})
				if err == nil {
					_, _ = st.Write(append([]byte{streamControl}, m.frame...))
				}
			}()
			return nil
		},
	}))
	return m
}

// connect begins a client session, which resumes if there is a ticket.
func (m *teller) connect(o Options) *raw {
	m.t.Helper()
	so := m.at(memClient)
	socket, err := quic.NewSocket(so)
	must(m.t, err)
	co := m.options(quic.ConnectOptions{MaxDatagramFrameSize: 65535})
	co.TLS.ClientSessionCache = m.cache
	q, err := socket.Connect(m.t.Context(), co)
	must(m.t, err)
	return rawOn(m.t, q, o)
}

// end ends a session and its socket, so that the next one can have the address.
func (c *raw) end() {
	socket := c.q.Socket()
	c.q.Destroy(nil)
	socket.Destroy(nil)
	synctest.Wait()
}

// A client goes by the settings of the session that it resumes until new ones come, and ends a
// session whose server has taken early data and takes its word back (RFC 9114 §7.2.4.2,
// RFC 9204 §3.2.3, RFC 9220 §3, RFC 9297 §2.1.1).
func TestRememberedSettings(t *testing.T) {
	all := settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1)
	tries := []struct {
		name  string
		then  []byte
		code  ErrorCode // NoError: the session goes on
		since []byte    // instead of all
	}{
		{"the same", all, NoError, nil},
		{"more", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 4, settingMaxFieldSectionSize, 1001, settingExtendedConnect, 1, settingDatagrams, 1), NoError, nil},
		{"from nothing", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingExtendedConnect, 1, settingDatagrams, 1), NoError, settingsFrame()},
		{"a limit from none", all, SettingsError, settingsFrame()},
		{"a smaller table", settingsFrame(settingQPACKMaxTableCapacity, 99, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1), QPACKDecoderStreamError, nil},
		{"a larger table", settingsFrame(settingQPACKMaxTableCapacity, 101, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1), QPACKDecoderStreamError, nil},
		{"no table", settingsFrame(settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1), QPACKDecoderStreamError, nil},
		{"fewer blocked", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 2, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1), SettingsError, nil},
		{"none blocked", settingsFrame(settingQPACKMaxTableCapacity, 100, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 1), SettingsError, nil},
		{"smaller fields", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 999, settingExtendedConnect, 1, settingDatagrams, 1), SettingsError, nil},
		{"fields without limit", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingExtendedConnect, 1, settingDatagrams, 1), SettingsError, nil},
		{"no extended CONNECT", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingDatagrams, 1), SettingsError, nil},
		{"no datagrams", settingsFrame(settingQPACKMaxTableCapacity, 100, settingQPACKBlockedStreams, 3, settingMaxFieldSectionSize, 1000, settingExtendedConnect, 1, settingDatagrams, 0), SettingsError, nil},
	}
	for _, try := range tries {
		for _, accept := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				m := newTeller(t)
				if m.frame = all; try.since != nil {
					m.frame = try.since
				}
				first := m.connect(withDatagrams)
				old, err := first.Settings(t.Context())
				must(t, err)
				time.Sleep(time.Second) // the ticket
				first.end()
				m.frame, m.accept = try.then, accept
				c := m.connect(withDatagrams)
				if got := c.peerSettings(); got != old {
					t.Errorf("%s: early data goes by %+v, want %+v", try.name, got, old)
				}
				st, err := c.TryOpenStream(StreamOptions{})
				must(t, err)
				long := requestBlock("GET", "/", "x", strings.Repeat("a", 1000))
				if err := st.SubmitInitialHeaders(long, HeaderOptions{}); (err == nil) != (try.since != nil) {
					t.Errorf("%s: a long block in early data: %v", try.name, err)
				}
				if n := st.MaxDatagramSize(); (n == 0) != (try.since != nil) {
					t.Errorf("%s: datagrams of %d bytes in early data", try.name, n)
				}
				must(t, c.q.Handshake(t.Context()))
				time.Sleep(time.Second)
				if c.q.EarlyDataAccepted() != accept {
					t.Errorf("%s: early data taken: %v", try.name, c.q.EarlyDataAccepted())
				}
				got, want := c.Err(), try.code
				if !accept {
					want = NoError
				}
				if e := new(Error); want == NoError && got != nil || want != NoError && (!errors.As(got, &e) || e.ErrorCode != want || !e.Session || e.Remote) {
					t.Errorf("%s, taken %v: the session ends with %v, want %v", try.name, accept, got, want)
				}
				c.end()
			})
		}
	}
}

// When early data is refused, nothing is known of the server until it speaks.
func TestRememberedSettingsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTeller(t)
		m.frame = settingsFrame(settingMaxFieldSectionSize, 1000, settingDatagrams, 1)
		first := m.connect(withDatagrams).known()
		time.Sleep(time.Second)
		first.end()
		m.frame, m.accept = nil, false // it goes on saying nothing
		c := m.connect(withDatagrams)
		must(t, c.q.Handshake(t.Context()))
		if got := c.peerSettings(); got != settingsUnsaid() {
			t.Errorf("the session goes by %+v", got)
		}
		c.end()
	})
}

// A session whose settings have not come has its ticket all the same, in the end.
func TestTicketWithoutSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTeller(t)
		c := m.connect(Options{})
		must(t, c.q.Handshake(t.Context()))
		time.Sleep(time.Second)
		if _, ok := m.cache.Get("localhost"); ok {
			t.Error("the ticket does not wait for settings")
		}
		c.end()
		m.frame = settingsFrame(settingMaxFieldSectionSize, 1000)
		c = m.connect(Options{})
		if got := c.peerSettings(); got != settingsUnsaid() || c.q.TicketData() != nil {
			t.Errorf("the session begins with %+v", got)
		}
		c.known()
		if !c.q.ConnectionState().DidResume || c.Err() != nil {
			t.Errorf("resumed %v, %v", c.q.ConnectionState().DidResume, c.Err())
		}
		c.end()
	})
}

// A server takes early data only if who goes by its ticket's settings goes by those of now (RFC 9114 §7.2.4.2).
func TestEarlyDataNeedsSettings(t *testing.T) {
	base := Options{QPACKMaxTableCapacity: 1000, QPACKBlockedStreams: 10, Datagrams: true}
	change := func(f func(o *Options)) Options { o := base; f(&o); return o }
	tries := []struct {
		name  string
		then  Options
		taken bool
	}{
		{"the same", base, true},
		{"more", change(func(o *Options) { o.QPACKBlockedStreams, o.ExtendedConnect = 11, true }), true},
		{"another table", change(func(o *Options) { o.QPACKMaxTableCapacity = 1001 }), false},
		{"fewer blocked", change(func(o *Options) { o.QPACKBlockedStreams = 9 }), false},
		{"smaller fields", change(func(o *Options) { o.MaxHeaderListSize = 1000 }), false},
		{"no datagrams", change(func(o *Options) { o.Datagrams = false }), false},
	}
	for _, try := range tries {
		synctest.Test(t, func(t *testing.T) {
			listen := quic.ListenOptions{TicketKeys: [][32]byte{{1}}, ReplayRegister: quic.NewReplayRegister(0), MaxDatagramFrameSize: 65535}
			net, cache := udp.NewNetwork(udp.NetworkOptions{}), tls.NewLRUClientSessionCache(1)
			serve := func(o Options) (*memNet, func()) {
				s := handler(func(w http.ResponseWriter, r *http.Request) {})
				s.QUIC, s.Options = listen, o
				m := &memNet{t, net}
				startServer(t, s, m.at(memServer))
				return m, func() { _ = s.Close(); synctest.Wait() }
			}
			ask := func(m *memNet) *raw {
				socket, err := quic.NewSocket(m.at(memClient))
				must(t, err)
				co := m.options(quic.ConnectOptions{MaxStreamsUni: 16})
				co.TLS.ClientSessionCache = cache
				q, err := socket.Connect(t.Context(), co)
				must(t, err)
				c := rawOn(t, q, Options{})
				st, err := c.OpenStream(t.Context(), StreamOptions{})
				must(t, err)
				must(t, st.SubmitInitialHeaders(requestBlock("GET", "/"), HeaderOptions{Terminal: true}))
				h, _ := response(t, st)
				wantStatus(t, h, "200")
				c.known()
				synctest.Wait()
				return c
			}
			m, stop := serve(base)
			ask(m).end()
			stop()
			m, stop = serve(try.then)
			c := ask(m)
			if c.q.EarlyDataAccepted() != try.taken || !c.q.ConnectionState().DidResume || c.Err() != nil {
				t.Errorf("%s: taken %v, resumed %v, %v", try.name, c.q.EarlyDataAccepted(), c.q.ConnectionState().DidResume, c.Err())
			}
			c.end()
			stop()
		})
	}
	if err := (Options{MaxPushes: -5}).RememberSettings(new(quic.ListenOptions)); codeOf(err) != "ERR_OUT_OF_RANGE" {
		t.Errorf("bad options: %v", err)
	}
}
