package wire

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// Stream is a STREAM frame (RFC 9000 §19.8). Without HasLen its data runs to the
// end of the packet. Data borrows from the packet.
type Stream struct {
	ID, Offset  int64
	Data        []byte
	Fin, HasLen bool
}

// ParseStream reads a STREAM frame after its type t. A frame that ends beyond
// 1<<62-1, the largest offset of a stream, fails the cursor.
func ParseStream(c *varint.Cursor, t FrameType) Stream {
	f := Stream{ID: c.Int(), Fin: t&streamFin != 0, HasLen: t&streamLen != 0}
	if t&streamOff != 0 {
		f.Offset = c.Int()
	}
	if f.HasLen {
		f.Data = c.VarintBytes()
	} else {
		f.Data = c.Rest()
	}
	if f.Offset+int64(len(f.Data)) > varint.Max {
		c.Fail()
		return Stream{}
	}
	return f
}

// StreamHeaderLen returns the length in bytes of a STREAM frame with dataLen
// bytes of data, without the data: type, stream ID, offset unless it is zero,
// and length if hasLen.
func StreamHeaderLen(id, off int64, dataLen int, hasLen bool) int {
	n := 1 + varint.Len(uint64(id))
	if off != 0 {
		n += varint.Len(uint64(off))
	}
	if hasLen {
		n += varint.Len(uint64(dataLen))
	}
	return n
}

// AppendStreamHeader appends a STREAM frame up to its data, which the caller
// appends: dataLen bytes.
func AppendStreamHeader(b []byte, id, off int64, dataLen int, hasLen, fin bool) []byte {
	b = append(b, byte(streamType(off, hasLen, fin)))
	b = varint.Append(b, uint64(id))
	if off != 0 {
		b = varint.Append(b, uint64(off))
	}
	if hasLen {
		b = varint.Append(b, uint64(dataLen))
	}
	return b
}

func streamType(off int64, hasLen, fin bool) FrameType {
	t := FrameStream
	if off != 0 {
		t |= streamOff
	}
	if hasLen {
		t |= streamLen
	}
	if fin {
		t |= streamFin
	}
	return t
}

// Append appends the frame with its data.
func (f Stream) Append(b []byte) []byte {
	b = AppendStreamHeader(b, f.ID, f.Offset, len(f.Data), f.HasLen, f.Fin)
	return append(b, f.Data...)
}

// Type returns FrameStream with its flags.
func (f Stream) Type() FrameType { return streamType(f.Offset, f.HasLen, f.Fin) }

// String returns the frame for a log, with the length of its data only.
func (f Stream) String() string {
	s := fmt.Sprintf("STREAM id=%d off=%d len=%d", f.ID, f.Offset, len(f.Data))
	if f.Fin {
		s += " fin"
	}
	return s
}

// Crypto is a CRYPTO frame (RFC 9000 §19.6). Data borrows from the packet.
type Crypto struct {
	Offset int64
	Data   []byte
}

// ParseCrypto reads a CRYPTO frame after its type. A frame that ends beyond
// 1<<62-1 fails the cursor.
func ParseCrypto(c *varint.Cursor) Crypto {
	f := Crypto{Offset: c.Int(), Data: c.VarintBytes()}
	if f.Offset+int64(len(f.Data)) > varint.Max {
		c.Fail()
		return Crypto{}
	}
	return f
}

// CryptoHeaderLen returns the length in bytes of a CRYPTO frame with dataLen
// bytes of data, without the data.
func CryptoHeaderLen(off int64, dataLen int) int {
	return 1 + varint.Len(uint64(off)) + varint.Len(uint64(dataLen))
}

// AppendCryptoHeader appends a CRYPTO frame up to its data, which the caller
// appends: dataLen bytes.
func AppendCryptoHeader(b []byte, off int64, dataLen int) []byte {
	b = append(b, byte(FrameCrypto))
	b = varint.Append(b, uint64(off))
	return varint.Append(b, uint64(dataLen))
}

// Append appends the frame with its data.
func (f Crypto) Append(b []byte) []byte {
	return append(AppendCryptoHeader(b, f.Offset, len(f.Data)), f.Data...)
}

// Type returns FrameCrypto.
func (f Crypto) Type() FrameType { return FrameCrypto }

// String returns the frame for a log, with the length of its data only.
func (f Crypto) String() string {
	return fmt.Sprintf("CRYPTO off=%d len=%d", f.Offset, len(f.Data))
}

// Datagram is a DATAGRAM frame (RFC 9221 §4). Without HasLen its data runs to
// the end of the packet. Data borrows from the packet, and may be empty.
type Datagram struct {
	Data   []byte
	HasLen bool
}

// ParseDatagram reads a DATAGRAM frame after its type t.
func ParseDatagram(c *varint.Cursor, t FrameType) Datagram {
	if t == FrameDatagramLen {
		return Datagram{c.VarintBytes(), true}
	}
	return Datagram{Data: c.Rest()}
}

// Append appends the frame with its data.
func (f Datagram) Append(b []byte) []byte {
	b = append(b, byte(f.Type()))
	if f.HasLen {
		b = varint.Append(b, uint64(len(f.Data)))
	}
	return append(b, f.Data...)
}

// Type returns FrameDatagramLen if the frame has a length, else FrameDatagram.
func (f Datagram) Type() FrameType {
	if f.HasLen {
		return FrameDatagramLen
	}
	return FrameDatagram
}

// String returns the frame for a log, with the length of its data only.
func (f Datagram) String() string { return fmt.Sprintf("DATAGRAM len=%d", len(f.Data)) }
