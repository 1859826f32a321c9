package trace

import "fmt"

// Frame is one frame, with those of its fields that checks ask for.
type Frame struct {
	Type   uint64
	ID     int64 // of a stream
	Offset int64
	Data   []byte // CRYPTO, STREAM, PATH_CHALLENGE, PATH_RESPONSE, DATAGRAM; a connection ID; a token
	Fin    bool
	ECN    [3]int64 // ACK: counts of ECT(0), ECT(1), CE
}

// Types of frames that checks look for.
const (
	frameAck           = 0x02
	frameAckECN        = 0x03
	frameCrypto        = 0x06
	frameNewToken      = 0x07
	frameStream        = 0x08
	frameNewID         = 0x18
	framePathChallenge = 0x1a
	framePathResponse  = 0x1b
)

// reader takes numbers and bytes from the front of a slice. Once it has failed it
// returns nothing more.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n int64) []byte {
	if n < 0 || n > int64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// number reads a big-endian number of n bytes.
func (r *reader) number(n int64) (v int64) {
	for _, c := range r.bytes(n) {
		v = v<<8 | int64(c)
	}
	return v
}

// varint reads a variable-length integer (RFC 9000 §16).
func (r *reader) varint() int64 {
	if len(r.b) == 0 {
		r.failed = true
		return 0
	}
	n := int64(1) << (r.b[0] >> 6)
	return r.number(n) & (1<<(8*n-2) - 1)
}

// parseFrames reads the frames of a packet; without padding.
func parseFrames(payload []byte) ([]Frame, error) {
	r := &reader{b: payload}
	var list []Frame
	for len(r.b) > 0 {
		if r.b[0] == 0 {
			r.b = r.b[1:]
			continue
		}
		f := Frame{Type: uint64(r.varint())}
		if !f.read(r) || r.failed {
			return list, fmt.Errorf("frame type %#x cannot be read", f.Type)
		}
		list = append(list, f)
	}
	return list, nil
}

// read reads what follows the type; false if the type is not known.
func (f *Frame) read(r *reader) bool {
	switch t := f.Type; {
	case t == 0x01, t == 0x1e, t == 0x1f: // PING, HANDSHAKE_DONE, IMMEDIATE_ACK
	case t == frameAck, t == frameAckECN:
		r.varint()
		r.varint()
		for n := r.varint()*2 + 1; n > 0 && !r.failed; n-- {
			r.varint()
		}
		for i := range f.ECN {
			if t == frameAckECN {
				f.ECN[i] = r.varint()
			}
		}
	case t == frameCrypto:
		f.Offset = r.varint()
		f.Data = r.bytes(r.varint())
	case t == frameNewToken:
		f.Data = r.bytes(r.varint())
	case t >= frameStream && t <= 0x0f:
		f.stream(r)
	case t == 0x04, t == 0x1c: // RESET_STREAM; CONNECTION_CLOSE has two numbers and a text
		f.ID = r.varint()
		r.varint()
		if n := r.varint(); t == 0x1c {
			r.bytes(n)
		}
	case t == 0x05, t == 0x11, t == 0x15: // STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED
		f.ID = r.varint()
		r.varint()
	case t >= 0x10 && t <= 0x17, t == 0x19: // limits, RETIRE_CONNECTION_ID
		r.varint()
	case t == frameNewID:
		r.varint()
		r.varint()
		f.Data = r.bytes(r.number(1))
		r.bytes(16)
	case t == framePathChallenge, t == framePathResponse:
		f.Data = r.bytes(8)
	case t == 0x1d: // CONNECTION_CLOSE of the application
		r.varint()
		r.bytes(r.varint())
	case t == 0x30:
		f.Data = r.bytes(int64(len(r.b)))
	case t == 0x31:
		f.Data = r.bytes(r.varint())
	case t == 0xaf: // ACK_FREQUENCY
		for range 4 {
			r.varint()
		}
	default:
		return false
	}
	return true
}

func (f *Frame) stream(r *reader) {
	f.ID = r.varint()
	if f.Type&4 != 0 {
		f.Offset = r.varint()
	}
	n := int64(len(r.b))
	if f.Type&2 != 0 {
		n = r.varint()
	}
	f.Data, f.Fin = r.bytes(n), f.Type&1 != 0
}

// stream puts CRYPTO frames together.
type stream struct {
	pieces map[int64][]byte
	whole  []byte
}

func (s *stream) add(off int64, data []byte) {
	if s.pieces == nil {
		s.pieces = map[int64][]byte{}
	}
	if len(data) > len(s.pieces[off]) {
		s.pieces[off] = data
	}
	for grown := true; grown; {
		grown = false
		for off, data := range s.pieces {
			have := int64(len(s.whole))
			if off <= have {
				if end := off + int64(len(data)); end > have {
					s.whole, grown = append(s.whole, data[have-off:]...), true
				}
				delete(s.pieces, off)
			}
		}
	}
}

// messages returns the TLS messages that are whole, by type.
func (s *stream) messages() map[byte][]byte {
	m := map[byte][]byte{}
	r := &reader{b: s.whole}
	for len(r.b) >= 4 {
		t := byte(r.number(1))
		body := r.bytes(r.number(3))
		if r.failed {
			break
		}
		m[t] = body
	}
	return m
}
