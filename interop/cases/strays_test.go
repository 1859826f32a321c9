package cases

import (
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// What a front sends to a client that is gone comes to a back that has got its port: it is not
// the server's. What comes from any address of the server is, even one that clients do not know.
func TestStrays(t *testing.T) {
	p, err := newProxy(1, &table[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	servers := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:10001"), netip.MustParseAddrPort("127.0.0.1:10002")}
	p.serve(servers)
	client, foreign := netip.MustParseAddrPort("127.0.0.1:10003"), netip.MustParseAddrPort("127.0.0.1:10004")
	front := p.fronts[0].conn.LocalAddr()
	p.mu.Lock()
	defer p.mu.Unlock() // before Close, which takes it
	for _, from := range []netip.AddrPort{front, servers[0], foreign, servers[1]} {
		p.fromServer(client, &dgram.Datagram{Path: dgram.Path{Remote: from}, Data: []byte{0x40}})
	}
	var seen []netip.AddrPort
	for _, d := range p.server {
		seen = append(seen, d.From)
	}
	if len(seen) != 2 || seen[0] != servers[0] || seen[1] != servers[1] {
		t.Errorf("seen from %v, want %v", seen, servers)
	}
	if p.strays != 2 {
		t.Errorf("%d strays, want 2", p.strays)
	}
}
