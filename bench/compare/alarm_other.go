//go:build !linux

package main

import "time"

// An alarm waits for points in time, as exactly as the runtime's timers do.
type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }

// wait returns at a time, or at once when that has passed.
func (*alarm) wait(until time.Time) error {
	time.Sleep(time.Until(until))
	return nil
}

func (*alarm) close() {}
