package quic

import "syscall"

// duplicate returns another handle for what fd is one of, which children do not inherit.
func duplicate(fd uintptr) (uintptr, error) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0, err
	}
	var d syscall.Handle
	err = syscall.DuplicateHandle(self, syscall.Handle(fd), self, &d, 0, false, syscall.DUPLICATE_SAME_ACCESS)
	return uintptr(d), err
}
