package quic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// logRecord is an event of a log, decoded.
type logRecord struct {
	Time  *float64
	Name  string
	Tuple string
	Data  map[string]any
}

// parseLog takes a log apart, after checking what RFC 7464 and the main schema ask of it.
func parseLog(t testing.TB, f QLogFormat, all []byte) (header map[string]any, events []logRecord) {
	t.Helper()
	decode := func(b []byte, v any) {
		t.Helper()
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatalf("%v in %.200q", err, b)
		}
	}
	if f == QLogJSON {
		var doc struct {
			Traces []struct{ Events []logRecord }
		}
		decode(all, &header)
		decode(all, &doc)
		if len(doc.Traces) != 1 {
			t.Fatalf("%d traces", len(doc.Traces))
		}
		events = doc.Traces[0].Events
	} else {
		records := strings.Split(string(all), "\x1e")
		if records[0] != "" || len(records) < 2 {
			t.Fatalf("log begins with %.100q", all)
		}
		decode([]byte(records[1]), &header)
		for _, r := range records[2:] {
			var e logRecord
			if decode([]byte(r), &e); !strings.HasSuffix(r, "\n") {
				t.Fatalf("record %q has no line feed at its end", r)
			}
			events = append(events, e)
		}
	}
	for i, e := range events {
		if e.Time == nil || e.Name == "" || e.Data == nil {
			t.Fatalf("event %d has not time, name and data: %v", i, e)
		}
		if i > 0 && *e.Time < *events[i-1].Time {
			t.Fatalf("event %d: time falls", i)
		}
	}
	return header, events
}

// readLog reads a log to its end in the background.
func readLog(r io.Reader) func() []byte {
	var all []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		all, _ = io.ReadAll(r)
	}()
	return func() []byte { <-done; return all }
}

// named returns the events of a name.
func named(events []logRecord, name string) (list []logRecord) {
	for _, e := range events {
		if e.Name == name {
			list = append(list, e)
		}
	}
	return list
}

// TestQLogSwitches: the socket's own option is for its server sessions, that of
// SocketOptions.Client for its clients, unless Connect says otherwise.
func TestQLogSwitches(t *testing.T) {
	for _, c := range []struct {
		server, client, connect, disable bool
		wantServer, wantClient           bool
	}{
		{},
		{server: true, wantServer: true},
		{client: true, wantClient: true},
		{connect: true, wantClient: true},
		{server: true, client: true, wantServer: true, wantClient: true},
		{server: true, client: true, disable: true, wantServer: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: c.server, Client: ConnectOptions{QLog: c.server}}, ListenOptions{})
			defer m.close()
			m.client.Destroy(nil)
			m.client = m.socket(SocketOptions{QLog: c.server, Client: ConnectOptions{QLog: c.client}})
			p := m.pair(ConnectOptions{QLog: c.connect, DisableQLog: c.disable})
			synctest.Wait()
			if got := p.server.QLog() != nil; got != c.wantServer {
				t.Errorf("%+v: server session has a log: %v", c, got)
			}
			if got := p.client.QLog() != nil; got != c.wantClient {
				t.Errorf("%+v: client session has a log: %v", c, got)
			}
		})
	}
	covers(t, "CQS-012")
	covers(t, "CQS-020")
	covers(t, "CON-041")

	_, err := NewSocket(SocketOptions{QLogFormat: 2})
	var oe *OptionError
	if !errors.As(err, &oe) || oe.Option != "SocketOptions.QLogFormat" || oe.Code() != CodeOutOfRange {
		t.Errorf("QLogFormat 2: %v", err)
	}
}

// TestQLogServerTiming: inside the Handler a server session's log can be read already, and
// begins with the beginning.
func TestQLogServerTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inHandler io.Reader
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true}, ListenOptions{Handler: func(s *ServerSession) error {
			inHandler = s.QLog()
			return nil
		}})
		defer m.close()
		c := m.connect(ConnectOptions{})
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if inHandler == nil {
			t.Fatal("no log inside the Handler")
		}
		all := readLog(inHandler)
		_ = c.CloseWithError(0, "")
		time.Sleep(time.Minute)
		_, events := parseLog(t, QLogSeq, all())
		if len(events) == 0 || events[0].Name != "quic:connection_started" {
			t.Errorf("log of %d events does not begin with connection_started", len(events))
		}
		covers(t, "SES-082")
	})
}

