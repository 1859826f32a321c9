package evil

import "encoding/binary"

// Extensions of TLS that QUIC cares for.
const (
	ExtALPN        uint16 = 0x10
	ExtEarlyData   uint16 = 0x2a
	ExtParams      uint16 = 0x39   // RFC 9001 §8.2
	ExtParamsDraft uint16 = 0xffa5 // before the RFC
)

// Messages of TLS that carry extensions to be edited, by their types of RFC 8446 §4.
const (
	tlsClientHello         = 1
	tlsEncryptedExtensions = 8
)

// EditExtensions rewrites the extensions of each whole ClientHello and
// EncryptedExtensions in a run of handshake messages: edit returns the type and body
// to put in an extension's place, keep false to leave it out.
func EditExtensions(messages []byte, edit func(ext uint16, body []byte) (uint16, []byte, bool)) (out []byte) {
	for len(messages) >= 4 {
		n := 4 + int(messages[1])<<16 + int(messages[2])<<8 + int(messages[3])
		if n > len(messages) {
			break
		}
		m := messages[:n]
		messages = messages[n:]
		at := 4
		switch m[0] {
		case tlsClientHello:
			at += 2 + 32                                   // version, random
			at += 1 + int(m[at])                           // session ID
			at += 2 + int(binary.BigEndian.Uint16(m[at:])) // cipher suites
			at += 1 + int(m[at])                           // compression methods
		case tlsEncryptedExtensions:
		default:
			out = append(out, m...)
			continue
		}
		var list []byte
		for b := m[at+2:]; len(b) >= 4; {
			size := int(binary.BigEndian.Uint16(b[2:]))
			ext, body, keep := edit(binary.BigEndian.Uint16(b), b[4:4+size])
			if keep {
				list = binary.BigEndian.AppendUint16(list, ext)
				list = binary.BigEndian.AppendUint16(list, uint16(len(body)))
				list = append(list, body...)
			}
			b = b[4+size:]
		}
		body := append([]byte(nil), m[4:at]...)
		body = binary.BigEndian.AppendUint16(body, uint16(len(list)))
		out = append(out, TLSMessage(m[0], append(body, list...))...)
	}
	return append(out, messages...)
}
