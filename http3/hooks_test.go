package http3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// An error and a panic of each of a stream's hooks destroy the stream, and nothing else.
func TestStreamHookFails(t *testing.T) {
	boom := errors.New("boom")
	for name, set := range map[string]func(k *StreamHooks, f func() error){
		"InformationalHeaders": func(k *StreamHooks, f func() error) { k.InformationalHeaders = func(Headers) error { return f() } },
		"InitialHeaders":       func(k *StreamHooks, f func() error) { k.InitialHeaders = func(Headers) error { return f() } },
		"TrailingHeaders":      func(k *StreamHooks, f func() error) { k.TrailingHeaders = func(Headers) error { return f() } },
		"PushHeaders":          func(k *StreamHooks, f func() error) { k.PushHeaders = func(Headers, int64) error { return f() } },
		"Readable":             func(k *StreamHooks, f func() error) { k.Readable = f },
		"Aborted":              func(k *StreamHooks, f func() error) { k.Aborted = func(error) error { return f() } },
		"Datagram":             func(k *StreamHooks, f func() error) { k.Datagram = func([]byte) error { return f() } },
	} {
		for _, panics := range []bool{false, true} {
			t.Run(fmt.Sprint(name, panics), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, withDatagrams, withDatagrams).settled(t)
				eventuallyPushes(t, p)
				st := p.open(t)
				told := make(chan error, 1)
				k := StreamHooks{Error: func(err error) { told <- err }}
				set(&k, func() error {
					if panics {
						panic("boom")
					}
					return boom
				})
				st.SetHooks(k)
				h := post
				if name == "Datagram" {
					h = connect
				}
				must(t, st.SubmitInitialHeaders(h, HeaderOptions{}))
				sv, err := p.server.AcceptStream(testContext(t))
				must(t, err)
				_, err = sv.Headers()
				must(t, err)
				must(t, sv.SubmitInformationalHeaders(block(":status", "103")))
				if name == "PushHeaders" {
					_, err := sv.PushStream(getP, PushOptions{})
					must(t, err)
				}
				if err := sv.SubmitInitialHeaders(block(":status", "200"), HeaderOptions{}); name != "InformationalHeaders" && name != "PushHeaders" {
					must(t, err) // after those two it may be cut off already
				}
				switch name {
				case "Aborted":
					sv.cancel(RequestCancelled)
				case "Datagram":
					_, err := sv.SendDatagram([]byte("x"))
					must(t, err)
				default:
					_ = sv.SubmitTrailingHeaders(block("a", "1"))
				}
				err = <-told
				if thrown := (*quic.HandlerError)(nil); errors.Is(err, boom) == panics || errors.As(err, &thrown) != panics {
					t.Errorf("the stream fails with %v", err)
				}
				if name != "Aborted" {
					if _, err := io.ReadAll(sv); !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
						t.Errorf("the peer reads %v", err)
					}
				}
				p.request(t, post) // others go on
			})
		}
	}
}

// An error and a panic of a session's hooks destroy the session; of Stream, only the stream.
func TestSessionHookFails(t *testing.T) {
	boom := errors.New("boom")
	for _, panics := range []bool{false, true} {
		fails := func() error {
			if panics {
				panic("boom")
			}
			return boom
		}
		made := make(chan struct{})
		p := newPair(t, Options{}, Options{Hooks: SessionHooks{Settings: func(Settings) error {
			<-made
			return fails()
		}}})
		close(made)
		<-p.client.q.Closed()
		if err := p.client.Err(); err == nil || errors.Is(err, boom) == panics {
			t.Errorf("with a Settings hook that fails: %v", err)
		}
		p = newPair(t, Options{}, Options{Hooks: SessionHooks{GoAway: func(int64) error { return fails() }}}).settled(t)
		p.server.GoAway()
		<-p.client.q.Closed()
		if err := p.client.Err(); err == nil || errors.Is(err, boom) == panics {
			t.Errorf("with a GoAway hook that fails: %v", err)
		}
		p = newPair(t, Options{Hooks: SessionHooks{Stream: func(*Stream) error { return fails() }}}, Options{}).settled(t)
		st := p.open(t)
		must(t, st.SubmitInitialHeaders(post, HeaderOptions{}))
		if _, err := st.Headers(); !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
			t.Errorf("with a Stream hook that fails: %v", err)
		}
		if err := p.server.Err(); err != nil {
			t.Errorf("the session is over: %v", err)
		}
		if _, err := p.server.AcceptStream(testContext(t)); codeOf(err) != "ERR_INVALID_STATE" {
			t.Errorf("AcceptStream with a Stream hook: %v", err)
		}
	}
}

