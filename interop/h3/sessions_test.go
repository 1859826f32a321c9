package h3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// sessions is Cinnabar by its http3.Session: header blocks, streams and pushes, with
// nothing of net/http but what this file puts on top.
type sessions struct{}

func (sessions) name() string   { return "Cinnabar" }
func (sessions) traits() traits { return traits{inside: true} }

func (sessions) serve(d *duel) (*origin, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}})
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { socket.Destroy(nil) })
	s := &sessionServer{site: newSite(d.root)}
	err = socket.Listen(d.ctx, quic.ListenOptions{
		ALPN: http3.ALPN, TLS: d.id.Server(), IdleTimeout: patience, Handler: s.accept,
		MaxStreamsUni: 16,
	})
	return &origin{
		addr:      socket.Address(),
		dynamic:   true,
		empty:     "/empty.txt",
		trailers:  true,
		tunnels:   true,
		pushes:    true,
		saysEarly: true,
		ranks:     true,
		site:      s.site,
	}, err
}

// sessionServer serves a site on sessions.
type sessionServer struct {
	site *site

	mu       sync.Mutex
	sessions []*http3.Session
}

func (s *sessionServer) accept(q *quic.ServerSession) error {
	h, err := http3.NewSession(&q.Session, http3.Options{
		ExtendedConnect: true,
		Hooks: http3.SessionHooks{Stream: func(st *http3.Stream) error {
			go s.answer(st)
			return nil
		}},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, h)
	return nil
}

// answer serves one request. If the handler gives up, the stream is reset.
func (s *sessionServer) answer(st *http3.Stream) {
	w := &writer{site: s.site, st: st, header: make(http.Header)}
	defer func() {
		switch p := recover(); p {
		case nil:
			st.Close()
		case http.ErrAbortHandler:
			st.Destroy(nil)
		default:
			panic(p)
		}
	}()
	h, err := st.Headers()
	if err != nil {
		return
	}
	r, err := request(st, h)
	if err != nil {
		st.Destroy(err)
		return
	}
	w.request = r
	s.site.ServeHTTP(w, r)
	w.end()
}

// request makes an http.Request of a header block.
func request(st *http3.Stream, h http3.Headers) (*http.Request, error) {
	u, err := url.ParseRequestURI(h.Get(":path"))
	if err != nil {
		return nil, err
	}
	state := st.Session().QUIC().ConnectionState()
	state.HandshakeComplete = !st.QUIC().Early()
	r := &http.Request{
		Method: h.Get(":method"), URL: u, Host: h.Get(":authority"), Header: plain(h), Trailer: make(http.Header),
		Proto: "HTTP/3.0", ProtoMajor: 3, ContentLength: -1, TLS: &state,
		RemoteAddr: st.Session().QUIC().RemoteAddr().String(),
	}
	r.Body = &requestBody{st, r}
	return r.WithContext(st.Context()), nil
}

// plain returns the fields of a block that are not pseudo-header fields.
func plain(h http3.Headers) http.Header {
	fields := make(http.Header)
	for _, f := range h {
		if !strings.HasPrefix(f.Name, ":") {
			fields.Add(f.Name, f.Value)
		}
	}
	return fields
}

// block is the opposite: pseudo-header fields, then the others in the order of their names.
func block(pseudo http3.Headers, h http.Header) http3.Headers {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			pseudo = append(pseudo, http3.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return pseudo
}

// requestBody has the trailers in the request when it is at its end.
type requestBody struct {
	*http3.Stream
	r *http.Request
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.Stream.Read(p)
	if errors.Is(err, io.EOF) {
		for name, v := range plain(b.Trailers()) {
			b.r.Trailer[name] = v
		}
	}
	return n, err
}

// writer is an http.ResponseWriter with as much as the site needs.
type writer struct {
	site     *site
	st       *http3.Stream
	request  *http.Request
	header   http.Header
	trailers []string // their names
	begun    bool
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.begun {
		return
	}
	h := block(http3.Headers{{Name: ":status", Value: strconv.Itoa(status)}}, w.header)
	var err error
	if status < 200 {
		err = w.st.SubmitInformationalHeaders(h)
	} else {
		w.begun = true
		if names := w.header.Get("Trailer"); names != "" {
			w.trailers = strings.Split(names, ", ")
		}
		err = w.st.SubmitInitialHeaders(h, http3.HeaderOptions{})
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.request.Method == http.MethodHead {
		return len(p), nil
	}
	return w.st.Write(p)
}

// Push implements http.Pusher: the file that is asked for, and no other fields.
func (w *writer) Push(target string, _ *http.PushOptions) error {
	promise := http3.Headers{
		{Name: ":method", Value: http.MethodGet}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: w.request.Host}, {Name: ":path", Value: target},
	}
	st, err := w.st.PushStream(promise, http3.PushOptions{})
	if err != nil {
		return err
	}
	r := w.request.Clone(st.Context())
	if r.URL, err = url.Parse(target); err != nil {
		return err
	}
	pushed := &writer{site: w.site, st: st, header: make(http.Header), request: r}
	go func() {
		defer func() {
			if recover() != nil {
				st.Destroy(nil)
			}
		}()
		w.site.ServeMux.ServeHTTP(pushed, r)
		pushed.end()
	}()
	return nil
}

func (w *writer) end() {
	w.WriteHeader(http.StatusOK)
	trailer := make(http.Header)
	for _, name := range w.trailers {
		if v := w.header.Get(name); v != "" {
			trailer.Set(name, v)
		}
	}
	if len(trailer) > 0 {
		w.st.SubmitTrailingHeaders(block(nil, trailer))
		return
	}
	w.st.CloseWrite()
}

func (sessions) client(d *duel) (client, error) {
	c := &sessionClient{d: d, tickets: newTickets()}
	return c, nil
}

type sessionClient struct {
	d       *duel
	tickets *tickets
}

func (c *sessionClient) run(ctx context.Context, to netip.AddrPort, p plan) (report, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}})
	if err != nil {
		return report{}, err
	}
	defer socket.Destroy(nil)
	tc := c.d.id.Client()
	tc.ClientSessionCache = c.tickets
	q, err := socket.Connect(ctx, quic.ConnectOptions{
		Address: to.Addr().String(), Port: int(to.Port()), ALPN: http3.ALPN, TLS: tc,
		DisableEarlyData: !p.early, IdleTimeout: patience, MaxStreamsUni: 16,
	})
	if err != nil {
		return report{}, err
	}
	s, err := http3.NewSession(&q.Session, http3.Options{})
	if err != nil {
		return report{}, err
	}
	if !p.early {
		if err := q.Handshake(ctx); err != nil {
			return report{}, err
		}
	}
	answers, err := c.all(ctx, s, to, p)
	if err != nil {
		return report{}, err
	}
	r := report{answers: answers, connections: 1}
	if answers[len(answers)-1].status != http.StatusOK {
		p.pushes = 0 // none are coming
	}
	for range p.pushes {
		pushed, err := acceptPush(ctx, s)
		if err != nil {
			return r, fmt.Errorf("waiting for a push: %w", err)
		}
		r.pushes = append(r.pushes, pushed)
	}
	if err := q.Handshake(ctx); err != nil {
		return r, err
	}
	if p.ticket {
		if err := c.tickets.wait(ctx); err != nil {
			return r, err
		}
	}
	r.resumed, r.early = q.ConnectionState().DidResume, new(q.EarlyDataAccepted())
	return r, s.Shutdown(ctx)
}

