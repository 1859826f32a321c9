package interop

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// pair says who is client and who is server.
type pair struct{ client, server implementation }

func (p pair) String() string { return p.client.name() + " to " + p.server.name() }

// directions are the columns of the table.
var directions = []pair{
	{cinnabar{}, quicGo{}},
	{quicGo{}, cinnabar{}},
}

// alike are the pairs that tell whether a failure is that of a case.
var alike = []pair{
	{quicGo{}, quicGo{}},
	{cinnabar{}, cinnabar{}},
}

// entry is a row of the table.
type entry struct {
	name  string
	run   func(*duel) error
	limit time.Duration // 0: a minute
}

var cases = []entry{
	{name: "handshake", run: handshake},
	{name: "close by client", run: closeByClient},
	{name: "close by server", run: closeByServer},
	{name: "1 MiB both ways", run: transferOf(1 << 20)},
	{name: "100 MiB both ways", run: transferOf(100 << 20), limit: 3 * time.Minute},
	{name: "through losses", run: lossy},
	{name: "200 streams at once", run: manyStreams},
	{name: "streams beyond the limit", run: streamLimit},
	{name: "version negotiation", run: versionNegotiation},
	{name: "Retry", run: retry},
	{name: "NEW_TOKEN spares Retry", run: newToken},
	{name: "resumption", run: resumption},
	{name: "0-RTT accepted", run: earlyAccepted},
	{name: "0-RTT rejected", run: earlyRejected},
	{name: "0-RTT, limits lowered", run: earlyLimits},
	{name: "key update by client", run: updateByClient},
	{name: "key update by server", run: updateByServer},
	{name: "ChaCha20-Poly1305", run: inChild(0x1303)},
	{name: "AES-256-GCM", run: inChild(0x1302)},
	{name: "RESET_STREAM by client", run: resetByClient},
	{name: "RESET_STREAM by server", run: resetByServer},
	{name: "datagrams", run: unreliably},
	{name: "STOP_SENDING by client", run: stopByClient},
	{name: "STOP_SENDING by server", run: stopByServer},
	{name: "stateless reset", run: statelessReset},
	{name: "migration", run: migration},
	{name: "rebinding by client", run: clientRebinding},
	{name: "NAT rebinding", run: natRebinding},
}

// TestInterop runs every case in every direction and prints the table, which needs
// go test -v or a failure to be seen. With CINNABAR_INTEROP_ALIKE it runs each
// implementation against itself instead.
func TestInterop(t *testing.T) {
	list, pairs := cases, directions
	if os.Getenv("CINNABAR_INTEROP_ALIKE") != "" {
		pairs = alike
	}
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	child := suiteOfChild(t)
	if child {
		list = []entry{{name: childCase, run: suite}}
	}
	results := make(map[string]map[pair]string)
	for _, e := range list {
		results[e.name] = make(map[pair]string)
		t.Run(e.name, func(t *testing.T) {
			for _, p := range pairs {
				t.Run(p.String(), func(t *testing.T) {
					begun := time.Now()
					result := "FAIL"
					defer func() { results[e.name][p] = fmt.Sprintf("%s %.1f s", result, time.Since(begun).Seconds()) }()
					switch err := e.run(newDuel(t, p, cmp.Or(e.limit, time.Minute))); {
					case err == nil:
						result = "pass"
					case errors.Is(err, errNoWay):
						result = "not in its API"
					default:
						t.Error(err)
					}
				})
			}
		})
	}
	if !child {
		printTable(os.Stdout, list, pairs, results)
	}
}

func printTable(w io.Writer, list []entry, pairs []pair, results map[string]map[pair]string) {
	fmt.Fprintf(w, "\n%-26s", "client to server:")
	for _, p := range pairs {
		fmt.Fprintf(w, "%-22s", p)
	}
	fmt.Fprintf(w, "\n%s\n", strings.Repeat("-", 26+22*len(pairs)))
	for _, e := range list {
		if len(results[e.name]) == 0 {
			continue // -run has left it out
		}
		fmt.Fprintf(w, "%-26s", e.name)
		for _, p := range pairs {
			fmt.Fprintf(w, "%-22s", cmp.Or(results[e.name][p], "not run"))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}
