package udp

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const errMessageSize = windows.WSAEMSGSIZE

func errSoft(e syscall.Errno) bool {
	return e == windows.WSAECONNRESET || e == windows.WSAENETRESET || e == windows.WSAECONNREFUSED
}