// TestQLogClientTiming: a client's log is there from when the QLog hook is told, once, and
// the hook's argument is what QLog returns; also without a hook it is there soon.
func TestQLogClientTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var held []func() // deliveries that are kept back
		keep := true
		m.client.Destroy(nil)
		m.client = m.socket(SocketOptions{Dispatch: func(f func()) {
			if keep {
				held = append(held, f)
				return
			}
			go f()
		}})
		var told []io.Reader
		var c *ClientSession
		var order []string
		c = m.connect(ConnectOptions{QLog: true, Hooks: SessionHooks{
			QLog:   func(r io.Reader) error { told, order = append(told, r), append(order, "qlog"); return nil },
			Secure: func() error { order = append(order, "secure"); return nil },
		}})
		synctest.Wait()
		if c.QLog() != nil {
			t.Error("the log is there before the hook was told")
		}
		covers(t, "SES-083")
		keep = false
		for _, f := range held {
			f()
		}
		if len(told) != 1 {
			t.Fatalf("hook was told %d times before the first answer of the server's", len(told))
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if fmt.Sprint(order) != "[qlog secure]" {
			t.Errorf("hooks told: %v", order)
		}
		covers(t, "CLI-007")
		if told[0] == nil || told[0] != c.QLog() {
			t.Error("hook was given something else than what QLog returns")
		}
		covers(t, "CLI-008")
		without := m.connect(ConnectOptions{QLog: true})
		synctest.Wait()
		if without.QLog() == nil {
			t.Error("no log without a hook")
		}
		failing := m.connect(ConnectOptions{QLog: true, Hooks: SessionHooks{QLog: func(io.Reader) error { return io.ErrClosedPipe }}})
		synctest.Wait()
		if !errors.Is(failing.Err(), io.ErrClosedPipe) {
			t.Errorf("session whose hook failed: %v", failing.Err())
		}
		off := m.connect(ConnectOptions{Hooks: SessionHooks{QLog: func(io.Reader) error { t.Error("hook without QLog"); return nil }}})
		synctest.Wait()
		if off.QLog() != nil {
			t.Error("a log without QLog")
		}
	})
}

// TestQLogEnds: a read waits for events, and the log ends with the session; what was
// dropped because nobody read is counted in the log and in the figures.
func TestQLogEnds(t *testing.T) {
	for _, format := range []QLogFormat{QLogSeq, QLogJSON} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true, QLogFormat: format}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			cs, ss := p.streams(t)
			go func() { _, _ = io.Copy(io.Discard, ss) }()
			buf := make([]byte, 1<<20)
			for range 120 { // far more than 1 MiB of events
				if _, err := cs.Write(buf[:64<<10]); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			dropped := p.server.Stats().QLogDropped
			if dropped == 0 {
				t.Fatal("nothing was dropped")
			}
			first := make([]byte, qlogUnread)
			if _, err := io.ReadFull(p.server.QLog(), first[:qlogUnread/2]); err != nil {
				t.Fatal(err)
			}
			first = first[:qlogUnread/2]
			rest := readLog(p.server.QLog())
			if _, err := cs.Write(buf[:1000]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			_ = p.client.CloseWithError(7, "bye\x1e\xff")
			time.Sleep(time.Minute)
			all := append(first, rest()...)
			header, events := parseLog(t, format, all)
			schema, media := "urn:ietf:params:qlog:file:sequential", "application/qlog+json-seq"
			if format == QLogJSON {
				schema, media = "urn:ietf:params:qlog:file:contained", "application/qlog+json"
			}
			if header["file_schema"] != schema || header["serialization_format"] != media || header["qlog_version"] == nil {
				t.Errorf("header %v", header)
			}
			told := 0.0
			for _, e := range named(events, "loglevel:warning") {
				told += e.Data["events_dropped"].(float64)
			}
			if total := p.server.Stats().QLogDropped; uint64(told) != total || total < dropped {
				t.Errorf("log tells of %v dropped events, figures of %d", told, total)
			}
			closed := named(events, "quic:connection_closed")
			if len(closed) != 1 || closed[0].Data["error_code"] != 7.0 || closed[0].Data["initiator"] != "remote" || closed[0].Data["reason"] != "bye\x1e\uFFFD" {
				t.Errorf("end of the log: %v", closed)
			}
			if n, err := p.server.QLog().Read(buf); n != 0 || err != io.EOF {
				t.Errorf("read at the end: %d, %v", n, err)
			}
		})
	}
	covers(t, "SES-084")
}

