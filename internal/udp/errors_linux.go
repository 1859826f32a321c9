package udp

import "syscall"

const (
	errMessageSize = syscall.EMSGSIZE
	errGone        = syscall.ENONET // what the host does not know of, ICMP says (code 8)
)

func errSoft(e syscall.Errno) bool { return e == errGone }
