package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// controlSize is room, in bytes, for all that we ask for or send, with some
// to spare for what the former owner of an inherited socket asked for.
const controlSize = 256

// control is a buffer of control messages (cmsg(3)), aligned as the kernel wants it.
type control struct {
	buf  [controlSize / 8]uint64
	used int
}

func (m *control) bytes() *[controlSize]byte { return (*[controlSize]byte)(unsafe.Pointer(&m.buf)) }

// add appends a message with room for size bytes and returns where they are.
func (m *control) add(level, kind int32, size int) unsafe.Pointer {
	b := m.bytes()
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[m.used]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	data := unsafe.Pointer(&b[m.used+unix.CmsgLen(0)])
	m.used += unix.CmsgSpace(size)
	return data
}

// next cuts the first message off messages. kind is -1 when there is none.
func next(messages []byte) (level, kind int32, data, rest []byte) {
	if len(messages) < unix.SizeofCmsghdr {
		return 0, -1, nil, nil
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&messages[0]))
	size := int(h.Len)
	if size < unix.SizeofCmsghdr || size > len(messages) {
		return 0, -1, nil, nil
	}
	data = messages[unix.CmsgLen(0):size]
	step := unix.CmsgSpace(size - unix.CmsgLen(0))
	return h.Level, h.Type, data, messages[min(step, len(messages)):]
}
