package http3

import (
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/qpack"
)

// Field is one field of a header block: a name in lower case, and a value. A pseudo-header
// field's name begins with a colon.
type Field = qpack.Field

// Headers is a header block: its fields in order, pseudo-header fields first, a name that
// is there several times included (STR-013).
type Headers []Field

// Get returns the value of the first field of a name in lower case, "" if there is none.
func (h Headers) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

// joined returns the values of all fields of a name as those of one: in order, with commas
// between them (RFC 9110 §5.3). It is "" if that would have more than so many bytes.
func (h Headers) joined(name string, most int) string {
	var few [4]string
	values, n := few[:0], 0
	for i := range h {
		if h[i].Name != name || h[i].Value == "" {
			continue
		}
		values = append(values, h[i].Value)
		if n += len(h[i].Value) + len(", "); n > most+len(", ") {
			return ""
		}
	}
	return strings.Join(values, ", ")
}

// size is what the block counts against a limit on field sections (RFC 9114 §4.2.2).
func (h Headers) size() uint64 {
	var n uint64
	for i := range h {
		n += h[i].Size()
	}
	return n
}

// maxNames is how many bytes the names of a block's fields may have together, unless the program lets so many fields
// come that each would have fewer than 64. A name is short, and costs more to be read than a value does: one that is
// not can be an entry of the table, and come again for a byte.
const maxNames = 64 << 10

// names returns how many bytes the names of the fields have.
func (h Headers) names() int {
	n := 0
	for i := range h {
		n += len(h[i].Name)
	}
	return n
}

// maxNames is the bound on the names of a block.
func (o *Options) maxNames() int { return max(maxNames, 64*o.MaxHeaderPairs) }

// head is what the pseudo-header fields of a block and its Content-Length say.
type head struct {
	method, scheme, authority, path, protocol string
	status                                    int
	length                                    int64 // of the body, -1 if not declared
	fields                                    int   // where the other fields begin
}

// pseudo is the set of pseudo-header fields that a block has.
type pseudo uint8

