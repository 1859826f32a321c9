package h3

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// ngtcp2 is the pair of example programs of ngtcp2 and nghttp3, with GnuTLS. What they
// do is in their logs.
type ngtcp2 struct{}

func (ngtcp2) name() string   { return "ngtcp2" }
func (ngtcp2) traits() traits { return traits{slow: true} }

func (ngtcp2) serve(d *duel) (*origin, error) {
	at, err := kit.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := kit.Start(d.t, exec.Command(kit.Find(d.t, "gtlsserver", "Debian's ngtcp2-server"),
		"--no-quic-dump", "--send-trailers", "--htdocs="+d.root.dir,
		at.Addr().String(), strconv.Itoa(int(at.Port())), d.id.KeyFile, d.id.CertFile))
	if err != nil {
		return nil, err
	}
	return &origin{
		addr:     at,
		empty:    "/0", // of as many bytes as its name says
		trailers: true,
		received: func() (kit.Digest, error) { return posted(p) },
		early:    func() (bool, error) { return cameEarly(p) },
		compressing: func() (dynamic, error) {
			log, err := p.Log()
			if err != nil {
				return dynamic{}, err
			}
			defer log.Close()
			return tables(log)
		},
	}, p.Ready(d.ctx, at)
}

// bodyLine is a line of a hexadecimal dump.
var bodyLine = regexp.MustCompile(`^[0-9a-f]{8}  ((?:[0-9a-f]{2} {1,2}){1,16}) *\|`)

// posted puts together the request bodies that a server has dumped.
func posted(p *kit.Process) (kit.Digest, error) {
	log, err := p.Log()
	if err != nil {
		return kit.Digest{}, err
	}
	defer log.Close()
	r, w := io.Pipe()
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			m := bodyLine.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			b, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
			if err != nil {
				w.CloseWithError(err)
				return
			}
			w.Write(b)
		}
		w.CloseWithError(lines.Err())
	}()
	return kit.DigestOf(r)
}

// cameEarly reports whether the newest connection had a request before its handshake
// was complete.
func cameEarly(p *kit.Process) (bool, error) {
	log, err := p.Log()
	if err != nil {
		return false, err
	}
	defer log.Close()
	early, complete := false, false
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "http: control stream="): // a new connection
			early, complete = false, false
		case line == "QUIC handshake has completed":
			complete = true
		case strings.HasSuffix(line, "request headers started"):
			early = early || !complete
		}
	}
	return early, lines.Err()
}

var (
	tableLine = regexp.MustCompile(`^http: QPACK streams encoder=([0-9a-f]+) decoder=([0-9a-f]+)$`)
	frameLine = regexp.MustCompile(` frm tx [0-9]+ 1RTT STREAM\(0x..\) id=0x([0-9a-f]+) fin=. offset=([0-9]+) len=([0-9]+) `)
)

// tables tells from a log how far the program has written its QPACK streams on the newest
// connection: its encoder stream has instructions beyond the capacity if it uses its table, and
// its decoder stream has some behind its type if the peer does (RFC 9204 §4.4).
func tables(log io.Reader) (dynamic, error) {
	var encoder, decoder string
	ends := make(map[string]uint64)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := tableLine.FindStringSubmatch(lines.Text()); m != nil {
			encoder, decoder = m[1], m[2]
			clear(ends)
		} else if m := frameLine.FindStringSubmatch(lines.Text()); m != nil {
			offset, _ := strconv.ParseUint(m[2], 10, 62)
			size, _ := strconv.ParseUint(m[3], 10, 62)
			ends[m[1]] = max(ends[m[1]], offset+size)
		}
	}
	return dynamic{own: beyond(ends[encoder]), peer: max(ends[decoder], 1) - 1}, lines.Err()
}

func (ngtcp2) client(d *duel) (client, error) {
	return &ngtcp2Client{
		path: kit.Find(d.t, "gtlsclient", "Debian's ngtcp2-client"),
		dir:  d.t.TempDir(),
	}, nil
}

