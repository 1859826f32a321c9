package http3

import (
	"io"
	"net/http"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// newServer starts a server on loopback and returns its URL and a transport that trusts it.
func newServer(t testing.TB, s *Server) (string, *Transport) {
	t.Helper()
	listening := make(chan struct{})
	socket, err := quic.NewSocket(quic.SocketOptions{
		Endpoint: quic.EndpointOptions{Address: "127.0.0.1"},
		Hooks:    quic.SocketHooks{Listening: func() error { close(listening); return nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.TLSConfig == nil {
		s.TLSConfig = serverTLS()
	}
	perch(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(socket) }()
	tr := &Transport{TLSClientConfig: clientTLS()}
	t.Cleanup(func() {
		_ = tr.Close()
		_ = s.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		socket.Destroy(nil)
	})
	select {
	case <-listening:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	url := "https://" + socket.Address().String()
	canary(t, func() { dialRaw(t, socket.Address(), Options{}, quic.ConnectOptions{}).sing() })
	if besieged != nil {
		watchServer(t, socket)
	}
	return url, tr
}

func TestRoundTrip(t *testing.T) {
	url, tr := newServer(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.Copy(w, r.Body)
	})})
	c := &http.Client{Transport: tr}
	resp, err := c.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Proto != "HTTP/3.0" || resp.Header.Get("X-Proto") != "HTTP/3.0" || len(body) != 0 {
		t.Errorf("%v %q %v", resp, body, err)
	}
}
