package http3

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A client gives more requests up than QPACK's encoder remembers, while their handlers are at work. What these
// answer then must not be encoded: nobody would acknowledge it, and what it refers to could never leave the table.
func TestBlocksOfStreamsThatAreCutOff(t *testing.T) {
	answer := block(":status", "200", "server", "the first entry of the table")
	cut := &Error{ErrorCode: RequestCancelled, Remote: true}
	for name, send := range map[string]func(st *Stream) error{
		"of a Stream": func(st *Stream) error {
			err := st.SubmitInitialHeaders(answer, HeaderOptions{})
			if state := (*quic.StateError)(nil); !errors.As(err, &state) || state.State != "stream is cut off" {
				t.Errorf("SubmitInitialHeaders: %v", err)
			}
			return err
		},
		"of a Server": func(st *Stream) error { return st.sendMessage(&message{head: answer, length: -1, last: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, Options{}, Options{}).settled(t)
			p.answered(t, answer)
			var up, down []*Stream
			for range 99 {
				c, s := p.request(t, get200)
				up, down = append(up, c), append(down, s)
			}
			for _, st := range up {
				st.cancel(RequestCancelled)
			}
			eventually(t, func() bool { return p.server.cancellations() == uint64(len(up)) })
			for _, st := range down {
				eventually(t, func() bool { return st.q.Err() != nil })
				if err := send(st); !errors.Is(err, cut) {
					t.Fatalf("an answer to nobody: %v", err)
				}
			}
			const enough = 40 // several times what the table holds
			for i := 0; p.client.Stats().QPACKInserted < enough; i++ {
				if i == 10*enough {
					t.Fatalf("%d entries were inserted: one of them is there to stay", p.client.Stats().QPACKInserted)
				}
				value := fmt.Sprint(i, strings.Repeat("x", 200))
				for range 4 { // so that it pays
					p.answered(t, block(":status", "200", "etag", value))
				}
			}
		})
	}
}

var get200 = block(":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/")

// answered has a request answered with a header block.
func (p *pair) answered(t testing.TB, h Headers) {
	t.Helper()
	client, server := p.request(t, get200)
	must(t, client.CloseWrite())
	must(t, server.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}))
	response(t, client)
	_, err := io.ReadAll(server)
	must(t, err)
}

func (s *Session) cancellations() uint64 {
	s.fields.emu.Lock()
	defer s.fields.emu.Unlock()
	return s.fields.enc.Cancellations()
}

// saysBlocksAreNotRead wants a session's decoder stream to begin with cancellations of these streams.
func (a *attacker) saysBlocksAreNotRead(ids ...int64) {
	a.Helper()
	a.victim.fields.dmu.Lock()
	silent := a.victim.fields.acks == nil
	a.victim.fields.dmu.Unlock()
	if silent {
		a.Fatal("nothing is said of streams that were refused")
	}
	for {
		st, err := a.q.AcceptStream(a.ctx)
		must(a, err)
		b := make([]byte, 1+len(ids))
		if _, err := io.ReadFull(st, b[:1]); err != nil || b[0] != streamQPACKDecoder {
			continue
		}
		_, err = io.ReadFull(st, b[1:])
		must(a, err)
		for i, id := range ids {
			if b[1+i] != 0x40|byte(id) {
				a.Errorf("the decoder stream has %x, want the cancellations of %d", b, ids)
			}
		}
		return
	}
}

// RFC 9204 §2.2.2.2: blocks on requests that a server refuses are not read, and their encoder is told so.
func TestRefusedRequestsAreCancelled(t *testing.T) {
	a := rawClient(t, Options{}, quic.ConnectOptions{})
	a.victim.GoAway()
	for range 2 {
		_, err := a.open().Write(get())
		must(t, err)
	}
	eventually(t, func() bool { return a.victim.Stats().Useless == 2 })
	a.saysBlocksAreNotRead(0, 4)
}

// Likewise those on streams of pushes that are over.
func TestRefusedPushesAreCancelled(t *testing.T) {
	ctx := testContext(t)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 16})
	must(t, err)
	t.Cleanup(func() { q.Destroy(nil) })
	victim, err := NewSession(&q.Session, Options{})
	must(t, err)
	server, err := socket.Accept(ctx)
	must(t, err)
	a := &attacker{TB: t, ctx: ctx, q: &server.Session, victim: victim}
	victim.CancelPush(0)
	uni([]byte{streamPush, 0})(a)
	eventually(t, func() bool { return victim.Stats().Useless == 1 })
	a.saysBlocksAreNotRead(a.last.ID())
}
