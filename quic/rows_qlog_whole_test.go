package quic

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// endLog is what one end of a session has logged, with its figures.
type endLog struct {
	name   string
	header map[string]any
	events []logRecord
	stats  SessionStats
}

// count returns how many events of a name there are.
func (l *endLog) count(name string) uint64 { return uint64(len(named(l.events, "quic:"+name))) }

// follow reads the logs of both ends from the start; the result is to be called when the
// session is over at both.
func follow(t *testing.T, p *pair) func() (client, server *endLog) {
	c, s := readLog(p.client.QLog()), readLog(p.server.QLog())
	return func() (*endLog, *endLog) {
		t.Helper()
		make := func(name string, all []byte, s *Session) *endLog {
			h, events := parseLog(t, QLogSeq, all)
			l := &endLog{name, h, events, s.Stats()}
			for i := range events {
				checkEvent(t, &events[i])
			}
			l.compare(t)
			return l
		}
		return make("client", c(), &p.client.Session), make("server", s(), &p.server.Session)
	}
}

// compare holds the log against the figures that the session has counted.
func (l *endLog) compare(t *testing.T) {
	t.Helper()
	same := func(what string, logged, counted uint64) {
		t.Helper()
		if logged != counted {
			t.Errorf("%s: %s: %d logged, %d counted", l.name, what, logged, counted)
		}
	}
	bytes := func(name string) (sum uint64) {
		for _, e := range named(l.events, "quic:"+name) {
			for _, r := range e.Data["raw"].([]any) {
				sum += uint64(r.(map[string]any)["length"].(float64))
			}
		}
		return sum
	}
	lost := uint64(0)
	for _, e := range named(l.events, "quic:packet_lost") {
		if e.Data["is_mtu_probe_packet"] == nil {
			lost++
		}
	}
	same("packets sent", l.count("packet_sent"), l.stats.PacketsSent)
	same("packets received", l.count("packet_received"), l.stats.PacketsReceived)
	same("packets lost", lost, l.stats.PacketsLost)
	same("packets dropped", l.count("packet_dropped"), l.stats.PacketsIgnored)
	same("bytes sent", bytes("udp_datagrams_sent"), l.stats.BytesSent)
	same("bytes received", bytes("udp_datagrams_received"), l.stats.BytesReceived)
	same("dropped events", 0, l.stats.QLogDropped)
}

// packets returns the packets of an event's name as type and number, none twice.
func (l *endLog) packets(t *testing.T, name string) map[string]bool {
	set := make(map[string]bool)
	for _, e := range named(l.events, "quic:"+name) {
		h := e.Data["header"].(map[string]any)
		id := fmt.Sprint(h["packet_type"], " ", h["packet_number"])
		if set[id] {
			t.Errorf("%s: %s %s twice", l.name, name, id)
		}
		set[id] = true
	}
	return set
}

// wantNames fails for each event that the log lacks.
func (l *endLog) wantNames(t *testing.T, names string) {
	t.Helper()
	for _, name := range strings.Fields(names) {
		if l.count(name) == 0 {
			t.Errorf("%s: no %s", l.name, name)
		}
	}
}

// values returns what a member has in the events of a name, one after the other.
func (l *endLog) values(name, key string) (list []string) {
	for _, e := range named(l.events, "quic:"+name) {
		list = append(list, fmt.Sprint(e.Data[key]))
	}
	return list
}

