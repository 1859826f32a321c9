package udp

import "sync/atomic"

// counters is Stats as it is counted. The two halves are written by different
// goroutines, mostly on different cores, hence the gap between them.
type counters struct {
	received, receivedBytes, receiveCalls, truncated, dropped atomic.Uint64

	_ [64]byte

	sent, sentBytes, sendCalls, gsoFallbacks, sendErrors, sendFull atomic.Uint64
}

func (c *counters) Stats() Stats {
	return Stats{
		Received:      c.received.Load(),
		ReceivedBytes: c.receivedBytes.Load(),
		Sent:          c.sent.Load(),
		SentBytes:     c.sentBytes.Load(),
		ReceiveCalls:  c.receiveCalls.Load(),
		SendCalls:     c.sendCalls.Load(),
		GSOFallbacks:  c.gsoFallbacks.Load(),
		SendErrors:    c.sendErrors.Load(),
		SendFull:      c.sendFull.Load(),
		Truncated:     c.truncated.Load(),
		Dropped:       c.dropped.Load(),
	}
}
