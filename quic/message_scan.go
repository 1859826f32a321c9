package quic

// messageScanner finds the starts of TLS handshake messages in a stream of them:
// a type, a length of three bytes, and so many bytes (RFC 8446 §4).
type messageScanner struct {
	left int32  // bytes of the current message still to come
	size int32  // its length, or so far
	n    uint16 // messages begun
	head int8   // bytes of the next header seen
	kind byte   // its type

	final     byte           // type of the message that TLS answers before the peer may go on; 0: there is none
	behind    bool           // something follows that, and kind is its type
	oddTicket bool           // a ticket was found that must not be
	ticket    *ticketScanner // nil unless the current message is one to be looked into
}

// next returns the type of the next message whose header ends in data, and moves on.
func (m *messageScanner) next(data *[]byte) (kind byte, ok bool) {
	b := *data
	for len(b) > 0 {
		if m.left > 0 {
			n := min(int(m.left), len(b))
			m.left -= int32(n)
			if m.ticket != nil && m.ticket.read(b[:n]) {
				m.oddTicket = true
			}
			b = b[n:]
			continue
		}
		if m.head == 0 {
			m.behind = m.behind || m.n > 0 && m.kind == m.final
			m.kind, m.size = b[0], 0
		} else {
			m.size = m.size<<8 | int32(b[0])
		}
		m.head++
		b = b[1:]
		if m.head == 4 {
			m.head, m.left, m.ticket = 0, m.size, nil
			m.n++
			*data = b
			return m.kind, true
		}
	}
	*data = nil
	return 0, false
}

// answered says that TLS has had all there is, and the peer its answer.
func (m *messageScanner) answered() {
	if m.left == 0 && m.head == 0 {
		m.kind = 0
	}
}

// watchTicket looks into the message that next has found, which is a NewSessionTicket.
func (m *messageScanner) watchTicket() {
	const times = 4 + 4 // lifetime and age_add
	m.ticket = &ticketScanner{skip: times}
}

// ticketScanner reads the body of a NewSessionTicket (RFC 8446 §4.6.1) as it comes, and keeps
// nothing of it:
//
//	lifetime (32) age_add (32) nonce<8> ticket<16> extensions<16>
//
// What is not in order there is for TLS to say.
type ticketScanner struct {
	skip  uint32 // bytes to pass over
	field ticketField
	have  uint8  // bytes of the field so far
	value uint32 // and what they say
	ext   uint32 // type of the current extension
}

// ticketField is a number in a ticket's body.
type ticketField uint8

const (
	ticketNonceLen ticketField = iota
	ticketLen
	ticketExtensionsLen
	ticketExtension
	ticketExtensionLen
	ticketEarlySize
)

// ticketWidths are how many bytes each number has.
var ticketWidths = [...]uint8{1, 2, 2, 2, 2, 4}

// read takes the next bytes, and reports whether they say that early data may have a size
// other than the one that QUIC knows (RFC 9001 §4.6.1).
func (t *ticketScanner) read(b []byte) (odd bool) {
	const earlyData, earlySize = 42, 0xffffffff
	for len(b) > 0 {
		if t.skip > 0 {
			n := min(int64(t.skip), int64(len(b)))
			t.skip -= uint32(n)
			b = b[n:]
			continue
		}
		t.value, t.have = t.value<<8|uint32(b[0]), t.have+1
		if b = b[1:]; t.have < ticketWidths[t.field] {
			continue
		}
		v := t.value
		t.value, t.have = 0, 0
		switch t.field {
		case ticketNonceLen, ticketLen:
			t.skip = v
			t.field++
		case ticketExtensionsLen:
			t.field = ticketExtension
		case ticketExtension:
			t.ext, t.field = v, ticketExtensionLen
		case ticketExtensionLen:
			if t.field = ticketExtension; t.ext == earlyData && v == 4 {
				t.field = ticketEarlySize
			} else {
				t.skip = v
			}
		case ticketEarlySize:
			t.field = ticketExtension
			odd = odd || v != earlySize
		}
	}
	return odd
}
