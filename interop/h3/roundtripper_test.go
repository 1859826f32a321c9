package h3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	quicgohttp3 "github.com/quic-go/quic-go/http3"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// tripper is a client that is an http.RoundTripper.
type tripper interface {
	// open returns one, how many connections it has made, and what ends it.
	open() (rt http.RoundTripper, connections func() int, end func(), err error)
}

// trip starts a server and opens a client.
func (d *duel) trip() (*origin, http.RoundTripper, func() int, error) {
	o, c, err := d.start()
	if err != nil {
		return nil, nil, nil, err
	}
	t, ok := c.(tripper)
	if !ok {
		return nil, nil, nil, errNoWay
	}
	rt, connections, end, err := t.open()
	if err != nil {
		return nil, nil, nil, err
	}
	d.t.Cleanup(end)
	return o, rt, connections, nil
}

func plainAsk(*http.Request) error { return nil }

// cancelling gives up a large response in the middle: the connection takes no harm.
func cancelling(d *duel) error {
	o, rt, connections, err := d.trip()
	if err != nil {
		return err
	}
	for range 3 {
		if err := d.giveUp(o, rt); err != nil {
			return err
		}
		a, err := roundTrip(d.ctx, rt, o.addr, get("/small.txt"), plainAsk, func(*http.Response) {})
		if err != nil {
			return fmt.Errorf("the request after it: %w", err)
		}
		if err := a.want(http.StatusOK, d.root.small["/small.txt"]); err != nil {
			return err
		}
	}
	if n := connections(); n != 1 {
		return fmt.Errorf("the client had %d connections, want one", n)
	}
	return nil
}

// giveUp asks for something large, and cancels the request when some of it is here.
func (d *duel) giveUp(o *origin, rt http.RoundTripper) error {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+o.addr.String()+"/big.bin", nil)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 100_000); err != nil {
		return err
	}
	cancel()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		return errors.New("the body of a cancelled request came to its end")
	}
	return nil
}

// goingAway has the server shut down while a request is under way: that one is answered,
// and the server's end waits for it.
func goingAway(d *duel) error {
	o, rt, _, err := d.trip()
	if err != nil {
		return err
	}
	if o.shutdown == nil {
		return errNoWay
	}
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(d.ctx, http.MethodPost, "https://"+o.addr.String()+"/echo", body)
	if err != nil {
		return err
	}
	go io.WriteString(w, "hello")
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- o.shutdown(d.ctx) }()
	rest := kit.Content{Seed: 24, Size: 1 << 20}
	go io.Copy(w, rest.Reader())
	got, err := kit.DigestOf(io.LimitReader(resp.Body, rest.Size))
	if err != nil || got != rest.Digest() {
		return fmt.Errorf("after: %+v came back, %w; want %+v", got, err, rest.Digest())
	}
	w.Close()
	// The end of this response is soon followed by that of the connection, and whoever hears of that
	// may forget what has not been read.
	var e *quicgohttp3.Error
	if n, err := io.Copy(io.Discard, resp.Body); n != 0 || err != nil && !(errors.As(err, &e) && e.ErrorCode == quicgohttp3.ErrCodeNoError) {
		return fmt.Errorf("the end: %d more bytes, %w", n, err)
	}
	resp.Body.Close()
	return <-done
}

// alternative has a client that speaks HTTP/2 first learn where there is HTTP/3.
func alternative(d *duel) error {
	if _, ok := d.client.(netHTTP); !ok {
		return errNoWay
	}
	o, _, err := d.start()
	if err != nil {
		return err
	}
	if !o.advertises {
		return errNoWay
	}
	old := &http.Transport{TLSClientConfig: d.id.Client(), ForceAttemptHTTP2: true}
	defer old.CloseIdleConnections()
	t := &http3.Transport{TLSClientConfig: d.id.Client(), Fallback: old}
	defer t.Close()
	for i, want := range []string{"HTTP/2.0", "HTTP/3.0"} {
		r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "https://"+o.addr.String()+"/small.txt", nil)
		if err != nil {
			return err
		}
		resp, err := t.RoundTrip(r)
		if err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
		got, err := kit.DigestOf(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Proto != want || got != d.root.small["/small.txt"] {
			return fmt.Errorf("request %d: %s, %+v, %v; want it by %s", i+1, resp.Proto, got, err, want)
		}
	}
	return nil
}
