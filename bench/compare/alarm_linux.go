package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm waits for points in time. The timers of an idle Go program are up to
// a millisecond late, which is more than most answers take; the kernel's are not.
type alarm struct {
	fd int
	f  *os.File // the same, whose reads wait as those of sockets do
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "timerfd")}, nil
}

// wait returns at a time, or at once when that has passed.
func (a *alarm) wait(until time.Time) error {
	d := time.Until(until)
	if d <= 0 {
		return nil
	}
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(a.fd, 0, &once, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	var expirations [8]byte
	_, err := a.f.Read(expirations[:])
	return err
}

func (a *alarm) close() { a.f.Close() }
