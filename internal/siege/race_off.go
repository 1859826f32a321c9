//go:build !race

package siege

// Race says that the race detector is on, under which the heap of the process says nothing: every fourth thing that goes back
// into a sync.Pool is dropped then, and with batches of 64 KiB that is megabytes between a collection and the reading.
const Race = false
