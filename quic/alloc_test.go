//go:build !race

package quic

import (
	"io"
	"testing"
)

// A request on a stream of its own allocates the two halves of the stream at each
// end, and next to nothing else; bytes on an open stream allocate nothing.
func TestAllocations(t *testing.T) {
	ctx := testContext(t)
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	go func() {
		request, answer := make([]byte, 65), make([]byte, 1024)
		for {
			st, err := p.server.AcceptStream(ctx)
			if err != nil {
				return
			}
			for {
				n, err := st.Read(request)
				if err == io.EOF {
					break
				}
				if n == 0 || err != nil {
					t.Error(err)
					return
				}
			}
			st.End(answer)
		}
	}()
	request, answer := make([]byte, 64), make([]byte, 2048)
	one := func() {
		st, err := p.client.OpenStream(ctx, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End(request)
		for err == nil {
			_, err = st.Read(answer)
		}
		if err != io.EOF {
			t.Fatal(err)
		}
	}
	for range 200 { // fills pools
		one()
	}
	if n := testing.AllocsPerRun(500, one); n > 6 {
		t.Errorf("%v allocations a request", n)
	}

	c, s := newPair(t, ListenOptions{}, ConnectOptions{}).streams(t)
	go io.Copy(io.Discard, s)
	bulk := make([]byte, 256<<10)
	write := func() {
		if _, err := c.Write(bulk); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		write()
	}
	if n := testing.AllocsPerRun(100, write); n > 3 { // 180 packets
		t.Errorf("%v allocations for 256 KiB", n)
	}
}
