package udp

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const (
	errMessageSize = windows.WSAEMSGSIZE
	errGone        = windows.WSAENETRESET // a time to live that ended
)

func errSoft(e syscall.Errno) bool {
	return e == windows.WSAECONNRESET || e == errGone || e == windows.WSAECONNREFUSED
}
