package cases

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	quicgo "github.com/quic-go/quic-go"
	qhttp3 "github.com/quic-go/quic-go/http3"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
)

// quicGo is github.com/quic-go/quic-go, in this process.
type quicGo struct{}

func (quicGo) name() string { return "quic-go" }

// config returns one for an end that speaks these versions, or all.
func (quicGo) config(versions []uint32) *quicgo.Config {
	var list []quicgo.Version
	for _, v := range versions {
		list = append(list, quicgo.Version(v))
	}
	return &quicgo.Config{Versions: list, HandshakeIdleTimeout: 30 * time.Second, MaxIdleTimeout: 30 * time.Second, Allow0RTT: true}
}

func (q quicGo) serve(r *round) ([]netip.AddrPort, error) {
	if r.moves || r.changes() || r.name == "negotiation-v2" {
		return nil, errUnsupported // it does not say what it speaks: after Version Negotiation a client takes that of none but version 1
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: r.ip().AsSlice()})
	if err != nil {
		return nil, err
	}
	at := []netip.AddrPort{netip.AddrPortFrom(r.ip(), uint16(c.LocalAddr().(*net.UDPAddr).Port))}
	if r.http3 {
		s := &qhttp3.Server{TLSConfig: r.serverTLS("h3"), QUICConfig: q.config(r.speaks), Handler: http.FileServer(http.Dir(r.path("www")))}
		go s.Serve(c)
		r.t.Cleanup(func() { s.Close(); c.Close() })
		return at, nil
	}
	tr := &quicgo.Transport{Conn: c}
	if r.serverName() == "retry" {
		tr.VerifySourceAddress = func(net.Addr) bool { return true }
	}
	l, err := tr.ListenEarly(r.serverTLS(hq.ALPN), q.config(r.speaks))
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { l.Close(); tr.Close(); c.Close() })
	go func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			go q.answer(r, conn)
		}
	}()
	return at, nil
}

// answer serves HTTP/0.9.
func (quicGo) answer(r *round, conn *quicgo.Conn) {
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go func() {
			defer s.Close()
			send(r, s, s)
		}()
	}
}

// send answers one request of HTTP/0.9.
func send(r *round, from io.Reader, to io.Writer) {
	line, _ := bufio.NewReader(from).ReadString('\n')
	f, err := os.Open(r.path("www", strings.TrimPrefix(strings.TrimSpace(line), "GET /")))
	if err != nil {
		return
	}
	defer f.Close()
	io.Copy(to, f)
}

func (q quicGo) fetch(r *round) error {
	switch {
	case r.client == "chacha20", r.client == "keyupdate", r.moves, r.changes():
		return errUnsupported // it has no way to ask for any of these
	case r.http3:
		return q.request(r)
	}
	config := r.clientTLS(hq.ALPN)
	groups := [][]string{r.files}
	switch r.client {
	case "multiconnect":
		groups = nil
		for _, f := range r.files {
			groups = append(groups, []string{f})
		}
	case "resumption", "zerortt":
		groups = [][]string{r.files[:1], r.files[1:]}
		config.ClientSessionCache = newTickets()
	}
	for i, files := range groups {
		if err := q.session(r, config, files, r.client == "zerortt" && i == 1); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if t, ok := config.ClientSessionCache.(*tickets); ok && i == 0 {
			select {
			case <-t.put:
			case <-r.ctx.Done():
				return r.ctx.Err()
			}
		}
	}
	return nil
}

// session fetches files over a session of its own.
func (q quicGo) session(r *round, config *tls.Config, files []string, early bool) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: r.ip().AsSlice()})
	if err != nil {
		return err
	}
	defer c.Close()
	tr := &quicgo.Transport{Conn: c}
	defer tr.Close()
	dial := tr.Dial
	if early {
		dial = tr.DialEarly
	}
	conn, err := dial(r.ctx, net.UDPAddrFromAddrPort(r.at), config, q.config(r.offers))
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0, "")
	return eachFile(files, func(name string) error {
		s, err := conn.OpenStreamSync(r.ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(s, "GET /%s\r\n", name); err != nil {
			return err
		}
		s.Close()
		return save(r, name, s)
	})
}

// request fetches the files over HTTP/3.
func (q quicGo) request(r *round) error {
	t := &qhttp3.Transport{TLSClientConfig: r.clientTLS("h3"), QUICConfig: q.config(r.offers)}
	defer t.Close()
	return eachFile(r.files, func(name string) error {
		req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, fmt.Sprintf("https://%v/%s", r.at, name), nil)
		if err != nil {
			return err
		}
		res, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		return save(r, name, res.Body)
	})
}

// eachFile does something for all files at once.
func eachFile(files []string, f func(name string) error) error {
	errs := make(chan error, len(files))
	for _, name := range files {
		go func() { errs <- f(name) }()
	}
	var all []error
	for range files {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// save writes what comes to a file of the client's.
func save(r *round, name string, from io.Reader) error {
	f, err := os.Create(r.path("downloads", name))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// tickets is a session cache that tells when it has got something.
type tickets struct {
	tls.ClientSessionCache
	put chan struct{}
}

func newTickets() *tickets {
	return &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 64)}
}

// Put implements tls.ClientSessionCache.
func (t *tickets) Put(key string, s *tls.ClientSessionState) {
	t.ClientSessionCache.Put(key, s)
	select {
	case t.put <- struct{}{}:
	default:
	}
}
