//go:build !linux

package main

import (
	"context"
	"errors"
)

// bulk needs the offloads of Linux.
func (raw) bulk(context.Context, *bench) error { return errors.ErrUnsupported }
