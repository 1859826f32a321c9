package quic

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A handshake with one exchange and an end takes as many datagrams as its bytes need:
// acknowledgements, HANDSHAKE_DONE, tickets, tokens and connection IDs ride with others.
func TestHandshakeDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		go func() {
			s, err := m.server.Accept(t.Context())
			if err != nil {
				return
			}
			if st, err := s.AcceptStream(t.Context()); err == nil {
				io.Copy(io.Discard, st)
				st.End(make([]byte, 1024))
			}
		}()
		var fromClient, fromServer []int               // sizes
		m.net.SetFilter(func(d *dgram.Datagram) bool { // called for one at a time
			if d.Path.Local == memServer {
				fromClient = append(fromClient, len(d.Data))
			} else {
				fromServer = append(fromServer, len(d.Data))
			}
			return false
		})
		c := m.connect(ConnectOptions{Hooks: SessionHooks{SessionTicket: func(_, _ []byte) error { return nil }}})
		st, err := c.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End(make([]byte, 64))
		if n, err := io.Copy(io.Discard, st); n != 1024 || err != nil {
			t.Fatalf("an answer of %d bytes, %v", n, err)
		}
		c.CloseWithError(0, "")
		synctest.Wait()
		// Four each, and one or two more if a goroutine takes a turn before another.
		if len(fromClient) > 6 || len(fromServer) > 5 {
			t.Errorf("datagrams of %v bytes from the client, %v from the server", fromClient, fromServer)
		}
	})
}
