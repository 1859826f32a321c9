package quic

import (
	"encoding/binary"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9001 §4.6.1: a ticket that allows early data of another size than 0xffffffff closes the
// connection, whether the client keeps tickets or not.
func TestTicketEarlyDataSize(t *testing.T) {
	const alive = wire.ErrorCode(0x10a) // of what is sent then
	for _, tt := range []struct {
		size uint32
		want wire.ErrorCode
	}{{0xffffffff, alive}, {0, wire.ProtocolViolation}, {1, wire.ProtocolViolation}, {0x7fffffff, wire.ProtocolViolation}} {
		run := evilRun{after: func(e *evilEnd) {
			e.Insert(wire.OneRTT, ticket(tt.size))
			e.talk()
			if e.Closed == nil {
				e.Insert(wire.OneRTT, keyUpdate)
			}
		}}
		if got := run.errorOf(t, false); got != tt.want {
			t.Errorf("size %#x: closed with %v, want %v", tt.size, got, tt.want)
		}
	}
}

// However a ticket is cut into pieces, and whatever stands around it.
func TestTicketScanner(t *testing.T) {
	other := []byte{0x12, 0x34, 0, 3, 1, 2, 3}
	early := func(size uint32) []byte { return binary.BigEndian.AppendUint32([]byte{0, 42, 0, 4}, size) }
	body := func(extensions ...[]byte) []byte {
		b := []byte{0, 0, 0x0e, 0x10, 1, 2, 3, 4, 2, 9, 9, 0, 3, 'a', 'b', 'c'}
		n := 0
		for _, e := range extensions {
			n += len(e)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		for _, e := range extensions {
			b = append(b, e...)
		}
		return evil.TLSMessage(evil.TLSNewSessionTicket, b)
	}
	for _, tt := range []struct {
		name   string
		stream []byte
		odd    bool
	}{
		{"none", body(), false},
		{"the one size", body(early(0xffffffff)), false},
		{"another size", body(early(7)), true},
		{"behind another extension", body(other, early(0)), true},
		{"the second ticket", append(body(early(0xffffffff)), body(other, early(1))...), true},
		{"of another length", body([]byte{0, 42, 0, 1, 7}), false}, // for TLS to refuse
		{"without its end", body(other, early(1)[:6]), false},
		{"empty", evil.TLSMessage(evil.TLSNewSessionTicket, nil), false},
	} {
		for step := 1; step <= len(tt.stream); step++ {
			if got := oddTickets(tt.stream, step); got != tt.odd {
				t.Fatalf("%s, in pieces of %d: %v", tt.name, step, got)
			}
		}
	}
}

// oddTickets feeds a client with what a server says after the handshake, in pieces.
func oddTickets(stream []byte, step int) bool {
	c := &ClientSession{}
	c.Session.client = c
	for len(stream) > 0 {
		n := min(step, len(stream))
		if err := c.checkMessages(c.scanner(transport.LevelApp), transport.LevelApp, stream[:n]); err != nil {
			return err.Code == wire.ProtocolViolation
		}
		stream = stream[n:]
	}
	return false
}

// How what a server says is cut into pieces changes nothing, and nothing panics.
func FuzzTickets(f *testing.F) {
	f.Add(ticket(1<<32-1), uint8(1))
	f.Add(append(ticket(1<<32-1), ticket(5)...), uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		if len(stream) > 0 && oddTickets(stream, int(step)+1) != oddTickets(stream, len(stream)) {
			t.Error("pieces make a difference")
		}
	})
}
