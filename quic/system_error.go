package quic

import (
	"errors"
	"syscall"
)

// SystemError says that the system has refused something that was asked of an endpoint's
// UDP socket. It unwraps to the system's own error: errors.As finds an *os.SyscallError and
// the syscall.Errno, and errors.Is compares with the latter.
type SystemError struct {
	Op  string // the call, as "Endpoint.SetTTL"
	Why string // what is wrong, in words; "" leaves it to Err
	Err error
}

// Error names the call, what was wrong with it, and the system's words.
func (e *SystemError) Error() string {
	s := "quic: " + e.Op + ": "
	if e.Why != "" {
		s += e.Why + ": "
	}
	return s + e.Err.Error()
}

// Code returns the system's name of the error, as "EINVAL", or "ERR_SYSTEM_ERROR" for the
// rarer ones.
func (e *SystemError) Code() string {
	var errno syscall.Errno
	errors.As(e.Err, &errno)
	for _, n := range errnoNames {
		if n.errno == errno {
			return n.name
		}
	}
	return CodeSystem
}

// Unwrap returns the system's error.
func (e *SystemError) Unwrap() error { return e.Err }

var errnoNames = []struct {
	errno syscall.Errno
	name  string
}{
	{syscall.EBADF, "EBADF"},
	{syscall.EINVAL, "EINVAL"},
	{syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"},
	{syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
	{syscall.EOPNOTSUPP, "EOPNOTSUPP"},
	{syscall.EADDRINUSE, "EADDRINUSE"},
	{syscall.ENODEV, "ENODEV"},
	{syscall.ENOBUFS, "ENOBUFS"},
	{syscall.ENOMEM, "ENOMEM"},
	{syscall.ENOPROTOOPT, "ENOPROTOOPT"},
	{syscall.EACCES, "EACCES"},
	{syscall.EPERM, "EPERM"},
}
