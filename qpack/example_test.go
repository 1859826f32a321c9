package qpack_test

import (
	"fmt"
	"log"

	"github.com/cinnabar-quic/cinnabar/qpack"
)

// Two requests of a client to a server that has a table of 4096 bytes and lets 16
// streams wait for it. What would travel on QUIC streams is handed over directly.
func Example() {
	var client qpack.Encoder
	client.SetLimits(4096, 16) // the server's SETTINGS
	server := qpack.NewDecoder(4096, 16)

	request := []qpack.Field{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "www.example.com"},
		{Name: ":path", Value: "/"},
		{Name: "user-agent", Value: "cinnabar"},
		{Name: "authorization", Value: "Bearer 1234", Sensitive: true},
	}
	for _, stream := range []int64{0, 4} {
		section := client.AppendSection(nil, stream, request)

		// The encoder stream.
		instructions := client.Instructions()
		if err := server.Receive(instructions); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("stream %d: %d bytes, and %d of instructions\n", stream, len(section), len(instructions))
		client.Sent(len(instructions))

		// The request's stream.
		fields, err := server.Decode(nil, stream, section, qpack.Limit{Size: 16384, Fields: 100})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(fields), fields[2].Value, fields[5].Sensitive)

		// The decoder stream.
		answer := server.Instructions()
		if err := client.Receive(answer); err != nil {
			log.Fatal(err)
		}
		server.Sent(len(answer))
	}
	// Output:
	// stream 0: 18 bytes, and 26 of instructions
	// 6 www.example.com true
	// stream 4: 18 bytes, and 0 of instructions
	// 6 www.example.com true
}
