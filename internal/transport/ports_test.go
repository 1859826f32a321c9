package transport

import (
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The ports that are blocked, as the documentation lists them.
var reflectors = []uint16{0, 17, 19, 53, 111, 123, 137, 138, 161, 389, 500, 1900, 3702, 5353, 5355, 11211}

// From a port of a service that would answer, nothing is answered, no session begins and none
// moves there (RFC 9000 §21.5); all of it is counted.
func TestBlockedPorts(t *testing.T) {
	r := newMuxRig(t, nil)
	open := r.initial(nil, 1200)
	r.want("a client of a good port", open, Initial)
	c := r.mux.Accept(r.now, open, r.cfg)
	id := r.dcid
	odd := func(d *dgram.Datagram, port uint16) *dgram.Datagram {
		d.Path.Remote = netip.AddrPortFrom(d.Path.Remote.Addr(), port)
		return d
	}
	r.dcid = wire.MakeConnectionID([]byte("somebody")) // not there
	for i, port := range reflectors {
		r.want("an Initial", odd(r.initial(nil, 1200), port), Drop)
		r.want("an unknown connection ID", odd(r.short(r.dcid, 100), port), Drop)
		r.want("another version", odd(r.foreign(0x1a2a3a4a, []byte("12345678"), nil, 1200), port), Drop)
		r.want("a session's own packet", odd(r.short(id, 100), port), Drop)
		if st := r.mux.Stats(); st.BlockedPorts != uint64(4*i+4) || st.Ignored != st.BlockedPorts {
			t.Fatalf("port %d: %+v", port, st)
		}
	}
	if got := r.want("a session's own packet from a good port", r.short(id, 100), Deliver); got != c {
		t.Error("it is delivered to another")
	}
	r.want("an Initial of a neighbouring port", odd(r.initial(nil, 1200), 54), Initial)
	n := 0
	for port := range 1 << 16 {
		if reflects(uint16(port)) {
			n++
		}
	}
	if n != len(reflectors) {
		t.Errorf("%d ports are blocked, %d are listed", n, len(reflectors))
	}
}
