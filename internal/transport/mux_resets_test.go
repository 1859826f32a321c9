package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"net/netip"
	"testing"
	"time"
)

// One host gets so many stateless resets and no more, whatever its port; others have
// their own, and a host that was quiet for half a minute begins anew.
func TestS24ResetsPerHost(t *testing.T) {
	besiege(t, 0)
	for _, most := range []int{0, 1, 25} { // 0 is 10
		r := newMuxRig(t, func(mc *MuxConfig) { mc.MaxResetsPerHost = most })
		want := most
		if want == 0 {
			want = limits.Bound(t, "resets-per-host")
		}
		burst := func(host string) (n int) {
			for port := range 50 {
				d := r.short(r.dcid, 100)
				d.Path.Remote = netip.AddrPortFrom(netip.MustParseAddr(host), uint16(1000+port))
				if _, v := r.route(d); v == Reply {
					n++
				}
			}
			return n
		}
		if n := burst("10.1.1.1"); n != want {
			t.Errorf("%d resets to one host, want %d", n, want)
		}
		network := func(n int) (resets int) { // all addresses of 64 bits are one host's
			for i := range 50 {
				d := r.short(r.dcid, 100)
				d.Path.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(n), 8: byte(i), 15: byte(i)}), 1000)
				if _, v := r.route(d); v == Reply {
					resets++
				}
			}
			return resets
		}
		if st := r.mux.Stats(); st.Resets != uint64(want) || st.Ignored != uint64(50-want) || st.RepliesSuppressed != uint64(50-want) {
			t.Errorf("%+v", st)
		}
		if n := burst("10.1.1.2"); n != want {
			t.Errorf("%d resets to another host, want %d", n, want)
		}
		if a, b := network(1), network(2); a != want || b != want {
			t.Errorf("%d and %d resets to two networks, want %d each", a, b, want)
		}
		r.now = r.now.Add(resetQuiet - 1)
		if n := burst("10.1.1.1"); n != 0 {
			t.Errorf("%d resets before the host was quiet for long enough", n)
		}
		r.now = r.now.Add(resetQuiet)
		if n := burst("10.1.1.1"); n != want {
			t.Errorf("%d resets to a host that was quiet, want %d", n, want)
		}
	}
}

// The table of hosts does not grow with the addresses that somebody sends from, and
// what it forgets first is what it has not heard of for longest.
func TestS24ResetHostsBounded(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "reset-hosts")
	var r resetHosts
	now := newMuxRig(t, nil).now
	host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range 5 * most {
		r.take(now, host(i), 1)
		if r.take(now, host(0), 1) && i > 0 {
			t.Fatalf("a host that goes on asking is forgotten after %d others", i)
		}
		if n := len(r.young) + len(r.old); n > 2*most {
			t.Fatalf("%d hosts are remembered", n)
		}
	}
	r.take(now.Add(time.Second), host(1), 1)
	if r.take(now.Add(time.Second), host(5*most-1), 1) {
		t.Error("the newest host is forgotten")
	}
}
