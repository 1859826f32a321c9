package quic

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// keyLines is a KeyLog hook that remembers.
type keyLines []string

func (k *keyLines) add(line []byte) error {
	*k = append(*k, string(line))
	return nil
}

// labels returns what the lines begin with.
func (k keyLines) labels() []string {
	var list []string
	for _, line := range k {
		label, _, _ := strings.Cut(line, " ")
		list = append(list, label)
	}
	return list
}

// opener returns what opens packets with the secret of a line.
func (k keyLines) opener(t testing.TB, label string, suite uint16) *protect.Opener {
	t.Helper()
	for _, line := range k {
		if rest, ok := strings.CutPrefix(line, label+" "); ok {
			secret, err := hex.DecodeString(strings.TrimSpace(rest[65:]))
			if err != nil {
				t.Fatal(err)
			}
			o, err := protect.NewOpener(wire.Version1, suite, secret)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
	}
	t.Fatalf("no line %s in %q", label, k)
	return nil
}

// opened decrypts the packets of one type and direction, which changes them, and returns what was
// in them; it fails with those that cannot be decrypted.
func (tr *traffic) opened(t testing.TB, o *protect.Opener, typ wire.PacketType, toServer bool) [][]byte {
	t.Helper()
	var list [][]byte
	for _, d := range tr.sent() {
		b := bytes.Clone(d.Data)
		if (d.Path.Local == memServer) != toServer {
			continue
		}
		for len(b) > 0 {
			at, end, kind := 1+8, len(b), wire.OneRTT
			if h, ok := wire.ParseLong(b); ok {
				at, end, kind = h.PNOffset, h.End, h.Type
			} else if b[0]&0x40 == 0 {
				break // padding
			}
			if kind == typ {
				opened, ok := o.Open(b[:end:end], at, -1)
				if !ok {
					t.Errorf("a packet of type %v, to the server %v, cannot be opened", typ, toServer)
				}
				list = append(list, opened.Payload)
			}
			b = b[end:]
		}
	}
	if len(list) == 0 {
		t.Errorf("no packet of type %v, to the server %v", typ, toServer)
	}
	return list
}

// lineRandom returns what a line names its session by.
func lineRandom(line string) string {
	_, rest, _ := strings.Cut(line, " ")
	random, _, _ := strings.Cut(rest, " ")
	return random
}

var keyLine = regexp.MustCompile(`^[A-Z0-9_]+ [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})\n$`)

// logged is a session whose ends have logged their keys.
type logged struct {
	pair
	client, server keyLines
	traffic        *traffic
}

const secretText = "what nobody else is to know"

// newLogged makes a session with KeyLog hooks, the server's set in its Handler, and sends
// secretText on a stream from the client.
func newLogged(t *testing.T, m *memNet, sessions chan *ServerSession, keys *keyLines, o ConnectOptions) *logged {
	l := &logged{traffic: m.record()}
	*keys = nil
	o.Hooks.KeyLog = l.client.add
	c := m.connect(o)
	if c.sendsEarly() {
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End([]byte(secretText))
	}
	if err := c.Handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.pair = pair{m.server, c, <-sessions}
	if !c.UsingEarlyData() {
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End([]byte(secretText))
	}
	time.Sleep(time.Second)
	synctest.Wait()
	l.server = *keys
	return l
}

func newKeyLogNet(t *testing.T) (*memNet, chan *ServerSession, *keyLines) {
	sessions, keys := make(chan *ServerSession, 1), new(keyLines)
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Handler: func(s *ServerSession) error {
		time.Sleep(50 * time.Millisecond) // much of the handshake is over when the hook comes
		s.SetHooks(SessionHooks{KeyLog: keys.add})
		sessions <- s
		return nil
	}})
	return m, sessions, keys
}

var (
	fullLabels  = []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}
	earlyLabels = append([]string{"CLIENT_EARLY_TRAFFIC_SECRET"}, fullLabels...)
)

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// Both ends tell all secrets, one call a line, also to hooks that the Handler sets; and
// what was on the wire can be decrypted with them.
func TestKeyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, sessions, keys := newKeyLogNet(t)
		defer m.close()
		var user bytes.Buffer
		config := clientConfig()
		config.KeyLogWriter = &user
		var ticket, params []byte
		l := newLogged(t, m, sessions, keys, ConnectOptions{TLS: config, Hooks: SessionHooks{SessionTicket: func(a, b []byte) error {
			ticket, params = a, b
			return nil
		}}})
		for name, got := range map[string]keyLines{"client": l.client, "server": l.server} {
			if !slices.Equal(sorted(got.labels()), sorted(fullLabels)) {
				t.Errorf("the %s's hook was told %q", name, got.labels())
			}
			covers(t, "SES-011")
			for _, line := range got {
				if !keyLine.MatchString(line) || lineRandom(line) != lineRandom(got[0]) {
					t.Errorf("a line is %q", line)
				}
			}
		}
		if !slices.Equal(sorted(l.client), sorted(l.server)) {
			t.Errorf("the ends differ: %q, %q", l.client, l.server)
		}
		if user.String() != strings.Join(l.client, "") {
			t.Errorf("the configuration's writer was told %q", user.String())
		}
		suite := l.pair.client.ConnectionState().CipherSuite
		for i, toServer := range []bool{true, false} {
			l.traffic.opened(t, l.client.opener(t, fullLabels[i], suite), wire.Handshake, toServer)
			data := l.traffic.opened(t, l.server.opener(t, fullLabels[2+i], suite), wire.OneRTT, toServer)
			if found := bytes.Contains(bytes.Join(data, nil), []byte(secretText)); found != toServer {
				t.Errorf("the text is in the packets, to the server %v: %v", toServer, found)
			}
		}
		covers(t, "SES-012")

		// With early data there is one secret more.
		early := newLogged(t, m, sessions, keys, ConnectOptions{SessionTicket: ticket, RemoteTransportParams: params})
		if !early.pair.client.UsingEarlyData() {
			t.Fatal("no early data")
		}
		for name, got := range map[string]keyLines{"client": early.client, "server": early.server} {
			if !slices.Equal(sorted(got.labels()), sorted(earlyLabels)) {
				t.Errorf("with early data, the %s's hook was told %q", name, got.labels())
			}
			covers(t, "SES-013")
			for _, line := range got {
				if !keyLine.MatchString(line) || line[len(line)-98:] == l.client[0][len(l.client[0])-98:] || lineRandom(line) != lineRandom(got[0]) {
					t.Errorf("a line is %q", line)
				}
			}
			data := early.traffic.opened(t, got.opener(t, earlyLabels[0], early.pair.client.ConnectionState().CipherSuite), wire.ZeroRTT, true)
			if !bytes.Contains(bytes.Join(data, nil), []byte(secretText)) {
				t.Error("the text is not in the early packets")
			}
		}
		if !slices.Equal(sorted(early.client), sorted(early.server)) {
			t.Errorf("the ends differ: %q, %q", early.client, early.server)
		}
	})
}