const (
	pseudoMethod pseudo = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

func malformed(format string, a ...any) *fault { return streamFault(MessageError, format, a...) }

// take reads the pseudo-header fields and checks all others (RFC 9114 §4.2, §4.3, §10.3). allowed
// are those that a message of this kind may have.
func (m *head) take(h Headers, allowed pseudo) (pseudo, *fault) {
	var have pseudo
	m.length, m.fields = -1, len(h)
	for i := range h {
		name, value := h[i].Name, h[i].Value
		if strings.HasPrefix(name, ":") {
			p, f := m.pseudo(name, value, allowed)
			switch {
			case f != nil:
				return have, f
			case i > m.fields:
				return have, malformed("pseudo-header field %s behind other fields", name)
			case have&p != 0:
				return have, malformed("pseudo-header field %s comes twice", name)
			}
			have |= p
			continue
		}
		m.fields = min(m.fields, i)
		if f := m.field(name, value, allowed&pseudoMethod != 0); f != nil {
			return have, f
		}
	}
	return have, nil
}

func (m *head) pseudo(name, value string, allowed pseudo) (pseudo, *fault) {
	var p pseudo
	if !validValue(value) {
		return 0, malformed("value of %s has a control character", name)
	}
	switch name {
	case ":method":
		p, m.method = pseudoMethod, value
	case ":scheme":
		p, m.scheme = pseudoScheme, value
	case ":authority":
		p, m.authority = pseudoAuthority, value
	case ":path":
		p, m.path = pseudoPath, value
	case ":protocol":
		p, m.protocol = pseudoProtocol, value
	case ":status":
		p = pseudoStatus
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || len(value) != 3 || n < 100 || n > 599 {
			return 0, malformed(":status %q, want 100 to 599", value)
		}
		m.status = int(n)
	}
	if p&allowed == 0 {
		return 0, malformed("pseudo-header field %q does not belong here", name)
	}
	return p, nil
}

// field checks one ordinary field.
func (m *head) field(name, value string, request bool) *fault {
	if !validName(name) {
		return malformed("field name %q, want a token in lower case", name)
	}
	if !validValue(value) {
		return malformed("value of field %s has a control character", name)
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return malformed("field %s is of HTTP/1.1 only", name)
	case "te":
		if !request || value != "trailers" { // RFC 9114 §4.2
			return malformed("field te is %q, want trailers, and that in a request", value)
		}
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || m.length >= 0 {
			return malformed("content-length %q, want one number", value)
		}
		m.length = int64(n)
	}
	return nil
}

// What a byte may stand in.
const (
	inName  = 1 << iota // a field's name: a token in lower case
	inValue             // a field's value: no control character but the tab
)

// places is where each byte may stand.
var places = func() (t [256]byte) {
	for i := range t {
		c := byte(i)
		if c < 0x80 && httpguts.IsTokenRune(rune(c)) && (c < 'A' || c > 'Z') {
			t[i] |= inName
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[i] |= inValue
		}
	}
	return t
}()

func validName(name string) bool { return name != "" && all(name, inName) }

// validValue looks at eight bytes at a time, and at each for itself if one of them is no plain one: beyond ASCII, a
// control character, or 0x7f.
func validValue(value string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i <= len(value)-8; i += 8 {
		s := value[i : i+8]
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		odd := w | (w + each) | ^((w | high) - ' '*each)
		if odd&high != 0 && !all(s, inValue) {
			return false
		}
	}
	return all(value[i:], inValue)
}

// all reports whether all bytes may stand in a place.
func all(s string, place byte) bool {
	for i := 0; i < len(s); i++ {
		if places[s[i]]&place == 0 {
			return false
		}
	}
	return true
}

// parseRequest checks the header block of a request (RFC 9114 §4.3.1, §4.4). extended
// says whether CONNECT may have a :protocol (RFC 9220).
func parseRequest(h Headers, extended bool) (m head, f *fault) {
	allowed := pseudoMethod | pseudoScheme | pseudoAuthority | pseudoPath
	if extended {
		allowed |= pseudoProtocol
	}
	have, f := m.take(h, allowed)
	if f != nil {
		return m, f
	}
	connect := m.method == "CONNECT" && have&pseudoProtocol == 0
	switch {
	case !httpguts.ValidHeaderFieldName(m.method):
		return m, malformed("method %q", m.method)
	case have&pseudoProtocol != 0 && m.method != "CONNECT":
		return m, malformed("pseudo-header field :protocol with method %s", m.method)
	case have&pseudoProtocol != 0 && !httpguts.ValidHeaderFieldName(m.protocol):
		return m, malformed("protocol %q", m.protocol)
	case connect && have != pseudoMethod|pseudoAuthority:
		return m, malformed("CONNECT has :authority and no other pseudo-header field")
	case !connect && have&pseudoScheme == 0, !connect && have&pseudoPath == 0:
		return m, malformed("request without :scheme or :path")
	}
	return m, m.target(h, have, connect)
}

// target checks scheme, authority and path.
func (m *head) target(h Headers, have pseudo, connect bool) *fault {
	host, hosts := "", 0
	for i := m.fields; i < len(h); i++ {
		if h[i].Name == "host" {
			host = h[i].Value
			hosts++
		}
	}
	web := connect || m.web()
	switch {
	case hosts > 1:
		return malformed("field host comes twice")
	case have&pseudoAuthority == 0:
		m.authority = host
	case hosts == 1 && host != m.authority:
		return malformed("host %q is not the authority %q", host, m.authority)
	}
	switch {
	case web && m.authority == "":
		return malformed("request without an authority")
	case web && !validAuthority(m.authority):
		return malformed("authority %q", m.authority)
	case connect && !hasPort(m.authority):
		return malformed("authority %q, want a host and a port", m.authority)
	case connect:
		return nil
	case !validScheme(m.scheme):
		return malformed("scheme %q", m.scheme)
	case web && !validPath(m.path, m.method):
		return malformed("path %q", m.path)
	}
	return nil
}

// web reports whether the scheme is one of those whose authorities and paths have rules of their own here.
func (m *head) web() bool {
	return strings.EqualFold(m.scheme, "http") || strings.EqualFold(m.scheme, "https")
}

// validAuthority reports whether a host and port are made of what these are made of; user
// information does not belong there (RFC 9114 §4.3.1).
func validAuthority(s string) bool {
	return httpguts.ValidHostHeader(s) && !strings.ContainsAny(s, "@/?#\\ ")
}

// hasPort reports whether an authority names a host and a port, as that of CONNECT does (RFC 9114 §4.4, RFC 9110 §9.3.6).
func hasPort(authority string) bool {
	host, port, err := net.SplitHostPort(authority)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && bad == nil && n > 0
}

func validScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		letter, other := 'a' <= c && c <= 'z', '0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return s != ""
}

func validPath(s, method string) bool {
	if s == "*" {
		return method == "OPTIONS"
	}
	if !strings.HasPrefix(s, "/") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}

// parseResponse checks the header block of a response (RFC 9114 §4.3.2).
func parseResponse(h Headers) (m head, f *fault) {
	have, f := m.take(h, pseudoStatus)
	switch {
	case f != nil:
		return m, f
	case have&pseudoStatus == 0:
		return m, malformed("response without :status")
	case m.status == 101:
		return m, malformed("status 101 does not exist in HTTP/3") // RFC 9114 §4.5
	}
	return m, nil
}

// parseTrailers checks a trailer block: it has no pseudo-header fields (RFC 9114 §4.3).
func parseTrailers(h Headers) *fault {
	var m head
	_, f := m.take(h, 0)
	return f
}

// bodiless reports whether a response has no body, whatever its Content-Length says (RFC
// 9110 §6.4.1).
func bodiless(method string, status int) bool {
	return method == "HEAD" || status == 204 || status == 304 || status < 200
}