// all asks all.
func (c *sessionClient) all(ctx context.Context, s *http3.Session, to netip.AddrPort, p plan) ([]answer, error) {
	answers, errs := make([]answer, len(p.asks)), make([]error, len(p.asks))
	var group sync.WaitGroup
	for i, a := range p.asks {
		sent := p.sent
		if sent == nil || i > 0 {
			sent = func() {}
		}
		one := func() { answers[i], errs[i] = exchange(ctx, s, to, a, sent) }
		if p.together {
			group.Go(one)
			continue
		}
		if one(); errs[i] != nil {
			break
		}
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", p.asks[i].method, p.asks[i].path, err)
		}
	}
	return answers, nil
}

// exchange makes one request and reads its response, while the request's body leaves.
func exchange(ctx context.Context, s *http3.Session, to netip.AddrPort, a ask, headed func()) (answer, error) {
	var got answer
	told := make(chan struct{}) // that there are no more informational ones
	st, err := s.OpenStream(ctx, http3.StreamOptions{Hooks: http3.StreamHooks{
		InformationalHeaders: func(h http3.Headers) error {
			got.informational = append(got.informational, plain(h))
			return nil
		},
		InitialHeaders: func(http3.Headers) error {
			close(told)
			return nil
		},
	}})
	if err != nil {
		return got, err
	}
	h := http3.Headers{
		{Name: ":method", Value: a.method}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: to.String()}, {Name: ":path", Value: a.path},
	}
	if a.protocol != "" {
		h = append(h, http3.Field{Name: ":protocol", Value: a.protocol})
	}
	for name := range a.trailer {
		h = append(h, http3.Field{Name: "trailer", Value: strings.ToLower(name)})
	}
	bare := a.body.Size == 0 && a.trailer == nil
	if !bare && a.trailer == nil && a.protocol == "" {
		h = append(h, http3.Field{Name: "content-length", Value: strconv.FormatInt(a.body.Size, 10)})
	}
	if err := st.SubmitInitialHeaders(block(h, a.header), http3.HeaderOptions{Terminal: bare}); err != nil {
		return got, err
	}
	headed()
	if a.priority != "" {
		p, _ := http3.ParsePriority(a.priority)
		if err := st.UpdatePriority(p); err != nil {
			return got, err
		}
	}
	sent := make(chan error, 1)
	go func() { sent <- send(st, a, bare) }()
	if err := got.read(st); err != nil {
		return got, err
	}
	if err := <-sent; err != nil { // it ends with the session at the latest
		return got, err
	}
	select {
	case <-told:
		return got, nil
	case <-ctx.Done():
		return got, ctx.Err()
	}
}

// send sends what follows the header.
func send(st *http3.Stream, a ask, bare bool) error {
	if bare {
		return nil
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{st}, a.body.Reader(), make([]byte, 64<<10)); err != nil {
		return fmt.Errorf("sending the body: %w", err)
	}
	if a.trailer != nil {
		return st.SubmitTrailingHeaders(block(nil, a.trailer))
	}
	return st.CloseWrite()
}

// read reads a whole response.
func (a *answer) read(st *http3.Stream) error {
	h, err := st.Headers()
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	a.header = plain(h)
	if a.status, err = strconv.Atoi(h.Get(":status")); err != nil {
		return err
	}
	var text head
	a.digest, err = kit.DigestOf(io.TeeReader(struct{ io.Reader }{st}, &text))
	if err != nil {
		return fmt.Errorf("reading the body, %d bytes have come: %w", a.digest.Size, err)
	}
	a.text, a.trailer = text.String(), plain(st.Trailers())
	return nil
}

// acceptPush reads a push.
func acceptPush(ctx context.Context, s *http3.Session) (push, error) {
	st, err := s.AcceptStream(ctx)
	if err != nil {
		return push{}, err
	}
	p := push{method: st.Promised().Get(":method"), path: st.Promised().Get(":path")}
	return p, p.read(st)
}
