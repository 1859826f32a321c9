package sim

import "github.com/cinnabar-quic/cinnabar/internal/mono"

// When returns a node that sends datagrams through another one while due says
// so, which is asked for every one, and past it otherwise. So a fault can wait
// for something that has no fixed time, such as the end of a handshake.
func When(due func(now mono.Time) bool, node Node) Node { return &when{due, node} }

type when struct {
	due  func(now mono.Time) bool
	node Node
}

func (n *when) pass(h *hop, p packet) {
	if n.due(h.at) {
		n.node.pass(h, p)
		return
	}
	h.forward(p, 0)
}
