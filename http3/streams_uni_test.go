package http3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// recording is what a memNet has carried, with the keys to it.
type recording struct {
	mu   sync.Mutex
	list []trace.Datagram
	keys bytes.Buffer
}

func (m *memNet) record() *recording {
	r := new(recording)
	m.net.SetFilter(func(d *dgram.Datagram) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, trace.Datagram{
			From: d.Path.Remote, To: d.Path.Local, FromClient: d.Path.Local == memServer, Data: bytes.Clone(d.Data),
		})
		return false
	})
	return r
}

// Write takes lines of the key log.
func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys.Write(p)
}

// run returns what was seen of one connection.
func (r *recording) run(t *testing.T) *trace.Run {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := trace.Decode(r.list, r.keys.Bytes())
	if len(seen.Conns) != 1 {
		t.Fatalf("%d connections were seen", len(seen.Conns))
	}
	return &trace.Run{Client: seen, Server: seen}
}

// RFC 9114 §6.2: each end lets the other open three unidirectional streams at least, as its transport
// parameters say on the wire.
func TestUnidirectionalStreamsOnTheWire(t *testing.T) {
	for _, c := range []struct{ server, client int64 }{{0, 0}, {3, 3}, {4, 100}} {
		synctest.Test(t, func(t *testing.T) {
			s := handler(func(http.ResponseWriter, *http.Request) {})
			s.QUIC.MaxStreamsUni = c.server
			m := newMemNet(t, s)
			r := m.record()
			socket, err := quic.NewSocket(m.at(memClient))
			must(t, err)
			defer socket.Destroy(nil)
			tr := &Transport{TLSClientConfig: clientTLS(), Socket: socket}
			tr.TLSClientConfig.ServerName, tr.TLSClientConfig.KeyLogWriter = "localhost", r
			tr.QUIC.MaxStreamsUni = c.client
			fetch(t, tr, newRequest(t, "GET", "https://"+memServer.String(), nil))
			must(t, tr.Close())
			if err := trace.UniStreams(cmp.Or(c.client, 16), cmp.Or(c.server, 16))(r.run(t)); err != nil {
				t.Errorf("options %d and %d: %v", c.client, c.server, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // a Session on what package quic has by itself
		m := newMemNet(t, handler(func(http.ResponseWriter, *http.Request) {}))
		r := m.record()
		socket, err := quic.NewSocket(m.at(memClient))
		must(t, err)
		defer socket.Destroy(nil)
		o := m.options(quic.ConnectOptions{})
		o.TLS.KeyLogWriter = r
		q, err := socket.Connect(t.Context(), o)
		must(t, err)
		c := rawOn(t, q, Options{}).known()
		must(t, c.Shutdown(t.Context()))
		if err := trace.UniStreams(3, 16)(r.run(t)); err != nil {
			t.Error(err)
		}
	})
}

// Options that let the peer open fewer are refused, before anything is bound, dialled or sent.
func TestTooFewUnidirectionalStreams(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	for _, n := range []int64{quic.None, 1, 2, -7} {
		refused := func(err error, option string) {
			t.Helper()
			var bad *quic.OptionError
			if !errors.As(err, &bad) || bad.Option != option || bad.Value != n || bad.Code() != quic.CodeOutOfRange || !strings.Contains(err.Error(), "want 3 or more") {
				t.Errorf("MaxStreamsUni %d: %v, want that %s is refused", n, err, option)
			}
		}
		s := &Server{Addr: taken.LocalAddr().String(), TLSConfig: serverTLS(), QUIC: quic.ListenOptions{MaxStreamsUni: n}}
		refused(s.ListenAndServe(), "http3.Server.QUIC.MaxStreamsUni") // and not that the address is in use

		f := new(fakeFallback)
		for _, tr := range []*Transport{{}, {Fallback: f, PriorKnowledge: true}} {
			tr.QUIC.MaxStreamsUni = n
			body := newBody(strings.NewReader("x"))
			_, err := tr.RoundTrip(newRequest(t, "POST", "https://localhost", body))
			refused(err, "http3.Transport.QUIC.MaxStreamsUni")
			<-body.closed
			if len(f.seen) > 0 || len(tr.dials) > 0 || tr.sockets != [2]*quic.Socket{} {
				t.Errorf("MaxStreamsUni %d: a dial is on its way, or Fallback has seen %q", n, f.seen)
			}
		}
	}
	for _, n := range []int64{quic.None, 1, 2} {
		ctx, errs := testContext(t), make(chan error, 1)
		socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: n, Handler: func(q *quic.ServerSession) error {
			_, err := NewSession(&q.Session, Options{})
			errs <- err
			return nil
		}})
		must(t, err)
		defer socket.Destroy(nil)
		q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: n})
		must(t, err)
		defer q.Destroy(nil)
		_, err = NewSession(&q.Session, Options{})
		for option, err := range map[string]error{"ConnectOptions.MaxStreamsUni": err, "ListenOptions.MaxStreamsUni": <-errs} {
			if bad := (*quic.OptionError)(nil); !errors.As(err, &bad) || bad.Option != option || bad.Value != max(n, 0) {
				t.Errorf("NewSession with %d streams: %v, want that %s is refused", n, err, option)
			}
		}
		if err := q.Err(); err != nil { // it is the caller's still
			t.Errorf("the session ends with %v", err)
		}
	}
}

