package quic

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// bulk sends size random bytes on a stream, both ways at once, and wants them whole.
func (p *pair) bulk(t testing.TB, size int) {
	t.Helper()
	client, server := p.streams(t)
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	results := make(chan error, 2)
	for _, st := range []*Stream{client, server} {
		go func() {
			_, err := st.End(data)
			results <- err
		}()
	}
	for _, st := range []*Stream{client, server} {
		got, err := io.ReadAll(st)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %d bytes of %d, or others: %v", len(got), size, err)
		}
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// Over real loopback, whose MTU is that of no network, each end finds what its
// MaxDatagramSize lets it, and the peer's MaxUDPPayloadSize.
func TestMaxDatagramSizeLoopback(t *testing.T) {
	largest := 8952 // the loopback of some systems carries no more than 16 KiB
	if runtime.GOOS == "linux" {
		largest = dgram.MaxBatchBytes
	}
	for _, test := range []struct{ client, server, payload, fromClient, fromServer int }{
		{0, 0, 0, 1452, 1452},
		{1200, 0, 0, 1200, 1452},
		{8952, 1300, 0, 8952, 1300},
		{dgram.MaxBatchBytes, 8952, 0, largest, 8952},
		{8952, 8952, 4000, 4000, 8952},
	} {
		p := newPair(t, ListenOptions{MaxDatagramSize: test.server, MaxUDPPayloadSize: test.payload}, ConnectOptions{MaxDatagramSize: test.client})
		p.bulk(t, 16<<20)
		from, to := p.client.Stats().MTU, p.server.Stats().MTU
		if from < test.fromClient || from > max(test.client, test.fromClient) || to != test.fromServer {
			t.Errorf("%+v: MTU %d and %d", test, from, to)
		}
	}
}

// Whatever a network carries is found, where the system refuses what is larger as well as
// where it is lost on the way.
func TestMaxDatagramSizeNetworks(t *testing.T) {
	for _, carried := range []int{1232, 1472, 3972, 8952, 65_507} {
		for name, o := range map[string]udp.NetworkOptions{
			"refused": {MTU: carried},
			"lost":    {Filter: func(d *dgram.Datagram) bool { return len(d.Data) > carried }},
		} {
			t.Run(strconv.Itoa(carried)+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o.Delay = 1e6
					m := newMemNet(t, o, SocketOptions{}, ListenOptions{MaxDatagramSize: dgram.MaxBatchBytes})
					defer m.close()
					p := m.pair(ConnectOptions{MaxDatagramSize: dgram.MaxBatchBytes})
					p.bulk(t, 16<<20)
					want := min(carried, dgram.MaxBatchBytes)
					for _, s := range []*Session{&p.client.Session, &p.server.Session} {
						if got := s.Stats().MTU; int(got) > want || int(got) < want*7/8 {
							t.Errorf("MTU %d, want about %d", got, want)
						}
					}
				})
			})
		}
	}
}

// An application datagram may be as large as the path lets it.
func TestMaxDatagramSizeOfDatagrams(t *testing.T) {
	p := newPair(t, ListenOptions{MaxDatagramFrameSize: 65_535}, ConnectOptions{MaxDatagramSize: 8952})
	p.bulk(t, 1<<20)
	n := p.client.MaxDatagramSize()
	if n < 8900 {
		t.Fatalf("largest application datagram %d bytes", n)
	}
	data := bytes.Repeat([]byte("x"), n)
	if _, err := p.client.SendDatagram(data); err != nil {
		t.Fatal(err)
	}
	if got, err := p.server.ReceiveDatagram(testContext(t)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What no datagram can be is refused before anything is sent.
func TestMaxDatagramSizeRange(t *testing.T) {
	for _, n := range []int{None, -2, 1, 1199, dgram.MaxBatchBytes + 1, 65_527} {
		_, err := Dial(t.Context(), "127.0.0.1:1", ConnectOptions{TLS: clientConfig(), MaxDatagramSize: n})
		wantCode(t, err, CodeOutOfRange)
		_, err = Listen(t.Context(), "127.0.0.1:0", ListenOptions{TLS: serverConfig(), MaxDatagramSize: n})
		wantCode(t, err, CodeOutOfRange)
		if want := "ListenOptions.MaxDatagramSize"; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "1200 to 65487") {
			t.Errorf("%v, want %s and the range in it", err, want)
		}
	}
}