// Each session's hook is told its own secrets; one that fails ends its session.
func TestKeyLogOfEachSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server keyLines
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Hooks: SessionHooks{KeyLog: server.add}})
		defer m.close()
		var a, b, late keyLines
		m.pair(ConnectOptions{Hooks: SessionHooks{KeyLog: a.add}})
		synctest.Wait()
		first := len(server)
		m.pair(ConnectOptions{Hooks: SessionHooks{KeyLog: b.add}})
		synctest.Wait()
		if !slices.Equal(sorted(server[:first]), sorted(a)) || !slices.Equal(sorted(server[first:]), sorted(b)) || len(a) != 4 || len(b) != 4 {
			t.Errorf("%q, %q, at the server %q", a, b, server)
		}
		c := m.connect(ConnectOptions{DelayHandshake: true})
		c.SetHooks(SessionHooks{KeyLog: late.add})
		if err := c.StartHandshake(); err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(late) != 4 {
			t.Errorf("a hook set before the handshake was told %q", late)
		}
		lines := 0
		c = m.connect(ConnectOptions{Hooks: SessionHooks{KeyLog: func([]byte) error { lines++; return errBoom }}})
		<-c.Closed()
		synctest.Wait()
		if c.Err() != errBoom || lines == 0 || lines > 3 { // a second batch may have been on its way
			t.Errorf("a hook that fails: %v, %d lines", c.Err(), lines)
		}
	})
}

// capture writes the traffic as a pcap file of IPv4 packets.
func (tr *traffic) capture(t testing.TB, name string) {
	t.Helper()
	const rawIP = 101
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // times in microseconds
	b = binary.LittleEndian.AppendUint32(b, 2|4<<16)       // version 2.4
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 1<<16) // snap length
	b = binary.LittleEndian.AppendUint32(b, rawIP)
	for i, d := range tr.sent() {
		size := uint16(len(d.Data))
		from, to := d.Path.Remote, d.Path.Local
		for _, v := range []uint32{uint32(i), 0, uint32(size) + 28, uint32(size) + 28} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, size+28)
		b = append(b, 0, 0, 0x40, 0, 64, 17, 0, 0) // don't fragment, UDP, no checksum
		b = append(b, from.Addr().AsSlice()...)
		b = append(b, to.Addr().AsSlice()...)
		for _, v := range []uint16{from.Port(), to.Port(), size + 8, 0} {
			b = binary.BigEndian.AppendUint16(b, v)
		}
		b = append(b, d.Data...)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Wireshark's dissector finds the text in a capture with what the hook was told, and not
// without.
func TestKeyLogInTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed; TestKeyLog decrypts with this module's own code")
	}
	dir := t.TempDir()
	capture, keyFile := filepath.Join(dir, "session.pcap"), filepath.Join(dir, "keys.txt")
	decrypt := func(options ...string) string {
		args := append([]string{"-r", capture, "-n", "-d", "udp.port==4433,quic", "-T", "fields", "-e", "quic.stream_data"}, options...)
		cmd := exec.CommandContext(testContext(t), tshark, args...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, out)
		}
		return string(out)
	}
	var ticket, params []byte
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, sessions, keys := newKeyLogNet(t)
			defer m.close()
			o := ConnectOptions{Hooks: SessionHooks{SessionTicket: func(a, b []byte) error { ticket, params = a, b; return nil }}}
			l := newLogged(t, m, sessions, keys, o)
			if early {
				l = newLogged(t, m, sessions, keys, ConnectOptions{SessionTicket: ticket, RemoteTransportParams: params})
			}
			if l.pair.client.UsingEarlyData() != early {
				t.Fatal("early data is wrong")
			}
			l.traffic.capture(t, capture)
			if err := os.WriteFile(keyFile, []byte(strings.Join(l.server, "")), 0o600); err != nil {
				t.Fatal(err)
			}
		})
		text := hex.EncodeToString([]byte(secretText))
		if out := decrypt("-o", "tls.keylog_file:"+keyFile); !strings.Contains(strings.ReplaceAll(out, ":", ""), text) {
			t.Errorf("early %v: tshark has found the stream data %q", early, out)
		}
		if out := decrypt(); strings.Contains(strings.ReplaceAll(out, ":", ""), text) {
			t.Errorf("early %v: tshark needs no keys", early)
		}
	}
}
