package evil_test

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client whose Handshake packet stands before its Initial one, with reserved bits
// that are not zero and a number that is out of turn; a server, as evil, reads both.
func Example() {
	original := wire.MakeConnectionID([]byte("original"))
	client := evil.NewPeer(evil.Client, original, wire.MakeConnectionID([]byte("client")))
	server := evil.NewPeer(evil.Server, original, wire.MakeConnectionID([]byte("server")))
	client.Scripted(evil.Client)
	server.Scripted(evil.Server)

	datagram := client.Datagram(
		evil.Packet{Type: wire.Handshake, Flip: 0x0c, Frames: []wire.Frame{wire.PathChallenge{}}},
		evil.Packet{Type: wire.Initial, Number: 77, Explicit: true, Frames: []wire.Frame{
			wire.Crypto{Data: evil.Message('C', 300)},
		}},
	)
	packets, err := server.Receive(mono.Time(0), datagram)
	fmt.Println(len(datagram), len(packets), err)

	datagram = client.Say(wire.Initial, wire.Crypto{Offset: 300, Data: []byte("more")})
	packets, err = server.Receive(mono.Time(0), datagram)
	fmt.Println(packets[0].Type, packets[0].PN, packets[0].Frames[0], err)
	// Output:
	// 1200 0 PATH_CHALLENGE 0000000000000000 in a packet of type Handshake
	// Initial 78 CRYPTO off=300 len=4 <nil>
}
