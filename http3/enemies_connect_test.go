package http3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Attacks within tunnels: requests of CONNECT that carry datagrams and capsules.

var tunnelHead = fields(":method", "CONNECT", ":protocol", "test", ":scheme", "https", ":authority", "a", ":path", "/")

// datagramsUnread floods a hundred streams that use datagrams and whose readers are slow: what waits is
// bounded for all of them together, each has its share of it, and the session goes on.
func datagramsUnread(t *testing.T) {
	const streams, size = 100, 1100
	slow, come := make(chan *Stream, streams), atomic.Int64{}
	o := withDatagrams
	o.Hooks.Stream = func(st *Stream) error {
		if come.Add(1) > streams {
			return answerWithHooks(st)
		}
		slow <- st
		return nil
	}
	a := rawClient(t, o, quic.ConnectOptions{})
	sent := uint64(0)
	send := func(st *quic.Stream, p []byte) {
		sent++
		for err := quic.ErrDatagramQueueFull; errors.Is(err, quic.ErrDatagramQueueFull); {
			if _, err = a.q.SendDatagram(append(num(uint64(st.ID()>>2)), p...)); err == nil {
				return
			}
		}
		t.Fatalf("the session is over: %v", a.q.Err())
	}
	var evil []*quic.Stream
	var readers []*Stream
	for range streams {
		st := a.open()
		_, err := st.Write(tunnelHead)
		must(t, err)
		sv := <-slow
		_, err = sv.Headers()
		must(t, err)
		send(st, []byte("first"))
		p, err := sv.ReceiveDatagram(a.ctx) // the stream uses them from here on
		if string(p) != "first" || err != nil {
			t.Fatalf("%q, %v", p, err)
		}
		evil, readers = append(evil, st), append(readers, sv)
	}
	for range maxQueuedDatagrams {
		for _, st := range evil {
			send(st, make([]byte, size))
		}
		if n := a.victim.Stats().DatagramsHeld; n > maxWaitingBytes {
			t.Fatalf("%d bytes of datagrams wait", n)
		}
		eventually(t, func() bool { // none are on the way: the attacker's end is in the same heap
			return a.victim.q.Stats().DatagramFramesReceived+a.q.Stats().DatagramFramesLost >= sent
		})
		a.look()
	}
	eventually(t, func() bool { return a.victim.Stats().DatagramsHeld > maxWaitingBytes-2*size })
	if n := a.victim.Stats().DatagramsDropped; n == 0 {
		t.Error("no datagram was dropped")
	}
	a.count()
	for i, sv := range readers {
		if p, err := sv.ReceiveDatagram(a.ctx); len(p) != size || err != nil {
			t.Errorf("reader %d has a datagram of %d bytes, %v", i, len(p), err)
		}
	}
	for i, st := range evil {
		st.Reset(uint64(ConnectError))
		readers[i].cancel(ConnectError)
	}
	eventually(t, func() bool { return a.victim.Stats().DatagramsHeld == 0 })
	a.run(&attack{"another request", []step{whole(get())}, fine})
}

