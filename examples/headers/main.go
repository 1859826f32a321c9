// Headers shows the API document's three header events on streams of HTTP/3, and a push: a
// client's hooks are told each header block of a response, and what the server promises besides.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/cinnabar-quic/cinnabar/examples/selfsigned"
	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	secure, err := selfsigned.Context("localhost")
	if err != nil {
		return err
	}
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{
		ALPN:          http3.ALPN,
		SecureContext: secure,
		Handler: func(q *quic.ServerSession) error {
			session, err := http3.NewSession(&q.Session, http3.Options{})
			if err == nil {
				go serve(ctx, session)
			}
			return err
		},
	})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	return visit(ctx, socket.Address().String(), secure, out)
}

// serve answers requests until the session is over.
func serve(ctx context.Context, session *http3.Session) {
	for {
		stream, err := session.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			if err := answer(stream); err != nil {
				stream.Destroy(err)
			}
		}()
	}
}

// answer sends every kind of header block.
func answer(stream *http3.Stream) error {
	request, err := stream.Headers()
	if err != nil {
		return err
	}
	if err := stream.SubmitInformationalHeaders(http3.Headers{{Name: ":status", Value: "103"}, {Name: "link", Value: "</style.css>; rel=preload"}}); err != nil {
		return err
	}
	pushed, err := stream.PushStream(http3.Headers{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: request.Get(":authority")},
		{Name: ":path", Value: "/style.css"},
	}, http3.PushOptions{})
	if err != nil {
		return err
	}
	if err := send(pushed, "body { color: #e34234 }"); err != nil {
		return err
	}
	return send(stream, "You asked for "+request.Get(":path"))
}

// send sends a response whose trailers say how long it was.
func send(stream *http3.Stream, body string) error {
	if err := stream.SubmitInitialHeaders(http3.Headers{{Name: ":status", Value: "200"}}, http3.HeaderOptions{}); err != nil {
		return err
	}
	if _, err := io.WriteString(stream, body); err != nil {
		return err
	}
	return stream.SubmitTrailingHeaders(http3.Headers{{Name: "length", Value: fmt.Sprint(len(body))}})
}

// visit makes one request, and prints what the hooks are told.
func visit(ctx context.Context, address string, secure *securecontext.Context, out io.Writer) error {
	q, err := quic.Dial(ctx, address, quic.ConnectOptions{ALPN: http3.ALPN, SecureContext: secure, ServerName: "localhost", MaxStreamsUni: 10})
	if err != nil {
		return err
	}
	defer q.Destroy(nil)
	answered, pushed := make(chan struct{}), make(chan struct{})
	session, err := http3.NewSession(&q.Session, http3.Options{Hooks: http3.SessionHooks{
		Stream: func(stream *http3.Stream) error { // a push
			fmt.Fprintln(out, "a push of", stream.Promised().Get(":path"))
			stream.SetHooks(hooks(stream, out, "  pushed", func() { close(pushed) }))
			return nil
		},
	}})
	if err != nil {
		return err
	}
	if err := q.Handshake(ctx); err != nil { // so that the server knows what it may push before it is asked
		return err
	}
	stream, err := session.OpenStream(ctx, http3.StreamOptions{})
	if err != nil {
		return err
	}
	stream.SetHooks(hooks(stream, out, "response", func() { close(answered) }))
	request := http3.Headers{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "localhost"},
		{Name: ":path", Value: "/"},
	}
	if err := stream.SubmitInitialHeaders(request, http3.HeaderOptions{Terminal: true}); err != nil {
		return err
	}
	for _, over := range []chan struct{}{answered, pushed} {
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return session.Shutdown(ctx)
}

// hooks print what they are told. Hooks of a session take turns, so that they need no lock.
func hooks(stream *http3.Stream, out io.Writer, name string, over func()) http3.StreamHooks {
	use := func(event string) func(http3.Headers) error {
		return func(headers http3.Headers) error {
			fmt.Fprint(out, name, " ", event)
			for _, field := range headers {
				fmt.Fprintf(out, " %s=%s", field.Name, field.Value)
			}
			fmt.Fprintln(out)
			return nil
		}
	}
	return http3.StreamHooks{
		InformationalHeaders: use("informationalHeaders"),
		InitialHeaders:       use("initialHeaders"),
		TrailingHeaders:      use("trailingHeaders"),
		PushHeaders: func(headers http3.Headers, id int64) error {
			return use(fmt.Sprint("pushHeaders ", id))(headers)
		},
		Readable: func() error {
			for {
				var data [1024]byte
				n, err := stream.TryRead(data[:])
				switch {
				case err == io.EOF, n == 0 && err == nil: // the end, or all that is there now
					return nil
				case err != nil:
					return err
				}
				fmt.Fprintf(out, "%s data %s\n", name, data[:n])
			}
		},
		Close: over,
	}
}