// TestQLogWhole follows a session from its handshake over streams both ways, losses, a key
// update and a migration to its close, at both ends, and holds every record against the
// draft and the session's figures.
func TestQLogWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var lossy atomic.Bool
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond, MTU: 1400, Filter: func(*dgram.Datagram) bool {
			n++
			return lossy.Load() && n%29 == 0
		}}, SocketOptions{QLog: true}, ListenOptions{MaxData: 200_000, MaxStreamDataBidiRemote: 5_000, ActiveConnectionIDLimit: 4})
		defer m.close()
		p := m.pair(ConnectOptions{QLog: true, CongestionAlgorithm: "cubic", ActiveConnectionIDLimit: 4})
		end := follow(t, p)
		lossy.Store(true)
		exchange(t, p, 400_000)
		time.Sleep(time.Second)
		if ok, err := p.client.UpdateKey(); !ok || err != nil {
			t.Fatal(ok, err)
		}
		exchange(t, p, 20_000)
		other := m.socket(SocketOptions{})
		defer other.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), other, false); err != nil {
			t.Fatal(err)
		}
		exchange(t, p, 100_000)
		resetBoth(t, p)
		time.Sleep(5 * time.Second)
		lossy.Store(false)
		_ = p.client.CloseWithError(42, "enough")
		time.Sleep(time.Minute)
		synctest.Wait()
		client, server := end()
		if p.client.Stats().PacketsLost == 0 || p.client.Stats().KeyUpdateCount == 0 {
			t.Errorf("%d packets were lost, %d keys updated: the test shows nothing", p.client.Stats().PacketsLost, p.client.Stats().KeyUpdateCount)
		}
		checkWhole(t, client, server)
		covers(t, "SES-081")
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if c, s := p.client.QLog(), p.server.QLog(); c != nil || s != nil {
			t.Errorf("logs that nobody has asked for: %v and %v", c, s)
		}
		covers(t, "SES-081")
	})
}

// exchange sends n bytes both ways on a stream and reads them to the end.
func exchange(t *testing.T, p *pair, n int) {
	t.Helper()
	c, err := p.client.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.End(make([]byte, n)) }()
	s, err := p.server.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(s, s)
		_ = s.CloseWrite()
	}()
	if got, err := io.Copy(io.Discard, c); got != int64(n) || err != nil {
		t.Fatalf("%d bytes came back, %v", got, err)
	}
}

// resetBoth ends a stream abruptly, both sides.
func resetBoth(t *testing.T, p *pair) {
	t.Helper()
	c, s := p.streams(t)
	c.Reset(5)
	c.Stop(6)
	if _, err := io.Copy(io.Discard, s); err == nil {
		t.Fatal("no error after a reset")
	}
}

// checkHeaders: both logs are of the same connection, each from its side.
func checkHeaders(t *testing.T, client, server *endLog) {
	t.Helper()
	group := func(l *endLog) any {
		return l.header["trace"].(map[string]any)["common_fields"].(map[string]any)["group_id"]
	}
	if g := group(client); g != group(server) || len(fmt.Sprint(g)) != 16 {
		t.Errorf("group IDs %v and %v", g, group(server))
	}
	for _, l := range []*endLog{client, server} {
		if vp := l.header["trace"].(map[string]any)["vantage_point"].(map[string]any)["type"]; vp != l.name {
			t.Errorf("%s: vantage point %v", l.name, vp)
		}
	}
}

