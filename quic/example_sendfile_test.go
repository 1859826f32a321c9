package quic_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A server that answers each stream with a part of a file.
func ExampleStream_SendFile() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "poem")
	if err := os.WriteFile(path, []byte("Tyger Tyger, burning bright"), 0o600); err != nil {
		log.Fatal(err)
	}
	serverTLS, clientTLS := certificate()
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "file", TLS: serverTLS, Hooks: quic.SessionHooks{
		Stream: func(stream *quic.Stream) error {
			go stream.SendFile(path, quic.SendOptions{Offset: 6, Length: 5})
			return nil
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)

	session, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "file", TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Destroy(nil)
	stream, err := session.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		log.Fatal(err)
	}
	stream.CloseWrite()
	answer, err := io.ReadAll(stream)
	fmt.Printf("%s %v\n", answer, err)
	// Output: Tyger <nil>
}
