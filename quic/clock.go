package quic

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// started is where the package's clock starts to tick.
var started = time.Now()

// startedAt is started in nanoseconds since 1970. It makes a mono.Time mean the
// same in every process, so that tokens made with a shared secret keep their age.
var startedAt = started.UnixNano()

// now returns the time for the machine below: a reading that never goes back.
func now() mono.Time { return mono.Time(startedAt + int64(time.Since(started))) }
