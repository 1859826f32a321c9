//go:build !unix && !windows

package quic

import "errors"

// duplicate fails: the system has nothing like it.
func duplicate(uintptr) (uintptr, error) { return 0, errors.ErrUnsupported }