// critical returns how many unidirectional streams the victim has opened.
func (a *attacker) critical() (n int) {
	for _, st := range a.victim.q.Streams() {
		if st.Local() && st.Unidirectional() {
			n++
		}
	}
	return n
}

// RFC 9114 §6.2: a stream that changes what others mean is not opened before the peer is known to take
// it: none but that for control comes before the peer's SETTINGS, and none for a table if these allow none.
func TestNoStreamBeforeSettings(t *testing.T) {
	for _, c := range []struct {
		settings []byte
		streams  int
	}{{num(), 1}, {num(7, 10), 1}, {num(1, 4096, 7, 10), 2}} {
		for name, a := range map[string]*attacker{"server": rawClient(t, Options{}, quic.ConnectOptions{}), "client": hostileServer(t, 10)} {
			exchange := func() {
				t.Helper()
				if a.message = nil; name == "client" {
					a.message = a.ask(false, "GET")
					whole(head200, data("ok"))(a)
					must(t, <-a.result)
					return
				}
				whole(get())(a)
				if b, err := io.ReadAll(a.message); len(b) == 0 || err != nil {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
			if name == "server" {
				go answerAll(a.victim)
			}
			exchange()
			if n := a.critical(); n != 1 {
				t.Errorf("%s: %d streams before SETTINGS", name, n)
			}
			uni([]byte{streamControl}, frame(frameSettings, c.settings))(a)
			if _, err := a.victim.Settings(a.ctx); err != nil {
				t.Fatal(err)
			}
			exchange()
			if n := a.critical(); n != c.streams {
				t.Errorf("%s: %d streams after SETTINGS %x, want %d", name, n, c.settings, c.streams)
			}
		}
	}
}

// RFC 9114 §6.2.1, RFC 9204 §4.2: there is one stream for control, one for each direction of QPACK, and none
// of them ends while the session lasts, nor when it ends in peace.
func TestCriticalStreamsAreNotClosed(t *testing.T) {
	for name, a := range map[string]*attacker{"server": rawClient(t, Options{}, quic.ConnectOptions{}), "client": hostileServer(t, 10)} {
		t.Run(name, func(t *testing.T) {
			a.q.SetErrorCodes(uint64(NoError), 0)
			a.q.KeepUnidirectional() // so that an end which has come before the session's is seen behind it too
			uni([]byte{streamControl}, frame(frameSettings, num(1, 4096, 7, 10)))(a)
			uni([]byte{streamQPACKEncoder}, firstEntry)(a)
			if _, err := a.victim.Settings(a.ctx); err != nil {
				t.Fatal(err)
			}
			if name == "server" {
				go answerAll(a.victim)
				whole(needsEntry)(a)
				_, err := io.ReadAll(a.message)
				must(t, err)
			} else {
				a.message = a.ask(false, "GET")
				whole(frame(frameHeaders, []byte{2, 0, 0xd9, 0x80}), data("ok"))(a)
				must(t, <-a.result)
			}
			type end struct {
				said []byte
				err  error
			}
			ends := map[uint64]chan end{}
			for len(ends) < 3 { // control, encoder, decoder
				st := a.nextUni()
				var kind [1]byte
				_, err := io.ReadFull(st, kind[:])
				must(t, err)
				if ends[uint64(kind[0])] != nil {
					t.Fatalf("a second stream of type %d", kind[0])
				}
				c := make(chan end, 1)
				ends[uint64(kind[0])] = c
				go func() { b, err := io.ReadAll(st); c <- end{b, err} }()
			}
			must(t, a.victim.Shutdown(a.ctx))
			for kind, name := range map[uint64]string{streamControl: "control", streamQPACKEncoder: "encoder", streamQPACKDecoder: "decoder"} {
				if ends[kind] == nil {
					t.Errorf("no stream of type %d", kind)
					continue
				}
				e := <-ends[kind]
				if app := (*quic.ApplicationError)(nil); !errors.As(e.err, &app) || !app.Remote || app.ErrorCode != uint64(NoError) {
					t.Errorf("the %s stream ends with %v, want the session's end", name, e.err)
				}
				if kind == streamControl {
					wantControl(t, e.said, a.victim.server)
				}
			}
			ctx, cancel := context.WithCancel(a.ctx)
			cancel() // what has come is there
			if st, err := a.q.AcceptStream(ctx); err == nil {
				t.Errorf("there is one more stream, %d", st.ID())
			}
		})
	}
}

// nextUni returns the victim's next unidirectional stream.
func (a *attacker) nextUni() *quic.Stream {
	a.Helper()
	if len(a.unis) > 0 {
		st := a.unis[0]
		a.unis = a.unis[1:]
		return st
	}
	st, err := a.q.AcceptStream(a.ctx)
	must(a, err)
	if st.Bidirectional() {
		a.Fatal("a bidirectional stream")
	}
	return st
}

// wantControl checks that a control stream begins with SETTINGS, has no other, and that a server's ends with
// GOAWAY.
func wantControl(t *testing.T, b []byte, server bool) {
	t.Helper()
	var kinds []frameType
	c := varint.NewCursor(b)
	for c.Len() > 0 && !c.Failed() {
		kinds = append(kinds, frameType(c.Varint()))
		c.Bytes(int(c.Varint()))
	}
	if c.Failed() || len(kinds) < 2 || kinds[0] != frameSettings || slices.Contains(kinds[1:], frameSettings) ||
		(kinds[len(kinds)-1] == frameGoAway) != server {
		t.Errorf("the control stream has frames %v (%x)", kinds, b)
	}
}