// TestQLogReaderAlone: a reader keeps what is unread, and not the session.
func TestQLogReaderAlone(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	var collected atomic.Bool
	log := func() io.Reader {
		c, err := Dial(testContext(t), p.socket.Address().String(), ConnectOptions{TLS: clientConfig(), QLog: true})
		if err != nil {
			t.Fatal(err)
		}
		log := c.QLog()
		for ; log == nil; log = c.QLog() {
			runtime.Gosched()
		}
		runtime.AddCleanup(&c.Session, func(b *atomic.Bool) { b.Store(true) }, &collected)
		socket := c.Socket()
		c.Destroy(nil)
		socket.Destroy(nil)
		return log
	}()
	for try := 0; !collected.Load(); try++ {
		if try == 2000 {
			t.Fatal("the session was not collected while its log can be read")
		}
		runtime.GC()
	}
	all, err := io.ReadAll(log)
	if _, events := parseLog(t, QLogSeq, all); err != nil || len(events) == 0 {
		t.Errorf("%d events left, %v", len(events), err)
	}
	covers(t, "SES-081")
}

// logFile is a writer of logs that may be slow, fail or panic.
type logFile struct {
	mu     sync.Mutex
	b      bytes.Buffer
	closed int
	fail   func() error
}

func (f *logFile) Write(p []byte) (int, error) {
	if f.fail != nil {
		return 0, f.fail()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.Write(p)
}

func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

// TestQLogWriter: with a writer for each session nothing is lost, however much there is; the
// writer may use the session, and its failure is not the session's.
func TestQLogWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := make(map[*Session]*logFile)
		var said []string
		var next *logFile
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true,
			Logf: func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
			QLogWriter: func(s *Session) io.Writer {
				_ = s.Stats() // no lock is held
				if files[s] != nil {
					t.Error("asked twice for one session")
				}
				if files[s] = next; next == nil {
					return nil
				}
				return next
			}}, ListenOptions{})
		defer m.close()
		run := func(f *logFile) (*pair, *logFile) {
			next = f
			p := m.pair(ConnectOptions{})
			cs, ss := p.streams(t)
			go func() { _, _ = io.Copy(io.Discard, ss) }()
			for range 120 {
				if _, err := cs.Write(make([]byte, 64<<10)); err != nil {
					t.Fatal(err)
				}
			}
			if p.server.QLog() != nil {
				t.Error("QLog returns something beside a QLogWriter")
			}
			_ = p.client.CloseWithError(0, "")
			time.Sleep(time.Minute)
			synctest.Wait()
			return p, f
		}
		p, f := run(new(logFile))
		_, events := parseLog(t, QLogSeq, f.b.Bytes())
		stats := p.server.Stats()
		if got := len(named(events, "quic:packet_received")); uint64(got) != stats.PacketsReceived || stats.QLogDropped != 0 || f.b.Len() < 2*qlogUnread {
			t.Errorf("%d bytes, %d packets received in the log, %d in the figures; %d dropped", f.b.Len(), got, stats.PacketsReceived, stats.QLogDropped)
		}
		if f.closed != 1 {
			t.Errorf("writer was closed %d times", f.closed)
		}
		for _, fail := range []func() error{func() error { return io.ErrShortBuffer }, func() error { panic("no") }} {
			p, f := run(&logFile{fail: fail})
			if f.b.Len() > 0 || p.server.CloseCode().Code != 0 || p.server.CloseCode().Family != CloseApplication {
				t.Errorf("session whose log failed ended with %v", p.server.Err())
			}
			if f.closed != 1 || p.server.log.spool.Len() > 0 {
				t.Errorf("writer that failed was closed %d times, %d bytes are kept for it", f.closed, p.server.log.spool.Len())
			}
		}
		if len(said) != 2 || !strings.Contains(said[0], io.ErrShortBuffer.Error()) {
			t.Errorf("the failures were told as %q", said)
		}
		run(nil)
		if len(said) != 2 {
			t.Errorf("no writer is no failure: %q", said)
		}
	})
}