// hugeCapsules sends capsules that nobody knows, through a tunnel: one of many megabytes, one that drips and
// one of a size that nobody has. They are skipped as they come (RFC 9297 §3.2): they take no memory, what is
// between them is read, and when it is over nothing is left of the stream.
func hugeCapsules(t *testing.T) {
	a := rawClient(t, withDatagrams, quic.ConnectOptions{})
	st := a.open()
	_, err := st.Write(tunnelHead)
	must(t, err)
	sv, err := a.victim.AcceptStream(a.ctx)
	must(t, err)
	_, err = sv.Headers()
	must(t, err)
	read := make(chan error, 1)
	long := siege.Costly(1<<30, 64<<20)
	go func() { read <- readCapsules(sv, int64(long), 1000, 1<<62-1) }()

	write := func(p []byte) {
		t.Helper()
		_, err := st.Write(p)
		must(t, err)
	}
	bulk := func(n int) {
		const piece = 64 << 10
		for i := 0; n > 0; i, n = i+1, n-piece {
			write(frame(frameData, make([]byte, min(n, piece))))
			if i%8 == 0 {
				eventually(t, func() bool { return sv.q.Stats().BytesRead == st.Stats().BytesSent || len(read) > 0 })
			}
			if i%128 == 0 { // the attacker's end is in the same heap: it is to hold nothing
				eventually(t, func() bool { s := st.Stats(); return uint64(s.MaxAcknowledgedOffset) == s.BytesSent || len(read) > 0 })
				a.look()
			}
		}
	}
	known := frame(frameData, AppendCapsule(nil, CapsuleDatagram, []byte("one")))
	write(frame(frameData, num(0x1234, uint64(long))))
	bulk(long)
	write(known)
	for _, b := range AppendCapsule(nil, 0x1234, make([]byte, 1000)) { // byte by byte
		write(frame(frameData, []byte{b}))
	}
	write(known)
	for _, b := range num(0x1234, 1<<62-1) {
		write(frame(frameData, []byte{b}))
	}
	bulk(siege.Scaled(16 << 20))
	must(t, st.CloseWrite())
	must(t, <-read)
	sv.cancel(MessageError) // as RFC 9297 §3.3 has it for a capsule that is cut off
	eventually(t, func() bool {
		return a.victim.stream(sv.ID()) == nil && !slices.ContainsFunc(a.victim.q.Streams(), (*quic.Stream).Bidirectional)
	})
	a.look()
	go answerAll(a.victim)
	a.run(&attack{"another request", []step{whole(get())}, fine})
}

// closeWhileBlocked closes a session in which a tunnel has more to say than its peer takes: Close and Shutdown
// come back, and so does whoever writes.
func closeWhileBlocked(t *testing.T) {
	const window = 4 << 10
	a := rawClient(t, withDatagrams, quic.ConnectOptions{MaxStreamDataBidiLocal: window})
	st := a.open()
	_, err := st.Write(tunnelHead)
	must(t, err)
	sv, err := a.victim.AcceptStream(a.ctx)
	must(t, err)
	must(t, sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}))
	written := make(chan error, 1)
	go func() {
		_, err := sv.Write(AppendCapsule(nil, 0x1234, make([]byte, 1<<20)))
		written <- err
	}()
	eventually(t, func() bool { return st.Readable() == window })
	must(t, a.victim.Close())
	select {
	case err := <-written:
		t.Errorf("Close, which lets what is under way finish, ends the tunnel: %v", err)
	default:
	}
	ctx, cancel := context.WithCancel(a.ctx)
	cancel()
	if err := a.victim.Shutdown(ctx); !errors.Is(err, context.Canceled) { // which has no more time
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-written; err == nil {
		t.Error("the capsule is written, and nobody took it")
	}
	<-a.victim.q.Closed()
	if n := len(a.victim.q.Streams()); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

// readCapsules reads capsules of an unknown type and of these lengths, with one of a known type behind each but
// the last, which is cut off.
func readCapsules(r io.Reader, lengths ...int64) error {
	c := NewCapsuleReader(r)
	for i, want := range lengths {
		if typ, n, err := c.Next(); typ != 0x1234 || n != want || err != nil {
			return errors.Join(errors.New("not the unknown capsule"), err)
		}
		if i == len(lengths)-1 {
			break
		}
		if typ, _, err := c.Next(); typ != CapsuleDatagram || err != nil {
			return errors.Join(errors.New("not the known capsule"), err)
		}
		if p, err := io.ReadAll(c); !bytes.Equal(p, []byte("one")) || err != nil {
			return errors.Join(errors.New("not the value"), err)
		}
	}
	if _, _, err := c.Next(); err != io.ErrUnexpectedEOF {
		return errors.Join(errors.New("a capsule that is cut off"), err)
	}
	return nil
}
