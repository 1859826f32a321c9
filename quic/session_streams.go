package quic

import "github.com/cinnabar-quic/cinnabar/internal/wire"

// MaxStreams is how many streams of each kind an end may open in all (SES-067).
type MaxStreams struct {
	Bidi uint64 // SES-068
	Uni  uint64 // SES-069
}

// MaxStreams returns how many streams the peer lets this end open in all, counted from
// the start of the session. It begins with the peer's MaxStreamsBidi and MaxStreamsUni,
// grows as the peer makes room for more, and keeps its last value when the session is
// over. A server knows it as soon as its Handler runs, a client when the server has
// answered, or at once if it resumes with early data; before that it is zero (SES-067).
func (s *Session) MaxStreams() MaxStreams {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.server != nil && s.conn.PeerParameters() == nil {
		return s.server.offered
	}
	bidi, uni := s.conn.MaxStreams()
	return MaxStreams{uint64(bidi), uint64(uni)}
}

// offeredStreams reads from a whole ClientHello how many streams its client grants: TLS
// takes its time, and a Handler that runs meanwhile wants to know. What does
// not parse grants nothing, and is the handshake's to refuse.
func offeredStreams(hello []byte) MaxStreams {
	const transportParameters = 57 // RFC 9001 §8.2
	h := field{b: hello}
	h.skip(4 + 2 + 32) // message header, legacy_version, random (RFC 8446 §4.1.2)
	h.vector(1)        // legacy_session_id
	h.vector(2)        // cipher_suites
	h.vector(1)        // legacy_compression_methods
	extensions := field{b: h.vector(2)}
	for !h.short && !extensions.short && len(extensions.b) > 0 {
		kind := extensions.number(2)
		body := extensions.vector(2)
		if kind != transportParameters || extensions.short {
			continue
		}
		p, err := wire.ParseParameters(body, false)
		if err != nil {
			return MaxStreams{}
		}
		return MaxStreams{uint64(p.MaxStreamsBidi), uint64(p.MaxStreamsUni)}
	}
	return MaxStreams{}
}

// field reads TLS's presentation language. Once something is missing, all is.
type field struct {
	b     []byte
	short bool
}

func (f *field) skip(n int) []byte {
	if n > len(f.b) {
		f.b, f.short = nil, true
		return nil
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *field) number(size int) int {
	n := 0
	for _, c := range f.skip(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector reads a length of so many bytes, and what follows it.
func (f *field) vector(size int) []byte { return f.skip(f.number(size)) }
