package udp

import "sync/atomic"

// counters is Stats as it is counted. The two halves are written by different
// goroutines, mostly on different cores, hence the gap between them.
type counters struct {
	received, receivedBytes, receiveCalls, truncated, dropped atomic.Uint64

	_ [64]byte

	sent, sentBytes, sendCalls, gsoFallbacks, sendErrors, sendFull atomic.Uint64
}

// Add adds the figures of another socket.
func (s *Stats) Add(o Stats) {
	s.Received += o.Received
	s.ReceivedBytes += o.ReceivedBytes
	s.Sent += o.Sent
	s.SentBytes += o.SentBytes
	s.ReceiveCalls += o.ReceiveCalls
	s.SendCalls += o.SendCalls
	s.GSOFallbacks += o.GSOFallbacks
	s.SendErrors += o.SendErrors
	s.SendFull += o.SendFull
	s.Truncated += o.Truncated
	s.Dropped += o.Dropped
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
