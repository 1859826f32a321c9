package http3

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// behaviour is something that programs rely on in net/http: a handler, and a client that looks
// at what comes of it. It holds for HTTP/2 of the standard library, and so it must for HTTP/3.
type behaviour struct {
	name    string
	handler http.HandlerFunc
	server  func(s *tuning)   // changes the server before it starts; nil if nothing
	client  func(t *tuning)   // and the transport
	run     func(e *behaving) // talks with the server
}

// tuning is what both kinds of servers and transports can be told.
type tuning struct {
	http2Server    *http.Server
	http3Server    *Server
	http2Transport *http.Transport
	http3Transport *Transport
}

// behaving is one behaviour with one protocol.
type behaving struct {
	*testing.T
	url    string // of the server, without a slash at the end
	client *http.Client
	proto  string // "HTTP/2.0" or "HTTP/3.0"
}

// TestBehaviours runs one table against net/http's HTTP/2 and against ours.
func TestBehaviours(t *testing.T) {
	for _, b := range slices.Concat(serverBehaviours, clientBehaviours) {
		t.Run(b.name+"/h2", func(t *testing.T) { b.over2(t) })
		t.Run(b.name+"/h3", func(t *testing.T) { b.over3(t) })
	}
}

func (b *behaviour) over2(t *testing.T) {
	s := httptest.NewUnstartedServer(b.handler)
	s.EnableHTTP2 = true
	if b.server != nil {
		b.server(&tuning{http2Server: s.Config})
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	tr := s.Client().Transport.(*http.Transport)
	if b.client != nil {
		b.client(&tuning{http2Transport: tr})
	}
	b.run(&behaving{T: t, url: s.URL, client: &http.Client{Transport: tr}, proto: "HTTP/2.0"})
}

func (b *behaviour) over3(t *testing.T) {
	s := &Server{Handler: b.handler}
	if b.server != nil {
		b.server(&tuning{http3Server: s})
	}
	url, tr := newServer(t, s)
	if b.client != nil {
		b.client(&tuning{http3Transport: tr})
	}
	b.run(&behaving{T: t, url: url, client: &http.Client{Transport: tr}, proto: "HTTP/3.0"})
}
