package h3

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// pair says who is client and who is server.
type pair struct{ client, server implementation }

func (p pair) String() string { return p.client.name() + " to " + p.server.name() }

// alike are the pairs that tell whether a failure is that of a case.
var alike = []pair{
	{netHTTP{}, netHTTP{}},
	{sessions{}, sessions{}},
	{quicGo{}, quicGo{}},
	{quicGo{}, aioquic{}},
	{aioquic{}, quicGo{}},
	{aioquic{}, aioquic{}},
	{quicGo{}, ngtcp2{}},
	{ngtcp2{}, quicGo{}},
	{ngtcp2{}, ngtcp2{}},
	{quicGo{}, caddy{}},
}

// around are all pairs with a stack of ours.
func around(ours implementation) []pair {
	return []pair{
		{ours, quicGo{}},
		{quicGo{}, ours},
		{ours, aioquic{}},
		{aioquic{}, ours},
		{ours, ngtcp2{}},
		{ngtcp2{}, ours},
		{ours, caddy{}},
	}
}

// entry is a row of the table.
type entry struct {
	name  string
	run   func(*duel) error
	limit time.Duration // 0: a minute
}

var cases = []entry{
	{name: "GET", run: getting},
	{name: "HEAD", run: heading},
	{name: "POST", run: posting},
	{name: "large body down", run: largeDown},
	{name: "large body up", run: largeUp},
	{name: "large body both ways", run: largeBoth},
	{name: "100 requests at once", run: atOnce},
	{name: "dynamic QPACK table", run: dynamicTable},
	{name: "0-RTT", run: zeroRTT},
	{name: "trailers", run: trailers},
	{name: "informational response", run: informational},
	{name: "server push", run: pushing},
	{name: "extended CONNECT", run: extendedConnect},
	{name: "priorities", run: priorities},
	{name: "cancelled request", run: cancelling},
	{name: "shutdown of the server", run: goingAway},
	{name: "Alt-Svc", run: alternative},
}

// TestNetHTTP is about http3.Server and http3.Transport. With CINNABAR_INTEROP_ALIKE the
// others talk among themselves, and so do ours.
func TestNetHTTP(t *testing.T) {
	dirs := around(netHTTP{})
	if os.Getenv("CINNABAR_INTEROP_ALIKE") != "" {
		dirs = alike
	}
	runAll(t, dirs)
}

// TestSessions is about http3.Session and http3.Stream.
func TestSessions(t *testing.T) { runAll(t, around(sessions{})) }

// runAll runs every case in every direction and prints the table, which needs go test
// -v or a failure to be seen.
func runAll(t *testing.T, dirs []pair) {
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	id, err := kit.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := newDocroot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	results := make(map[string]map[pair]string)
	for _, e := range cases {
		results[e.name] = make(map[pair]string)
		t.Run(e.name, func(t *testing.T) {
			for _, p := range dirs {
				t.Run(p.String(), func(t *testing.T) {
					begun, result := time.Now(), "FAIL"
					defer func() {
						if t.Skipped() {
							results[e.name][p] = "SKIPPED"
							return
						}
						results[e.name][p] = result
						if result != noWay {
							results[e.name][p] = fmt.Sprintf("%s %.1f s", result, time.Since(begun).Seconds())
						}
					}()
					switch err := e.run(newDuel(t, p, id, root, cmp.Or(e.limit, time.Minute))); {
					case err == nil:
						result = "pass"
					case errors.Is(err, errNoWay):
						result = noWay
					default:
						t.Error(err)
					}
				})
			}
		})
	}
	printTable(os.Stdout, dirs, results)
}

const (
	noWay       = "-"
	columnWidth = 13
)

func printTable(w io.Writer, dirs []pair, results map[string]map[pair]string) {
	line := func(head string, cell func(pair) string) {
		fmt.Fprintf(w, "%-24s", head)
		for _, p := range dirs {
			fmt.Fprintf(w, "%-*s", columnWidth, cell(p))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	line("client:", func(p pair) string { return p.client.name() })
	line("server:", func(p pair) string { return p.server.name() })
	fmt.Fprintln(w, strings.Repeat("-", 24+columnWidth*len(dirs)))
	for _, e := range cases {
		if len(results[e.name]) > 0 { // else -run has left it out
			line(e.name, func(p pair) string { return cmp.Or(results[e.name][p], "not run") })
		}
	}
	fmt.Fprintf(w, "\n%s: one of the two has no way to do this\n\n", noWay)
}
