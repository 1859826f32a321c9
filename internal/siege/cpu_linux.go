package siege

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// OfThread runs something, and returns how long the processor was at it.
func OfThread(do func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	do()
	return clock(unix.CLOCK_THREAD_CPUTIME_ID) - before
}

// OfProcess returns how long the processors have been at this process.
func OfProcess() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
