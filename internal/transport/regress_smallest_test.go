package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Where there is leave to send at all to an address that is not validated, an ACK frame fits, with the longest connection ID and
// the largest numbers that it can have: one that is due and does not fit keeps its timer in the past.
func TestSmallestDatagramHasRoomForACK(t *testing.T) {
	tc := newTestConn(t, serverSide)
	const most = 1<<62 - 1
	room := tc.conn.smallestDatagram() - (1 + wire.MaxConnectionIDLen + 4) - protect.Overhead
	counts := wire.ECNCounts{ECT0: most, ECT1: most, CE: most}
	if _, ok := wire.AppendAck(nil, room, ranges.Set{{Start: 1, End: most}}, most, &counts); !ok {
		t.Errorf("%d bytes are no room for an ACK frame", room)
	}
}
