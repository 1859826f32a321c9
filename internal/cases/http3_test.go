package cases

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// serveHTTP3 is the server of the HTTP/3 case.
func serveHTTP3(w *world, o *setup) {
	s := &http3.Server{TLSConfig: o.listen.TLS, QUIC: o.listen, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		f, err := w.open(r.URL.Path)
		if err != nil {
			http.NotFound(rw, r)
			return
		}
		io.Copy(rw, f)
	})}
	s.QUIC.TLS = nil
	go s.Serve(w.server)
	w.stop = func() { s.Close() }
}

// request fetches a path over HTTP/3.
func (w *world) request(c *http.Client, path string) error {
	r, err := http.NewRequestWithContext(w.ctx, http.MethodGet, fmt.Sprintf("https://%v%s", w.at, path), nil)
	if err != nil {
		return err
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 3 {
		return fmt.Errorf("%s over %s", res.Status, res.Proto)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, res.Body)
	if err != nil {
		return err
	}
	return w.compare(path, n, sum.Sum(nil))
}

func TestInteropHTTP3(t *testing.T) {
	play(t, setup{serve: serveHTTP3}, func(w *world) error {
		config := w.tls.Clone()
		config.NextProtos, config.ServerName = nil, "server"
		transport := &http3.Transport{
			TLSClientConfig: config, Socket: w.client,
			QUIC: quic.ConnectOptions{Hooks: quic.SessionHooks{KeyLog: w.log}, HandshakeTimeout: 30 * time.Second},
		}
		defer transport.Close()
		client := &http.Client{Transport: transport}
		paths := w.put(5*kib, 10*kib, 500*kib)
		errs := make(chan error, len(paths))
		for _, path := range paths {
			go func() { errs <- w.request(client, path) }()
		}
		for range paths {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	}, single)
}
