package transport

import "testing"

// A stream that is reset while it waits to send data leaves the queue, even if
// the packet has no room for the RESET_STREAM: the loop over the queue ends.
func TestResetLeavesDataQueue(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	c := p.client.conn
	s := c.OpenStream(p.now, false)
	if _, err := c.Write(s, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	c.Reset(s, 1)
	c.writeDatagram(p.now, make([]byte, 0, 90), all)
	if !c.streams.ready.empty() {
		t.Error("the stream still waits to send data")
	}
}
