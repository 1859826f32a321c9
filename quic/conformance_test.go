package quic

// The violations that a conformance tester provokes in a server, by their numbers,
// and their twins for a client: those in which crypto/tls has a say. The others are
// in internal/transport.

import (
	"crypto/tls"
	"encoding/binary"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// conforms runs a violation against both ends, in subtests named as in the list.
func conforms(t *testing.T, server, client evilRun, want wire.ErrorCode) {
	t.Helper()
	t.Run("server", func(t *testing.T) {
		if got := server.errorOf(t, true); got != want {
			t.Errorf("closed with %v, want %v", got, want)
		}
	})
	t.Run("client", func(t *testing.T) {
		if got := client.errorOf(t, false); got != want {
			t.Errorf("closed with %v, want %v", got, want)
		}
	})
}

var keyUpdate = evil.TLSMessage(evil.TLSKeyUpdate, []byte{0})

// appended puts a message behind what TLS says in packets of a type.
func appended(to wire.PacketType, message []byte) evilRun {
	return evilRun{edit: func(typ wire.PacketType, data []byte) []byte {
		if typ == to && finished(data) {
			data = append(data, message...)
		}
		return data
	}}
}

// finished reports whether a run of handshake messages ends with Finished.
func finished(data []byte) bool {
	const typeFinished = 20
	for len(data) >= 4 {
		n := 4 + int(data[1])<<16 + int(data[2])<<8 + int(data[3])
		if n == len(data) {
			return data[0] == typeFinished
		}
		data = data[min(n, len(data)):]
	}
	return false
}

// RFC 9001 §6
func TestT28KeyUpdateBehindFinished(t *testing.T) {
	run := appended(wire.Handshake, keyUpdate)
	conforms(t, run, run, 0x10a)
}

// RFC 9001 §6
func TestT29KeyUpdateAfterHandshake(t *testing.T) {
	run := evilRun{after: func(e *evilEnd) { e.Insert(wire.OneRTT, keyUpdate) }}
	conforms(t, run, run, 0x10a)
}

// RFC 9001 §8.1. The client's twin is a server that picks what was not offered.
func TestT30NoCommonProtocol(t *testing.T) {
	conforms(t,
		evilRun{config: func(c *tls.Config) { c.NextProtos = []string{"dummy"} }},
		evilRun{edit: editExtensions(func(ext uint16, body []byte) (uint16, []byte, bool) {
			if ext == evil.ExtALPN {
				body = append([]byte{0, 6, 5}, "dummy"...)
			}
			return ext, body, true
		})},
		0x178)
}

func editExtensions(edit func(ext uint16, body []byte) (uint16, []byte, bool)) func(wire.PacketType, []byte) []byte {
	return func(_ wire.PacketType, data []byte) []byte { return evil.EditExtensions(data, edit) }
}

// RFC 9001 §8.2
func TestT31NoTransportParameters(t *testing.T) {
	run := evilRun{edit: editExtensions(func(ext uint16, body []byte) (uint16, []byte, bool) {
		return ext, body, ext != evil.ExtParams
	})}
	conforms(t, run, run, 0x16d)
}

// RFC 9001 §8.2
func TestT32DraftTransportParameters(t *testing.T) {
	run := evilRun{edit: editExtensions(func(ext uint16, body []byte) (uint16, []byte, bool) {
		if ext == evil.ExtParams {
			ext = evil.ExtParamsDraft
		}
		return ext, body, true
	})}
	conforms(t, run, run, 0x16d)
}

// RFC 9001 §8.3. No server has a reason to send EndOfEarlyData either; the same code
// answers it.
func TestT33EndOfEarlyData(t *testing.T) {
	run := evilRun{edit: func(typ wire.PacketType, data []byte) []byte {
		if typ == wire.Handshake && finished(data) {
			data = append(evil.TLSMessage(evil.TLSEndOfEarlyData, nil), data...)
		}
		return data
	}}
	conforms(t, run, run, 0x10a)
}

// S-38, RFC 9001 §4.4, RFC 8446 §4: what TLS has no place for behind the handshake.
func TestS38LateMessages(t *testing.T) {
	besiege(t, 1<<20)
	for _, tt := range []struct {
		name           string
		kind           byte
		server, client wire.ErrorCode
	}{
		{"EndOfEarlyData", evil.TLSEndOfEarlyData, 0x10a, 0x10a},
		{"CertificateRequest", evil.TLSCertificateRequest, 0x10a, wire.ProtocolViolation},
		{"a ClientHello", 1, 0x10a, 0x10a},
		{"an unknown message", 77, 0x10a, 0x10a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := evilRun{after: func(e *evilEnd) { e.Insert(wire.OneRTT, evil.TLSMessage(tt.kind, nil)) }}
			if got := run.errorOf(t, true); got != tt.server {
				t.Errorf("server closed with %v, want %v", got, tt.server)
			}
			if got := run.errorOf(t, false); got != tt.client {
				t.Errorf("client closed with %v, want %v", got, tt.client)
			}
		})
	}
}

// ticket returns a NewSessionTicket that allows this much early data (RFC 8446 §4.6.1).
func ticket(maxEarlyData uint32) []byte {
	body := []byte{0, 0, 0x0e, 0x10, 1, 2, 3, 4, 1, 9, 0, 3, 'a', 'b', 'c', 0, 8, 0, 0x2a, 0, 4}
	return evil.TLSMessage(evil.TLSNewSessionTicket, binary.BigEndian.AppendUint32(body, maxEarlyData))
}

// S-38: the 16 tickets that TLS would bear are harmless, also when it is gone; of one more TestS04TLSMessages tells.
func TestS38ManyTickets(t *testing.T) {
	besiege(t, 1<<20)
	const codeOfOurs = wire.ErrorCode(0x10a)
	run := evilRun{after: func(e *evilEnd) {
		for range maxLateMessages {
			e.Insert(wire.OneRTT, ticket(1<<32-1))
			e.talk()
		}
		if e.Closed != nil {
			e.t.Errorf("closed with %+v", *e.Closed)
		}
		e.Insert(wire.OneRTT, keyUpdate) // still there to refuse this
	}}
	if got := run.errorOf(t, false); got != codeOfOurs {
		t.Errorf("closed with %v, want %v", got, codeOfOurs)
	}
}
