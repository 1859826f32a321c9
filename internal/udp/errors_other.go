//go:build !windows

package udp

import "syscall"

const errMessageSize = syscall.EMSGSIZE

func errSoft(syscall.Errno) bool { return false }
