package udp

import (
	"runtime"
	"syscall"
)

// FD returns the descriptor of c, which stays c's. There is none on Windows, and none of
// a Mem or of a foreign net.PacketConn that tells of no descriptor.
func FD(c Conn) (fd int, ok bool) {
	s, has := PacketConn(c).(syscall.Conn)
	if !has || runtime.GOOS == "windows" {
		return 0, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(p uintptr) { fd = int(p) })
	return fd, err == nil
}