type ngtcp2Client struct {
	path, dir string
	runs      int
}

func (c *ngtcp2Client) run(ctx context.Context, to netip.AddrPort, p plan) (report, error) {
	if p.pushes > 0 {
		return report{}, errNoWay
	}
	c.runs++
	first := p.asks[0]
	dir := filepath.Join(c.dir, strconv.Itoa(c.runs))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return report{}, err
	}
	args := []string{"--no-quic-dump", "--no-http-dump",
		"--download=" + dir, "--sni=" + kit.HostName, "--http-method=" + first.method,
		"--session-file=" + filepath.Join(c.dir, "session"), "--tp-file=" + filepath.Join(c.dir, "parameters")}
	if !p.early {
		args = append(args, "--disable-early-data")
	}
	if p.settled {
		// The responses' acknowledgments, and its QPACK decoder's, leave before it does.
		args = append(args, "--delay-stream=100ms", "--timeout=500ms")
	} else {
		args = append(args, "--exit-on-all-streams-close", "--timeout=30s")
	}
	if first.body.Size > 0 {
		body := filepath.Join(dir, "body")
		if err := first.body.Save(body); err != nil {
			return report{}, err
		}
		args = append(args, "--data="+body)
	}
	args = append(args, to.Addr().String(), strconv.Itoa(int(to.Port())))
	for _, a := range p.asks {
		if a.method != first.method || a.body != first.body || a.header != nil || a.trailer != nil || a.priority != "" || a.protocol != "" {
			return report{}, errNoWay
		}
		args = append(args, "https://"+to.String()+a.path)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return report{}, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return report{}, fmt.Errorf("gtlsclient: %w", err)
	}
	r, err := readLog(log, len(p.asks))
	for i, a := range p.asks {
		if err == nil {
			err = r.answers[i].load(filepath.Join(dir, filepath.Base(a.path)))
		}
	}
	return r, err
}

// fieldLine is a line of the log about a stream.
var fieldLine = regexp.MustCompile(`^http: stream 0x([0-9a-f]+) (?:\[([^ ]+): (.*)\]|(response|trailers).*started)$`)

// readLog takes the responses out of a client's log.
func readLog(log *os.File, count int) (report, error) {
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		return report{}, err
	}
	r := report{answers: make([]answer, count)}
	early, complete, closed := false, false, 0
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "QUIC handshake has completed":
			complete = true
		case line == "Early data was rejected by server":
			early = false
		case strings.HasSuffix(line, "submit request headers"):
			early = early || !complete
		case strings.HasPrefix(line, "HTTP stream ") && strings.HasSuffix(line, " closed with error code 256"):
			closed++
		}
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil || id%4 != 0 || id/4 >= uint64(count) {
			return r, fmt.Errorf("unexpected in the log: %s", line)
		}
		r.answers[id/4].note(m[2], m[3], m[4])
	}
	if closed != count {
		return r, fmt.Errorf("%d of %d requests ended without an error", closed, count)
	}
	r.early, r.resumed = &early, early
	if err := lines.Err(); err != nil {
		return r, err
	}
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		return r, err
	}
	use, err := tables(log)
	r.compressing = &use
	return r, err
}

// note takes one line about a response: a field, or the beginning of a section.
func (a *answer) note(name, value, section string) {
	switch {
	case section == "trailers":
		a.trailer = make(http.Header)
	case section == "response":
		if a.status != 0 {
			a.informational = append(a.informational, a.header)
		}
		a.header = make(http.Header)
	case a.trailer != nil:
		a.trailer.Add(name, value)
	case name == ":status":
		a.status, _ = strconv.Atoi(value)
	default:
		a.header.Add(name, value)
	}
}

// load takes the body of a response from a file.
func (a *answer) load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // nothing was written to it
		a.digest = kit.Content{}.Digest()
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var text head
	a.digest, err = kit.DigestOf(io.TeeReader(f, &text))
	a.text = text.String()
	return err
}
