package transport

import "testing"

// Data that was lost goes again although its stream waits for the connection's
// credit: it took its credit the first time, and without it the peer cannot
// grant more.
func TestLostDataNeedsNoCredit(t *testing.T) {
	for _, lost := range []int{1, 2, 3} {
		p := newPair(t, func(n *node, c *Config, _ *MuxConfig) {
			if n.name == "client" {
				c.Params.MaxData = 8000 // less than the initial window
				c.MaxConnWindow = 8000
			}
		})
		p.handshake()
		count := 0
		p.drop = func(from *node, b []byte) bool {
			if from != p.server || len(b) < 1000 {
				return false
			}
			count++
			return count == lost
		}
		p.transfer(100 << 10)
	}
}
