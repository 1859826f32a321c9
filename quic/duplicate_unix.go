//go:build unix

package quic

import "syscall"

// duplicate returns another descriptor for what fd describes, which children do not inherit.
func duplicate(fd uintptr) (uintptr, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	d, err := syscall.Dup(int(fd))
	if err != nil {
		return 0, err
	}
	syscall.CloseOnExec(d)
	return uintptr(d), nil
}
