package http3

import (
	"bytes"
	"errors"
	"math"
	"slices"
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
