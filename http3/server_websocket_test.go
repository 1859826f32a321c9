package http3

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A WebSocket over an extended CONNECT (RFC 9220, RFC 8441 §5): the handler has the stream, and a
// library of WebSockets for net.Conn does the rest.
func TestServerWebSocket(t *testing.T) {
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "websocket" {
			http.Error(w, "want a WebSocket", http.StatusBadRequest)
			return
		}
		w.Header().Set("Sec-WebSocket-Protocol", "echo")
		st, ok := StreamOf(wrapped{wrapped{w}})
		if !ok {
			t.Error("no stream")
			return
		}
		for {
			msg, op, err := wsutil.ReadClientData(st)
			if err != nil {
				return
			}
			if err := wsutil.WriteServerMessage(st, op, msg); err != nil {
				t.Error(err)
			}
		}
	})
	s.Options.ExtendedConnect = true
	c := newRaw(t, s, Options{}).known()
	h, _ := c.ask(requestBlock("GET", "/"))
	wantStatus(t, h, "400")

	st := c.open(append(Headers{{Name: ":protocol", Value: "websocket"}}, requestBlock("CONNECT", "/chat")...), StreamHooks{})
	h, err := st.Headers()
	must(t, err)
	wantStatus(t, h, "200")
	wantField(t, h, Field{Name: "sec-websocket-protocol", Value: "echo"})
	if v := h.Get("content-length"); v != "" {
		t.Errorf("content-length %s", v)
	}
	for _, text := range []string{"one", "two", strings.Repeat("three", 20_000)} {
		must(t, wsutil.WriteClientText(st, []byte(text)))
		got, err := wsutil.ReadServerText(st)
		if string(got) != text || err != nil {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(text))
		}
	}
	must(t, ws.WriteFrame(st, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))))
	last, err := ws.ReadHeader(st)
	if err != nil || last.OpCode != ws.OpClose {
		t.Errorf("%v, %v", last, err)
	}
	if n, err := io.Copy(io.Discard, st); n != last.Length || err != nil {
		t.Errorf("%d bytes behind the end, %v", n, err)
	}
}

// wrapped is a http.ResponseWriter as middleware makes them.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// What is not a Server's has no stream; nor has a response that cannot be sent.
func TestStreamOf(t *testing.T) {
	if _, ok := StreamOf(wrapped{nil}); ok {
		t.Error("a stream of nothing")
	}
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "a")
		st, ok := StreamOf(w)
		if !ok || st.ID() != 0 {
			t.Error("no stream")
			return
		}
		_, _ = io.WriteString(st, "b")
		_, _ = io.WriteString(w, "c") // goes the same way now
		_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("d"))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}), Options{})
	h, body := c.ask(requestBlock("GET", "/"))
	wantStatus(t, h, "201")
	if body != "abcd" {
		t.Errorf("%q", body)
	}
}
