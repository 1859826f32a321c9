package http3

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// The Error hook is told once, and not behind Close, whatever the program still asks of a stream
// that is over.
func TestErrorHookOnce(t *testing.T) {
	p := newPair(t, Options{Datagrams: true}, Options{Datagrams: true})
	st, err := p.client.OpenStream(testContext(t), StreamOptions{})
	must(t, err)
	var failed atomic.Int32
	over := make(chan struct{})
	st.SetHooks(StreamHooks{Error: func(error) { failed.Add(1) }, Close: func() { close(over) }})
	must(t, st.SubmitInitialHeaders(post, HeaderOptions{}))
	sv, err := p.server.AcceptStream(testContext(t))
	must(t, err)
	sv.Destroy(&Error{ErrorCode: InternalError})
	<-over
	if _, err := st.ReceiveDatagram(testContext(t)); err == nil {
		t.Error("a datagram comes on a stream that is over")
	}
	told := make(chan struct{})
	p.client.q.Post(func() { close(told) })
	<-told
	if n := failed.Load(); n != 1 {
		t.Errorf("the Error hook was told %d times", n)
	}
}

// The names in a Trailer field take no more memory than so many fields do.
func TestTrailerNamesAreFew(t *testing.T) {
	h := http.Header{"Trailer": {strings.Repeat("x,", 10) + "bad name,Authorization\u00e9," + manyNames(5000)}}
	n := len(announced(h))
	if n > maxTrailers {
		t.Errorf("%d trailers are announced", n)
	}
	if m := len(declaredTrailers([]string{manyNames(5000)})); m > maxTrailers {
		t.Errorf("%d trailers are declared", m)
	}
	for name := range announced(http.Header{"Trailer": {"good, bad name, b\u00e9"}}) {
		if name != "Good" {
			t.Errorf("%q is announced", name)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("a" + strconv.Itoa(i) + ",")
	}
	return b.String()
}
