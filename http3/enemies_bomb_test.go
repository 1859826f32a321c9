package http3

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// bombsAreNotMade decodes header blocks that would be large: what that allocates is no more than twice the limit
// of a list, over what a sound block does. Here all counts that is allocated in between and dropped at once: the buffer
// that a string in Huffman's code is decoded to, and the steps in which the list of lines grows if there may be many.
func bombsAreNotMade(t *testing.T) {
	for pairs, times := range map[int]uint64{0: 2, 10_000: 5} {
		a := rawClient(t, Options{MaxHeaderPairs: pairs}, quic.ConnectOptions{})
		uni([]byte{streamQPACKEncoder}, largeEntry)(a)
		c := &a.victim.fields
		eventually(t, func() bool {
			c.dmu.Lock()
			defer c.dmu.Unlock()
			return c.dec.InsertCount() == 1
		})
		decode := func(block []byte) (n uint64, err error) {
			c.dmu.Lock()
			defer c.dmu.Unlock()
			n = math.MaxUint64
			for range 10 { // a collection empties the pools of buffers; the race detector does all the time
				n = min(n, allocated(func() { _, err = c.decodeBlock(0, block) }))
			}
			return n, err
		}
		base, err := decode(section(getFields...))
		must(t, err)
		for name, block := range map[string][]byte{
			"lines of the static table":   slices.Concat([]byte{0, 0}, bytes.Repeat([]byte{0xd1}, 100_000)),
			"lines that are spelt out":    slices.Concat([]byte{0, 0}, bytes.Repeat([]byte{0x21, 'x', 1, 'y'}, 100_000)),
			"references to a large entry": references,
			"strings in Huffman's code":   slices.Concat([]byte{0, 0}, bytes.Repeat(slices.Concat([]byte{0x21, 'x', 0xff, 0xfd, 0x7e}, make([]byte, 16_380)), 10)), // of '0'
		} {
			n, err := decode(block)
			if !errors.Is(err, qpack.ErrTooLarge) || n > base+times*defaultHeaderList && !siege.Race {
				t.Errorf("%s, %d at most: %v, %d bytes are allocated, want %d at most", name, pairs, err, n, base+times*defaultHeaderList)
			}
		}
	}
}

// blocksUnderTheLimits asks a server, again and again, with header blocks that are as large as they may be: a thousand
// references to one large entry, in a datagram or less. Whatever the field is, it is read once, and no copies are made of it.
func blocksUnderTheLimits(t *testing.T) {
	const requests, most = 100, 1 << 20
	for row, value := range map[string]string{
		"priority":        strings.Repeat("u", 1012),
		"trailer":         strings.Repeat("A,", 2000),
		"trailer of one":  strings.Repeat("a", 4000),
		"expect":          strings.Repeat(",", 4000),
		"accept-encoding": strings.Repeat("a,", 2000),
		"cookie":          strings.Repeat("a", 1012),
		"x":               strings.Repeat("a", 1012),
		"a long name":     "a",
	} {
		t.Run(row, func(t *testing.T) {
			name, _, _ := strings.Cut(row, " ")
			answer := "ok"
			if row == "a long name" {
				name, answer = strings.Repeat("x", 4000), "Too Large\n"
			}
			s := handler(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
			perch(s)
			addr, _ := startServer(t, s, loopback)
			canary(t, func() { dialRaw(t, addr, Options{}, quic.ConnectOptions{}).sing() })
			q, err := quic.Dial(testContext(t), addr.String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 100})
			must(t, err)
			t.Cleanup(func() { q.Destroy(nil) })
			a := &attacker{TB: t, ctx: testContext(t), q: &q.Session}
			uni([]byte{streamQPACKEncoder}, []byte{0x3f, 0xe1, 0x1f}, insertion(name, value))(a)
			n := min(defaultMessagePairs-len(getFields)/2, (defaultResponseHeaders-1000)/(len(name)+len(value)+32))
			if name == "cookie" {
				n = maxCookie / len(value)
			}
			block := frame(frameHeaders, []byte{2, 0}, section(getFields...)[2:], bytes.Repeat([]byte{0x80}, n))
			ask := func() {
				st := a.open()
				_, err := st.End(block)
				must(t, err)
				if b, err := io.ReadAll(st); !bytes.HasSuffix(b, []byte(answer)) || err != nil {
					t.Fatalf("%q, %v", b, err)
				}
			}
			ask()
			watch(t, a.q)
			if made := allocated(func() {
				for range requests {
					ask()
				}
			}) / requests; made > most && !siege.Race {
				t.Errorf("%d bytes are allocated for a request with %d fields, want %d at most", made, n, most)
			}
		})
	}
}

// insertion is an instruction to insert an entry (RFC 9204 §4.3.3).
func insertion(name, value string) []byte {
	b := append(prefixed(0x40, 0x1f, len(name)), name...)
	return append(append(b, prefixed(0, 0x7f, len(value))...), value...)
}

// prefixed is an integer behind the bits of first, of which most is the largest that fits there (RFC 7541 §5.1).
func prefixed(first, most byte, n int) []byte {
	if n < int(most) {
		return []byte{first | byte(n)}
	}
	return binary.AppendUvarint([]byte{first | most}, uint64(n-int(most)))
}