// checkWhole holds what both ends have logged of the whole session against what happened,
// and against each other.
func checkWhole(t *testing.T, client, server *endLog) {
	t.Helper()
	both := "connection_started connection_closed connection_id_updated connection_state_updated tuple_assigned mtu_updated " +
		"version_information alpn_information parameters_set packet_sent packet_received packets_acked udp_datagrams_sent " +
		"udp_datagrams_received stream_state_updated stream_data_moved connection_data_blocked_updated migration_state_updated " +
		"timer_updated key_updated key_discarded recovery_parameters_set recovery_metrics_updated congestion_state_updated " +
		"packet_lost marked_for_retransmit ecn_state_updated"
	client.wantNames(t, both+" stream_data_blocked_updated")
	server.wantNames(t, both)
	cs, cr, ss, sr := client.packets(t, "packet_sent"), client.packets(t, "packet_received"), server.packets(t, "packet_sent"), server.packets(t, "packet_received")
	for _, way := range []struct {
		what     string
		got, all map[string]bool
	}{{"client", cr, ss}, {"server", sr, cs}} {
		for id := range way.got {
			if !way.all[id] {
				t.Errorf("%s received %s, which was not sent", way.what, id)
			}
		}
	}
	checkHeaders(t, client, server)
	want := func(l *endLog, name, key, values string) {
		t.Helper()
		got := l.values(name, key)
		for _, v := range strings.Fields(values) {
			if !slices.Contains(got, v) {
				t.Errorf("%s: no %s with %s %s, but %v", l.name, name, key, v, slices.Compact(slices.Sorted(slices.Values(got))))
			}
		}
	}
	exactly := func(l *endLog, name, key, values string) {
		t.Helper()
		if got := strings.Join(l.values(name, key), " "); got != values {
			t.Errorf("%s: %s has %s %q, want %q", l.name, name, key, got, values)
		}
	}
	exactly(client, "connection_state_updated", "new", "attempted handshake_started handshake_complete handshake_confirmed closing closed")
	exactly(server, "connection_state_updated", "new", "attempted handshake_started early_write peer_validated handshake_complete handshake_confirmed draining closed")
	exactly(client, "connection_closed", "initiator", "local")
	exactly(server, "connection_closed", "initiator", "remote")
	for _, l := range []*endLog{client, server} {
		exactly(l, "connection_closed", "error_code", "42")
		exactly(l, "connection_closed", "reason", "enough")
		want(l, "key_updated", "key_type", "client_initial_secret server_initial_secret client_handshake_secret server_handshake_secret client_1rtt_secret server_1rtt_secret")
		want(l, "key_discarded", "key_type", "client_initial_secret server_initial_secret client_handshake_secret server_handshake_secret client_1rtt_secret server_1rtt_secret")
		want(l, "stream_state_updated", "new", "ready send data_sent data_received receive data_read destroyed reset_sent reset_received")
		want(l, "ecn_state_updated", "new", "testing capable")
		want(l, "congestion_state_updated", "new", "slow_start recovery congestion_avoidance")
		want(l, "packets_acked", "packet_number_space", "application_data")
		want(l, "timer_updated", "timer_type", "loss_timeout ack_delay idle_timeout")
		want(l, "timer_updated", "event_type", "set expired cancelled")
		want(l, "stream_data_moved", "from", "application transport")
		want(l, "stream_data_moved", "additional_info", "fin_set stream_reset")
		want(l, "parameters_set", "initiator", "local remote")
		want(l, "migration_state_updated", "new", "probing_started probing_successful migration_complete")
	}
	want(client, "key_updated", "trigger", "tls local_update")
	want(server, "key_updated", "trigger", "tls remote_update")
	want(client, "recovery_parameters_set", "congestion_controller", "cubic")
	want(server, "recovery_parameters_set", "congestion_controller", "reno")
	want(client, "stream_data_blocked_updated", "reason", "stream_flow_control")
	const alpn = "map[byte_value:74657374 string_value:test]"
	for what, got := range map[string][]string{
		"<nil> " + alpn:                 client.values("alpn_information", "chosen_alpn"),
		alpn:                            server.values("alpn_information", "chosen_alpn"),
		"[" + alpn + "]":                server.values("alpn_information", "server_alpns"),
		"[" + alpn + "] [" + alpn + "]": client.values("alpn_information", "client_alpns"),
	} {
		if strings.Join(got, " ") != what {
			t.Errorf("application protocols %q, want %q", got, what)
		}
	}
}

