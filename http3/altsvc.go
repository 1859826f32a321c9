package http3

import (
	"fmt"
	"net/http"
)

// altSvcAge is how long a client may remember where HTTP/3 is to be had (RFC 7838 §3.1), in
// seconds: thirty days.
const altSvcAge = 30 * 24 * 60 * 60

// AltSvc returns the value of an Alt-Svc field (RFC 7838 §3) that tells clients of HTTP/1.1 and
// HTTP/2 of this server: `h3=":443"; ma=2592000` for the port that it listens on, and "" while it
// does not listen. Where clients see another port than the server does, it is not of use.
func (s *Server) AltSvc() string {
	addr := s.Address()
	if !addr.IsValid() {
		return ""
	}
	return fmt.Sprintf(`%s=":%d"; ma=%d`, ALPN, addr.Port(), altSvcAge)
}

// Advertise returns a handler for an http.Server of HTTP/1.1 and HTTP/2 that adds AltSvc to every
// response of h, which can replace it. Until this server listens, and in requests that are
// HTTP/3 already, it adds nothing.
func (s *Server) Advertise(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 3 {
			if v := s.AltSvc(); v != "" {
				w.Header().Set("Alt-Svc", v)
			}
		}
		h.ServeHTTP(w, r)
	})
}
