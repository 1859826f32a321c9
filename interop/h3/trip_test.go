package h3

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"sync"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// textSize is how much of a body an answer keeps.
const textSize = 4 << 10

// prepare puts into a request what each implementation wants in a way of its own: that
// it is to leave as early data, and the protocol of an extended CONNECT.
type prepare func(r *http.Request, a ask, early bool) error

// trip runs a plan with an http.RoundTripper. Look is shown every response, one at a time.
func trip(ctx context.Context, rt http.RoundTripper, to netip.AddrPort, p plan, prepare prepare, look func(*http.Response)) ([]answer, error) {
	var mu sync.Mutex
	answers := make([]answer, len(p.asks))
	var all sync.WaitGroup
	errs := make([]error, len(p.asks))
	for i, a := range p.asks {
		ctx := ctx
		if p.sent != nil && i == 0 {
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { p.sent() }})
		}
		one := func() {
			answers[i], errs[i] = roundTrip(ctx, rt, to, a, func(r *http.Request) error {
				return prepare(r, a, p.early && i == 0)
			}, func(resp *http.Response) {
				mu.Lock()
				defer mu.Unlock()
				look(resp)
			})
		}
		if p.together {
			all.Go(one)
			continue
		}
		if one(); errs[i] != nil {
			break
		}
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", p.asks[i].method, p.asks[i].path, err)
		}
	}
	return answers, nil
}

func roundTrip(ctx context.Context, rt http.RoundTripper, to netip.AddrPort, a ask, prepare func(*http.Request) error, look func(*http.Response)) (answer, error) {
	if a.priority != "" {
		return answer{}, errNoWay
	}
	var got answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			got.informational = append(got.informational, maps.Clone(http.Header(h)))
			return nil
		},
	})
	r, err := http.NewRequestWithContext(ctx, a.method, "https://"+to.String()+a.path, nil)
	if err != nil {
		return got, err
	}
	maps.Copy(r.Header, a.header)
	if a.body.Size > 0 || a.trailer != nil {
		r.Body, r.ContentLength = io.NopCloser(a.body.Reader()), a.body.Size
	}
	if a.trailer != nil {
		r.Trailer, r.ContentLength = a.trailer.Clone(), -1
	}
	if err := prepare(r); err != nil {
		return got, err
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	if resp.Proto != "HTTP/3.0" || resp.ProtoMajor != 3 {
		return got, fmt.Errorf("protocol %s", resp.Proto)
	}
	look(resp)
	got.status, got.header = resp.StatusCode, resp.Header
	var text head
	got.digest, err = kit.DigestOf(io.TeeReader(resp.Body, &text))
	got.text, got.trailer = text.String(), resp.Trailer
	return got, err
}

// head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), textSize-h.Len())])
	return len(p), nil
}

// tickets is a session cache that tells when it has got something.
type tickets struct {
	tls.ClientSessionCache
	put chan struct{} // gets a value for every ticket, as far as there is room
}

func newTickets() *tickets {
	return &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 64)}
}

// Put implements tls.ClientSessionCache.
func (t *tickets) Put(key string, s *tls.ClientSessionState) {
	t.ClientSessionCache.Put(key, s)
	if s == nil {
		return
	}
	select {
	case t.put <- struct{}{}:
	default:
	}
}

// wait returns when a ticket has come that no call before has waited for.
func (t *tickets) wait(ctx context.Context) error {
	select {
	case <-t.put:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a ticket: %w", ctx.Err())
	}
}
