package http3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

var connect = Headers{
	{Name: ":method", Value: "CONNECT"},
	{Name: ":protocol", Value: "test"},
	{Name: ":scheme", Value: "https"},
	{Name: ":authority", Value: "localhost"},
	{Name: ":path", Value: "/"},
}

// tunnel opens an extended CONNECT request that both ends have headers of.
func (p *pair) tunnel(t testing.TB) (client, server *Stream) {
	t.Helper()
	ctx := testContext(t)
	if _, err := p.client.Settings(ctx); err != nil {
		t.Fatal(err)
	}
	client, err := p.client.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must(t, client.SubmitInitialHeaders(connect, HeaderOptions{}))
	server, err = p.server.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Headers(); err != nil {
		t.Fatal(err)
	}
	must(t, server.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{}))
	if _, err := client.Headers(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

var withDatagrams = Options{Datagrams: true, ExtendedConnect: true}

// RFC 9297 §2.1: datagrams belong to requests, both ways.
func TestDatagrams(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams)
	ctx := testContext(t)
	client, server := p.tunnel(t)
	other, otherServer := p.tunnel(t)
	for i := range 10 {
		swap(t, ctx, client, server, fmt.Sprint("up", i))
		swap(t, ctx, server, client, fmt.Sprint("down", i))
		swap(t, ctx, other, otherServer, fmt.Sprint("other", i))
	}
	if n := client.MaxDatagramSize(); n < 1000 || n > 1500 {
		t.Errorf("MaxDatagramSize is %d", n)
	}
	long := client.MaxDatagramSize() + 1
	if _, err := client.SendDatagram(make([]byte, long)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d bytes long", long)) {
		t.Errorf("SendDatagram of %d bytes: %v", long, err)
	}
	if s := p.server.Stats(); s.DatagramsReceived != 20 || s.DatagramsDropped != 0 {
		t.Errorf("stats %+v", s)
	}
	must(t, client.CloseWrite())
	if _, err := client.SendDatagram(nil); !errors.Is(err, quic.ErrInvalidState) {
		t.Errorf("SendDatagram after the end: %v", err)
	}
	other.cancel(RequestCancelled)
	otherServer.cancel(RequestCancelled)
	if p, err := otherServer.ReceiveDatagram(ctx); err == nil {
		t.Errorf("ReceiveDatagram on a cancelled stream: %q", p)
	}
}

