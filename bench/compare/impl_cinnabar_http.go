package main

import (
	"net/http"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// cinnabarHTTP is the HTTP/3 of this repository.
type cinnabarHTTP struct{}

func (cinnabarHTTP) serve(b *bench, h http.Handler) (*webServer, error) {
	listening := make(chan struct{})
	socket, err := cinnabar{}.socket(b, quic.SocketHooks{Listening: func() error {
		close(listening)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	s := &http3.Server{
		Handler:   h,
		TLSConfig: b.serverTLS.Clone(),
		QUIC:      quic.ListenOptions{MaxUDPPayloadSize: datagramSize, MaxStreamsBidi: streamLimit},
	}
	ended := make(chan error, 1)
	b.serveUntilClosed(func() error {
		err := s.Serve(socket)
		ended <- err
		return err
	})
	select {
	case <-listening: // there is an address
	case err := <-ended:
		return nil, err
	}
	return &webServer{addr: socket.Address().String(), close: func() { s.Close() }}, nil
}

func (cinnabarHTTP) client(b *bench) (*webClient, error) {
	socket, err := cinnabar{}.socket(b, quic.SocketHooks{})
	if err != nil {
		return nil, err
	}
	t := &http3.Transport{
		TLSClientConfig: b.clientTLS.Clone(),
		QUIC:            quic.ConnectOptions{MaxUDPPayloadSize: datagramSize},
		Socket:          socket,
	}
	return &webClient{RoundTripper: t, major: 3, close: func() {
		t.Close()
		socket.Destroy(nil)
	}}, nil
}
