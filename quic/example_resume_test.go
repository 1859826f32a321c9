package quic_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Datagrams go when both ends have said that they take them. Nobody sends them again: a program
// that needs an answer asks until it has one.
func ExampleSession_SendDatagram() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverTLS, clientTLS := certificate()
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "x", TLS: serverTLS, MaxDatagramFrameSize: 65535})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)
	go func() {
		session, err := socket.Accept(ctx)
		for err == nil {
			var p []byte
			if p, err = session.ReceiveDatagram(ctx); err == nil {
				session.SendDatagram(append([]byte("echo of "), p...))
			}
		}
	}()

	session, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "x", TLS: clientTLS, MaxDatagramFrameSize: 65535})
	if err != nil {
		log.Fatal(err)
	}
	for {
		if _, err := session.SendDatagram([]byte("ping")); err != nil {
			log.Fatal(err)
		}
		patience, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := session.ReceiveDatagram(patience)
		cancel()
		if err == nil {
			fmt.Printf("%s\n", answer)
			break
		}
	}
	// Output: echo of ping
}

// With a cache of tickets the second session resumes the first: it begins without a round trip, and
// what is written before the server has answered goes as early data, which the server can tell apart
// by Stream.Early.
func ExampleSession_EarlyDataAccepted() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverTLS, clientTLS := certificate()
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "x", TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)
	go func() {
		for {
			session, err := socket.Accept(ctx)
			if err != nil {
				return
			}
			go session.HandleStreams(func(stream *quic.Stream) {
				defer stream.Close()
				question, _ := io.ReadAll(stream)
				fmt.Fprintf(stream, "answer to the %s", question)
			})
		}
	}()

	ticket := make(chan bool, 1)
	clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	options := quic.ConnectOptions{ALPN: "x", TLS: clientTLS, Hooks: quic.SessionHooks{
		SessionTicket: func(_, _ []byte) error {
			select {
			case ticket <- true:
			default:
			}
			return nil
		},
	}}
	for _, question := range []string{"first", "second"} {
		session, err := quic.Dial(ctx, socket.Address().String(), options)
		if err != nil {
			log.Fatal(err)
		}
		stream, err := session.OpenStream(ctx, quic.StreamOptions{})
		if err != nil {
			log.Fatal(err)
		}
		stream.End([]byte(question))
		answer, _ := io.ReadAll(stream)
		fmt.Printf("%s, early data accepted: %v\n", answer, session.EarlyDataAccepted())
		<-ticket // has come; the cache has it
		session.Close()
	}
	// Output:
	// answer to the first, early data accepted: false
	// answer to the second, early data accepted: true
}
