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
// every run to what must be true of any:
//
//	w := sim.NewWorld(seed)
//	server := w.Listen("server", serverAddr, sim.Setup{})
//	client := w.Endpoint("client", clientAddr, sim.Setup{})
//	w.Net.Link(clientAddr, serverAddr, sim.Interop(sim.Loss(5, 0)), sim.Interop())
//	server.OnSession = func(s *sim.Session) { s.Handle = ... }
//	c := client.Connect(serverAddr)
//	err := w.Run(time.Minute, func() bool { return c.Confirmed() })
//
// A Session is one end of a connection with its TLS stack, which is a Script
// unless the Setup says otherwise. What the connection reports goes to Handle;
// Wake and OnWake are the application's own timer. After either the session
// sends what there is to send by itself. Run ends early with an error when an
// end stops making progress without saying so, overdraws its congestion window,
// sends an address that is not validated more than three times what came from
// it, or when Fail was called; Finish looks for what should be gone.
//
// # Seeds
//
// TestSeeds runs whole transfers through random combinations of all faults.
// CINNABAR_SIM_SEEDS says how many seeds it takes, 1 up (100 by default);
// CINNABAR_SIM_SEED says where to begin, alone it runs that one seed:
//
//	CINNABAR_SIM_SEEDS=1000 go test -run '^TestSeeds$' ./internal/sim
//	CINNABAR_SIM_SEED=17 go test -run '^TestSeeds$' -v ./internal/sim
package sim
