//go:build !windows && !linux

package udp

import "syscall"

const (
	errMessageSize = syscall.EMSGSIZE
	errGone        = syscall.EHOSTUNREACH // as Linux's ENONET
)

func errSoft(syscall.Errno) bool { return false }