// TestQLogEarly: 0-RTT, a Retry, a version that is not spoken and a server that has lost its
// state show in the logs.
func TestQLogEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{QLog: true}, ListenOptions{})
		defer m.close()
		config := clientConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		p := m.pair(ConnectOptions{TLS: config})
		time.Sleep(time.Second)
		_ = p.client.CloseWithError(0, "")
		time.Sleep(time.Second)
		c := m.connect(ConnectOptions{TLS: config, QLog: true})
		st, err := c.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.End([]byte("early")); err != nil {
			t.Fatal(err)
		}
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		end := follow(t, &pair{m.server, c, s})
		time.Sleep(time.Second)
		_ = c.CloseWithError(0, "")
		time.Sleep(time.Minute)
		client, server := end()
		client.wantNames(t, "parameters_restored packet_sent")
		if !slices.ContainsFunc(named(server.events, "quic:packet_received"), func(e logRecord) bool {
			return e.Data["header"].(map[string]any)["packet_type"] == "0RTT"
		}) {
			t.Error("no 0RTT packet was received")
		}
		for _, l := range []*endLog{client, server} {
			if keys := l.values("key_discarded", "key_type"); !slices.Contains(keys, "client_0rtt_secret") {
				t.Errorf("%s: keys discarded: %v", l.name, keys)
			}
		}
	})
}

// logOf returns all that a client's session logs until it is over.
func logOf(t *testing.T, c *ClientSession) *endLog {
	t.Helper()
	synctest.Wait()
	all := readLog(c.QLog())
	time.Sleep(time.Minute)
	_ = c.CloseWithError(0, "")
	time.Sleep(time.Minute)
	h, events := parseLog(t, QLogSeq, all())
	l := &endLog{"client", h, events, c.Stats()}
	for i := range events {
		checkEvent(t, &events[i])
	}
	return l
}

// received reports whether a packet of a type was received.
func (l *endLog) received(kind string) bool {
	return slices.ContainsFunc(named(l.events, "quic:packet_received"), func(e logRecord) bool {
		return e.Data["header"].(map[string]any)["packet_type"] == kind
	})
}

func TestQLogRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true, ValidateAddress: true}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{QLog: true})
		server := readLog(p.server.QLog())
		client := logOf(t, p.client)
		if !client.received("retry") {
			t.Error("no Retry in the log")
		}
		h, events := parseLog(t, QLogSeq, server())
		for i := range events {
			checkEvent(t, &events[i])
		}
		group := func(h map[string]any) any {
			return h["trace"].(map[string]any)["common_fields"].(map[string]any)["group_id"]
		}
		if group(h) != group(client.header) {
			t.Errorf("after a Retry the group IDs are %v and %v", group(client.header), group(h))
		}
	})
}

func TestQLogVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Remote != memServer && len(d.Data) > 1000 && d.Data[0]&0x80 != 0 {
				d.Data[4] = 0x77 // another version, to the server
			}
			if n := len(d.Data); d.Path.Remote == memServer && n < 100 {
				d.Data[n-5] = 0x78 // which does not speak the client's
			}
			return false
		})
		c := m.connect(ConnectOptions{QLog: true, Versions: []Version{Version1}})
		l := logOf(t, c)
		if closed := l.values("connection_closed", "trigger"); fmt.Sprint(closed) != "[version_mismatch]" || !l.received("version_negotiation") {
			t.Errorf("closed for %v; Version Negotiation logged: %v", closed, l.received("version_negotiation"))
		}
	})
}

func TestQLogReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := SocketOptions{StatelessResetSecret: make([]byte, 16)}
		m := newMemNet(t, udp.NetworkOptions{}, secret, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{QLog: true})
		time.Sleep(time.Second)
		m.net.SetFilter(func(*dgram.Datagram) bool { return true }) // the server's last words are lost
		m.server.Destroy(nil)
		m.net.SetFilter(nil)
		m.server = m.socketAt(memServer, secret)
		if err := m.server.Listen(context.Background(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		_ = p.client.Ping()
		l := logOf(t, p.client)
		if closed := l.values("connection_closed", "trigger"); fmt.Sprint(closed) != "[stateless_reset]" || !l.received("stateless_reset") {
			t.Errorf("closed for %v; stateless reset logged: %v", closed, l.received("stateless_reset"))
		}
	})
}
