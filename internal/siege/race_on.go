//go:build race

package siege

// Race says that the race detector is on, under which the heap of the process is not what it is.
const Race = true
