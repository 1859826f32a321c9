package h3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// aioquic is a Python library; testdata has a client and a server that use it.
type aioquic struct{}

func (aioquic) name() string   { return "aioquic" }
func (aioquic) traits() traits { return traits{slow: true, strictHead: true} }

// setCapacity is the most that an encoder stream has if its table is not used: the
// type of the stream and a Set Dynamic Table Capacity instruction (RFC 9204 §4.3.1).
const setCapacity = 8

// aioquicFacts is what common.py tells of an end.
type aioquicFacts struct {
	EarlyAccepted   bool
	Resumed         bool
	EncoderSent     uint64
	EncoderReceived uint64
	PriorityUpdates [][3]any // type of the frame, what it is about, and the value
}

func (f aioquicFacts) dynamic() dynamic {
	return dynamic{beyond(f.EncoderSent), beyond(f.EncoderReceived)}
}

func beyond(n uint64) uint64 { return max(n, setCapacity) - setCapacity }

func python(d *duel, script string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.ctx, kit.Python(d.t), append([]string{filepath.Join("testdata", script)}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

func (aioquic) serve(d *duel) (*origin, error) {
	cmd := python(d, "server.py", d.id.CertFile, d.id.KeyFile, d.root.dir)
	stdin, err := cmd.StdinPipe() // the server ends with it
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { stdin.Close() })
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	cmd.Stdout = w
	p, err := kit.Start(d.t, cmd)
	w.Close()
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n') // ends with the process at the latest
	var at struct{ Port uint16 }
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil {
		return nil, fmt.Errorf("the server has not told its port: %w; %v", err, p.Err())
	}
	return &origin{
		addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port),
		dynamic: true,
		empty:   "/empty.txt",
		facts:   true, trailers: true, tunnels: true,
		saysEarly: true, pushes: true,
	}, nil
}

func (aioquic) client(d *duel) (client, error) {
	kit.Python(d.t)
	return &aioquicClient{d: d, dir: d.t.TempDir()}, nil
}

type aioquicClient struct {
	d    *duel
	dir  string
	runs int
}

// aioquicPlan is what client.py reads.
type aioquicPlan struct {
	Host     string       `json:"host"`
	Name     string       `json:"name"`
	Port     uint16       `json:"port"`
	Roots    string       `json:"roots"`
	Tickets  string       `json:"tickets"`
	Resume   bool         `json:"resume"`
	Early    bool         `json:"early"`
	Ticket   bool         `json:"ticket"`
	Together bool         `json:"together"`
	Asks     []aioquicAsk `json:"asks"`
}

type aioquicAsk struct {
	Header   [][2]string `json:"header"`
	Trailer  [][2]string `json:"trailer"`
	Body     string      `json:"body"` // path of a file
	Priority string      `json:"priority"`
}

// aioquicReport is what client.py writes.
type aioquicReport struct {
	Answers []aioquicAnswer
	Pushes  []aioquicAnswer
	Facts   aioquicFacts
}

type aioquicAnswer struct {
	Header, Trailer, Promise [][2]string
	Informational            [][][2]string
	Digest                   kit.Digest
	Text                     string
	Order                    int
}

func (c *aioquicClient) run(ctx context.Context, to netip.AddrPort, p plan) (report, error) {
	c.runs++
	tickets := filepath.Join(c.dir, "ticket")
	_, err := os.Stat(tickets)
	plan := aioquicPlan{
		Host: to.Addr().String(), Name: kit.HostName, Port: to.Port(), Roots: c.d.id.CertFile,
		Tickets: tickets, Resume: err == nil, Early: p.early, Ticket: p.ticket, Together: p.together,
	}
	for i, a := range p.asks {
		ask := aioquicAsk{Header: pseudo(a, to), Trailer: pairs(a.trailer), Priority: a.priority}
		if a.body.Size > 0 {
			ask.Body = filepath.Join(c.dir, fmt.Sprintf("body-%d-%d", c.runs, i))
			if err := a.body.Save(ask.Body); err != nil {
				return report{}, err
			}
		}
		plan.Asks = append(plan.Asks, ask)
	}
	in, err := json.Marshal(plan)
	if err != nil {
		return report{}, err
	}
	cmd := python(c.d, "client.py")
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &problems
	if err := cmd.Run(); err != nil {
		return report{}, fmt.Errorf("client.py: %w\n%s", err, &problems)
	}
	var got aioquicReport
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return report{}, fmt.Errorf("client.py wrote %.100q: %w", out.Bytes(), err)
	}
	use := got.Facts.dynamic()
	r := report{resumed: got.Facts.Resumed, early: new(got.Facts.EarlyAccepted), compressing: &use}
	for _, a := range got.Answers {
		r.answers = append(r.answers, a.answer())
	}
	for _, a := range got.Pushes {
		p := fields(a.Promise)
		r.pushes = append(r.pushes, push{method: p.Get(":method"), path: p.Get(":path"), answer: a.answer()})
	}
	return r, nil
}

// pseudo returns a whole request header.
func pseudo(a ask, to netip.AddrPort) [][2]string {
	h := [][2]string{{":method", a.method}, {":scheme", "https"}, {":authority", to.String()}, {":path", a.path}}
	if a.protocol != "" {
		h = append(h, [2]string{":protocol", a.protocol})
	}
	for name := range a.trailer { // net/http passes on what is declared
		h = append(h, [2]string{"trailer", strings.ToLower(name)})
	}
	return append(h, pairs(a.header)...)
}

func pairs(h http.Header) [][2]string {
	var list [][2]string
	for k, values := range h {
		for _, v := range values {
			list = append(list, [2]string{strings.ToLower(k), v})
		}
	}
	return list
}

// fields is the opposite of pairs.
func fields(list [][2]string) http.Header {
	h := make(http.Header)
	for _, f := range list {
		h.Add(f[0], f[1])
	}
	return h
}

func (a aioquicAnswer) answer() answer {
	got := answer{header: fields(a.Header), trailer: fields(a.Trailer), digest: a.Digest, text: a.Text, order: a.Order}
	got.status, _ = strconv.Atoi(got.header.Get(":status"))
	for _, h := range a.Informational {
		got.informational = append(got.informational, fields(h))
	}
	return got
}