func swap(t *testing.T, ctx context.Context, from, to *Stream, s string) {
	t.Helper()
	if _, err := from.SendDatagram([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if p, err := to.ReceiveDatagram(ctx); string(p) != s || err != nil {
		t.Fatalf("ReceiveDatagram: %q, %v", p, err)
	}
}

// Nobody receives: the queue keeps the newest, and counts what it drops.
func TestDatagramQueue(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams)
	ctx := testContext(t)
	client, server := p.tunnel(t)
	swap(t, ctx, client, server, "first") // the stream uses datagrams from here on
	for i := range maxQueuedDatagrams + 10 {
		for {
			_, err := client.SendDatagram(fmt.Append(nil, i))
			if err == nil {
				break
			}
			if !errors.Is(err, quic.ErrDatagramQueueFull) {
				t.Fatal(err)
			}
		}
		eventually(t, func() bool { return p.server.Stats().DatagramsReceived == uint64(i)+2 })
	}
	if n := p.server.Stats().DatagramsDropped; n != 10 {
		t.Errorf("%d dropped", n)
	}
	if b, err := server.ReceiveDatagram(ctx); string(b) != "10" || err != nil {
		t.Errorf("the oldest is %q, %v", b, err)
	}
}

// RFC 9297 §2: a request whose method has no use for datagrams is ended by one.
func TestDatagramForGet(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams)
	ctx := testContext(t)
	if _, err := p.client.Settings(ctx); err != nil {
		t.Fatal(err)
	}
	client, err := p.client.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must(t, client.SubmitInitialHeaders(request, HeaderOptions{}))
	server, err := p.server.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Headers(); err != nil {
		t.Fatal(err)
	}
	before := p.server.useful.spentInAll()
	if _, err := client.SendDatagram([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Headers(); !errors.Is(err, &Error{ErrorCode: DatagramError, Remote: true}) {
		t.Errorf("Headers: %v", err)
	}
	if n := p.server.useful.spentInAll() - before; n != 1+resetCost {
		t.Errorf("it cost the client %d tokens, want %d for the datagram and %d for the request", n, 1, resetCost)
	}
}

// RFC 9297 §2.1: what has no stream ends the session.
func TestBadDatagrams(t *testing.T) {
	for _, test := range []struct {
		name string
		p    []byte
		want ErrorCode
	}{
		{"empty", nil, DatagramError},
		{"truncated", []byte{0xc0}, DatagramError},
		{"quarter stream ID over 2^60-1", []byte{0xd0, 0, 0, 0, 0, 0, 0, 0}, DatagramError},
		{"stream over the limit", []byte{0x80, 1, 0, 0}, IDError},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, withDatagrams, withDatagrams)
			if _, err := p.client.Settings(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.client.q.SendDatagram(test.p); err != nil {
				t.Fatal(err)
			}
			<-p.client.q.Closed()
			if err := p.client.Err(); !errors.Is(err, &Error{ErrorCode: test.want, Remote: true, Session: true}) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Without an agreement nothing is sent (RFC 9114 §7.2.4.2, §9).
func TestDatagramsNotAgreed(t *testing.T) {
	p := newPair(t, Options{ExtendedConnect: true}, withDatagrams)
	client, server := p.tunnel(t)
	if _, err := client.SendDatagram([]byte("x")); !errors.Is(err, quic.ErrInvalidState) {
		t.Errorf("SendDatagram: %v", err)
	}
	if _, err := server.ReceiveDatagram(testContext(t)); !errors.Is(err, quic.ErrInvalidState) {
		t.Errorf("ReceiveDatagram: %v", err)
	}
	if n := client.MaxDatagramSize(); n != 0 {
		t.Errorf("MaxDatagramSize is %d", n)
	}
}

// A Server and a Transport with HTTP datagrams take what carries them, unless they are told not to.
func TestDatagramsByDefault(t *testing.T) {
	for _, c := range []struct{ server, client int }{{0, 0}, {quic.None, 0}, {0, quic.None}} {
		sizes := make(chan int, 1)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			st, ok := StreamOf(w)
			if !ok {
				t.Error("no stream")
				return
			}
			if _, err := st.Session().Settings(r.Context()); err != nil {
				t.Error(err)
			}
			sizes <- st.MaxDatagramSize()
			<-r.Context().Done()
		})
		s.Options, s.QUIC.MaxDatagramFrameSize = withDatagrams, c.server
		addr, _ := startServer(t, s, loopback)
		tr := &Transport{TLSClientConfig: clientTLS(), Options: withDatagrams, QUIC: quic.ConnectOptions{MaxDatagramFrameSize: c.client}}
		r := newRequest(t, "CONNECT", "https://"+addr.String()+"/", nil)
		r.Header[":protocol"] = []string{"datagrams"}
		resp, err := tr.RoundTrip(r)
		must(t, err)
		st, ok := StreamOfResponse(resp)
		if !ok {
			t.Fatal("no stream")
		}
		// What one end sends is what the other takes.
		if n := st.MaxDatagramSize(); (n > 0) != (c.server == 0) {
			t.Errorf("%+v: MaxDatagramSize of the client is %d", c, n)
		}
		if n := <-sizes; (n > 0) != (c.client == 0) {
			t.Errorf("%+v: MaxDatagramSize of the server is %d", c, n)
		}
		must(t, resp.Body.Close())
		must(t, tr.Close())
	}
}

// RFC 9297 §3.2, §3.3: capsules of known and unknown types, and one that ends too soon.
func TestCapsules(t *testing.T) {
	var b []byte
	b = AppendCapsule(b, CapsuleDatagram, []byte("one"))
	b = AppendCapsule(b, 0x1234, bytes.Repeat([]byte("x"), 10000))
	b = AppendCapsule(b, CapsuleDatagram, nil)
	c := NewCapsuleReader(bytes.NewReader(b))
	for i, want := range []struct {
		t CapsuleType
		n int64
	}{{CapsuleDatagram, 3}, {0x1234, 10000}, {CapsuleDatagram, 0}} {
		typ, n, err := c.Next()
		if typ != want.t || n != want.n || err != nil {
			t.Fatalf("capsule %d: %v %d %v", i, typ, n, err)
		}
		if i == 0 {
			if v, err := io.ReadAll(c); string(v) != "one" || err != nil {
				t.Fatalf("value %q, %v", v, err)
			}
		}
	}
	if _, _, err := c.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for n := 1; n < len(b); n++ {
		c, err := NewCapsuleReader(bytes.NewReader(b[:n])), error(nil)
		for err == nil {
			_, _, err = c.Next()
		}
		if whole := n == 5 || n == 5+10000+4; (err == io.EOF) != whole {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}
