//go:build !linux

package main

import (
	"context"
	"errors"
)

// These need the offloads of Linux.

func (raw) bulk(context.Context, *bench) error { return errors.ErrUnsupported }

func (raw) bulkSessions(context.Context, *bench) error { return errors.ErrUnsupported }