// A program whose hooks only wake others, which then try to read and to write, loses no notice.
func TestTryFromElsewhere(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	body := pattern(1 << 20)
	for round := range 4 {
		st, sv := p.request(t, post)
		var both sync.WaitGroup
		var got []byte
		readable, drained := make(chan bool, 1), make(chan bool, 1)
		knock := func(c chan bool) func() error {
			return func() error {
				select {
				case c <- true:
				default:
				}
				return nil
			}
		}
		sv.SetHooks(StreamHooks{Readable: knock(readable)})
		st.SetHooks(StreamHooks{Drained: knock(drained)})
		both.Go(func() {
			for left := body; len(left) > 0; {
				n, err := st.TryWrite(left)
				if left = left[n:]; err != nil {
					t.Error(err)
					return
				}
				if n == 0 {
					<-drained
				}
			}
			if err := st.SubmitTrailingHeaders(block("a", "1")); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			for b := make([]byte, 5000+round); ; {
				n, err := sv.TryRead(b)
				got = append(got, b[:n]...)
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					return
				}
				if n == 0 {
					<-readable
				}
			}
		})
		both.Wait()
		if !bytes.Equal(got, body) || sv.Trailers().text() != "[a 1]" {
			t.Errorf("%d bytes of %d, trailers %s", len(got), len(body), sv.Trailers().text())
		}
	}
}

// Hooks that are set late are told what is there: data, an end, a reset.
func TestHooksSetLate(t *testing.T) {
	p := newPair(t, Options{}, Options{}).settled(t)
	st, sv := p.request(t, post)
	write(t, st, "x")
	must(t, st.SubmitTrailingHeaders(block("a", "1")))
	var j journal
	eventually(t, func() bool { return sv.q.Readable() > 0 || len(sv.in.buf) > 0 })
	sv.SetHooks(j.hooks(sv, "late"))
	j.want(t, "late data x", "late trailing [a 1]", "late end")

	st, sv = p.request(t, post)
	st.cancel(ConnectError)
	eventually(t, func() bool { _, reset := sv.q.ResetReceived(); return reset })
	told := make(chan error, 3)
	sv.SetHooks(StreamHooks{
		Aborted:  func(err error) error { told <- err; return nil },
		Readable: func() error { _, err := sv.TryRead(make([]byte, 1)); told <- err; return nil },
	})
	for range 2 {
		if err := <-told; !errors.Is(err, &Error{ErrorCode: ConnectError, Remote: true}) {
			t.Errorf("a reset is told as %v", err)
		}
	}
}

// A Datagram hook takes the place of ReceiveDatagram, and is given what came before it.
func TestDatagramHook(t *testing.T) {
	p := newPair(t, withDatagrams, withDatagrams)
	ctx := testContext(t)
	client, server := p.tunnel(t)
	swap(t, ctx, client, server, "before")
	for i := range 3 {
		_, err := client.SendDatagram(fmt.Append(nil, i))
		must(t, err)
	}
	eventually(t, func() bool { return p.server.Stats().DatagramsReceived == 4 })
	got := make(chan string, 10)
	server.SetHooks(StreamHooks{Datagram: func(p []byte) error { got <- string(p); return nil }})
	for i := range 3 {
		if s := <-got; s != fmt.Sprint(i) {
			t.Errorf("datagram %d is %q", i, s)
		}
	}
	_, err := client.SendDatagram([]byte("behind"))
	must(t, err)
	if s := <-got; s != "behind" {
		t.Errorf("the next is %q", s)
	}
	_, err = server.ReceiveDatagram(ctx)
	wantCode(t, "ReceiveDatagram with a hook", err, "ERR_INVALID_STATE")

	waits := make(chan error, 1)
	go func() { _, err := client.ReceiveDatagram(ctx); waits <- err }()
	eventually(t, func() bool {
		d := &p.client.datagrams
		d.mu.Lock()
		defer d.mu.Unlock()
		q := d.queues[client.ID()]
		return q != nil && q.changed != nil
	})
	client.SetHooks(StreamHooks{Datagram: func(p []byte) error { return nil }})
	wantCode(t, "a call that waits when the hook comes", <-waits, "ERR_INVALID_STATE")
}
