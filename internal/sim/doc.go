// Package sim is a network in virtual time for tests: datagrams pass a list of
// nodes, one list a direction, and every fault a node commits comes from one
// seed and is counted. The same seed and the same calls give the same run.
//
// # The network
//
// A test alternates between its endpoints and the Network: it sends what they
// transmit, asks Next when something will happen, and takes what Deliver has
// arrived by then. Nothing here waits, and nothing knows the real time.
//
// # Connections over it
//
// A World does that alternating for endpoints of package transport, and holds
// every run to what must be true of any. The example shows how: Listen and
// Endpoint make the ends, Network.Link joins their addresses, Connect starts a
// connection, Run lets things happen until something is true or the time is over.
//
// A Session is one end of a connection with its TLS stack, which is a Script
// unless the Setup says otherwise. What the connection reports goes to Handle;
// Wake and OnWake are the application's own timer. After either the session
// sends what there is to send by itself; commands at other times go through Do.
//
// Run ends early with an error when an end
//
//   - wants to be called again and again at one time and does nothing,
//   - overdraws its congestion window, but for probes,
//   - sends stream data past what the other has granted, as heard on the wire,
//   - sends more than three times what came from an address that has not shown,
//     as heard on the wire, that it wants it,
//
// or when the test calls Fail. Finish looks for what should be gone with the
// connections: entries in the Mux, stream memory.
//
// # Seeds
//
// TestSeeds runs whole transfers through random combinations of all faults.
// CINNABAR_SIM_SEEDS says how many seeds it takes, 1 up (100 by default);
// CINNABAR_SIM_SEED says where to begin, alone it runs that one seed; with
// CINNABAR_SIM_TIME it goes on for that long. CINNABAR_SIM_QLOG=1 turns all logs on.
// At the end come the seeds, the virtual hours, the faults that were injected and the calls of
// programs, each by kind, how many bytes were checked, and what else happened how often. A failure
// prints the command that repeats it.
//
//	CINNABAR_SIM_SEEDS=1000 go test -run '^TestSeeds$' -v ./internal/sim
//	CINNABAR_SIM_TIME=10m go test -timeout 0 -run '^TestSeeds$' -v ./internal/sim
//	CINNABAR_SIM_SEED=17 go test -run '^TestSeeds$' -v ./internal/sim
//
// When its traffic is over, a seed's connections live on for hours of virtual time in
// which they are mostly idle; some end in the middle of everything instead. TestSeedsTLS
// does the same with crypto/tls for a hundredth of the seeds.
package sim
