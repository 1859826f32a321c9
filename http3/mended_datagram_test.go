package http3

import (
	"testing"
)

// RFC 9297 §2.1: a datagram that comes when the stream's receiving half is over is dropped, and nobody is told. What
// came before can still be received.
func TestDatagramBehindTheEnd(t *testing.T) {
	for name, end := range map[string]func(st *Stream){
		"end":   func(st *Stream) { must(t, st.CloseWrite()) },
		"reset": func(st *Stream) { st.Reset(ConnectError) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, withDatagrams, withDatagrams)
			ctx := testContext(t)
			check := func(from, to *Stream) {
				t.Helper()
				swap(t, ctx, from, to, "first") // the stream uses datagrams from here on
				_, err := from.SendDatagram([]byte("before"))
				must(t, err)
				eventually(t, func() bool { return to.s.Stats().DatagramsReceived == 2 })
				end(from)
				eventually(t, to.received)
				from.sendAnyway(t, "behind")
				eventually(t, func() bool { return to.s.Stats().DatagramsDropped == 1 })
				if n := to.s.Stats().DatagramsReceived; n != 2 {
					t.Errorf("%d datagrams were given to the stream", n)
				}
				if b, err := to.ReceiveDatagram(ctx); string(b) != "before" || err != nil {
					t.Errorf("what came before the end is %q, %v", b, err)
				}
			}
			check(p.tunnel(t))
			client, server := p.tunnel(t)
			check(server, client)
		})
	}
}

// sendAnyway sends a datagram whatever the stream's state.
func (st *Stream) sendAnyway(t testing.TB, s string) {
	t.Helper()
	_, err := st.s.q.SendDatagram(append(num(uint64(st.ID()>>2)), s...))
	must(t, err)
}

// Likewise for requests that do not use datagrams yet, or whose method has no use for them: these are ended for one
// only as long as the client has not ended them (RFC 9297 §2). It costs the client a token all the same.
func TestDatagramBehindRequest(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams).settled(t)
	eventuallyPushes(t, p) // MAX_PUSH_ID counts, too
	for i, h := range []Headers{connect, get200} {
		client, server := p.request(t, h)
		must(t, client.CloseWrite())
		eventually(t, server.received)
		before := p.server.Stats().Useless
		client.sendAnyway(t, "behind")
		eventually(t, func() bool { return p.server.Stats().DatagramsDropped == uint64(i)+1 })
		if s := p.server.Stats(); s.DatagramsHeld != 0 || s.Useless != before+1 {
			t.Errorf("%d bytes are held, %d tokens taken", s.DatagramsHeld, s.Useless-before)
		}
		answerPlainly(server)
		if _, body := response(t, client); body != "ok" {
			t.Errorf("the answer is %q", body)
		}
	}
}
