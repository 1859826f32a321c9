//go:build !linux

package siege

import "time"

// OfThread runs something. How long the processor was at it is known on Linux only.
func OfThread(do func()) time.Duration {
	do()
	return 0
}

// OfProcess returns 0: how long the processors have been at this process is known on Linux only.
func OfProcess() time.Duration { return 0 }
