// Package cases plays the public runner's cases over real UDP: the endpoint program at one end,
// another implementation at the other, and the runner's networks as a proxy between them.
package cases
