package quic

import (
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// muxMover is what package transport is to get.
type muxMover interface {
	Owned(*transport.Conn) ([]wire.ConnectionID, []wire.ResetToken)
	Adopt(*transport.Conn, []wire.ConnectionID, []wire.ResetToken)
}

func mover(m any) muxMover {
	if v, ok := m.(muxMover); ok {
		return v
	}
	return noMover{}
}

type noMover struct{}

func (noMover) Owned(*transport.Conn) ([]wire.ConnectionID, []wire.ResetToken) { return nil, nil }
func (noMover) Adopt(*transport.Conn, []wire.ConnectionID, []wire.ResetToken)  {}
