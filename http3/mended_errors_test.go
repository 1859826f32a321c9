package http3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A request that has come to the wrong server, and whose body cannot be had again, is answered with what that has said.
func TestTransportMisdirectedBody(t *testing.T) {
	c := newChoosing(t)
	c.announce(fmt.Sprint(c.s.socket.Address().Port()), "", "")
	r := newRequest(t, "POST", "https://127.0.0.1:1/misdirected", strings.NewReader("hello"))
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	resp, err := c.tr.RoundTrip(r)
	if resp == nil || err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Fatalf("%v, %v", resp, err)
	}
	must(t, resp.Body.Close())
}

// The body of an attempt that is not made is closed.
func TestTransportUnusedBody(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = io.ReadAll(st)
		st.cancel(RequestRejected)
	})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	r := newRequest(t, "POST", s.url, strings.NewReader("hello")).WithContext(ctx)
	body := newBody(strings.NewReader("hello"))
	r.GetBody = func() (io.ReadCloser, error) {
		cancel()
		return body, nil
	}
	if _, err := tr.RoundTrip(r); err != context.Canceled {
		t.Errorf("error %v", err)
	}
	select {
	case <-body.closed:
	default:
		t.Error("the body is left open")
	}
}

// Requests that are malformed as net/http has it cost their client what all malformed ones do.
func TestServerMalformedCost(t *testing.T) {
	s := handler(func(http.ResponseWriter, *http.Request) { t.Error("a malformed request has come to the handler") })
	c := newRaw(t, s, Options{}).known()
	other := requestBlock("GET", "/")
	other[1].Value = "ftp"
	for _, h := range []Headers{other, requestBlock("GET", "/a%zz")} {
		if _, err := c.request(h, StreamHooks{}).Headers(); !errors.Is(err, &Error{ErrorCode: MessageError, Remote: true}) {
			t.Errorf("error %v", err)
		}
	}
	_, sessions := s.stop()
	eventually(t, func() bool { return sessions[0].useful.spentInAll() >= 2*resetCost })
}

// A TryWrite that finds the turn taken by a response is told when to try again.
func TestTryWriteIsTold(t *testing.T) {
	p := newPair(t, Options{}, Options{})
	told := 0
	hooks := StreamHooks{Drained: func() error { told++; return nil }}
	for name, send := range map[string]func(st *Stream) error{
		"message": func(st *Stream) error {
			return st.sendMessage(&message{head: Headers{{Name: ":status", Value: "200"}}, length: -1})
		},
		"file": func(st *Stream) error {
			x := (&serverConn{server: new(Server), ctx: t.Context()}).begin(st)
			x.req = &http.Request{Method: "GET"}
			x.w.WriteHeader(200)
			_, err := x.w.sendFile(strings.NewReader(strings.Repeat("x", 5000)), 5000)
			return err
		},
	} {
		_, server := p.request(t, get200)
		server.SetHooks(hooks)
		turns(server.s)
		server.out.mu.mu.Lock() // as the one who has the turn does
		if n, err := server.TryWrite([]byte("x")); n != 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		server.out.mu.mu.Unlock()
		before := told
		must(t, send(server))
		turns(server.s)
		turns(server.s) // what was posted in the first one
		if told == before {
			t.Errorf("%s: Drained was not told", name)
		}
	}
}
