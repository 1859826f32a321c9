package quic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What a client remembers with a ticket has nothing in it that was for one connection only (RFC 9000 §7.4.1,
// §9.6.2), and all limits.
func TestRememberedParams(t *testing.T) {
	id := wire.MakeConnectionID([]byte("12345678"))
	p, d := wire.DefaultParameters(), wire.DefaultParameters()
	p.HasOriginalDCID, p.OriginalDCID = true, id
	p.HasInitialSCID, p.InitialSCID = true, id
	p.HasRetrySCID, p.RetrySCID = true, id
	p.HasResetToken = true
	p.AckDelayExponent, p.MaxAckDelay = 7, 77*time.Millisecond
	p.PreferredAddress = &wire.PreferredAddress{IPv4: netip.MustParseAddrPort("192.0.2.7:7"), ID: id}
	p.MaxData, p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 1, 2, 3, 4
	p.MaxStreamsBidi, p.MaxStreamsUni, p.ActiveCIDLimit, p.MaxDatagramFrame = 5, 6, 7, 8
	q, err := wire.ParseParameters(rememberedParams(&p), true)
	if err != nil {
		t.Fatal(err)
	}
	if q.HasOriginalDCID || q.HasInitialSCID || q.HasRetrySCID || q.HasResetToken || q.PreferredAddress != nil ||
		q.AckDelayExponent != d.AckDelayExponent || q.MaxAckDelay != d.MaxAckDelay {
		t.Errorf("%+v is for one connection", q)
	}
	if q.MaxData != 1 || q.MaxStreamDataBidiLocal != 2 || q.MaxStreamDataBidiRemote != 3 || q.MaxStreamDataUni != 4 ||
		q.MaxStreamsBidi != 5 || q.MaxStreamsUni != 6 || q.ActiveCIDLimit != 7 || q.MaxDatagramFrame != 8 {
		t.Errorf("limits %+v", q)
	}
}
