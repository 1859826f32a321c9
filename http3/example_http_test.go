package http3_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// A server for an http.Handler, a client that asks it something, and the server's end in peace.
func ExampleServer() {
	serverTLS, clientTLS := exampleTLS()
	server := &http3.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s asks for %s over %s", r.UserAgent(), r.URL.Path, r.Proto)
		}),
		TLSConfig: serverTLS,
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // ListenAndServe does it for a fixed port
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.ServePacketConn(conn) }()

	transport := &http3.Transport{TLSClientConfig: clientTLS}
	client := &http.Client{Transport: transport}
	request, err := http.NewRequest("GET", "https://"+conn.LocalAddr().String()+"/greeting", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("User-Agent", "somebody")
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
	fmt.Printf("%s %s: %s\n", response.Proto, response.Status, body)

	if err := transport.Close(); err != nil {
		log.Fatal(err)
	}
	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	// Output:
	// HTTP/3.0 200 OK: somebody asks for /greeting over HTTP/3.0
	// http: Server closed
}

// A server of HTTP/3 beside one of HTTP/2 that tells of it, and a client that begins with HTTP/2
// and goes on with HTTP/3.
func ExampleServer_Advertise() {
	serverTLS, clientTLS := exampleTLS()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	listening := make(chan struct{})
	h3 := &http3.Server{
		Addr: "127.0.0.1:0", Handler: handler, TLSConfig: serverTLS, // in earnest ":443", for both
		BaseContext: func(*quic.Socket) context.Context {
			close(listening)
			return context.Background()
		},
	}
	web := &http.Server{Handler: h3.Advertise(handler), TLSConfig: serverTLS.Clone()} // net/http writes into its own
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = web.ServeTLS(listener, "", "") }()
	go func() { _ = h3.ListenAndServe() }()
	defer web.Close()
	defer h3.Close()
	<-listening // before that, nothing is advertised

	transport := &http3.Transport{
		TLSClientConfig: clientTLS,
		QUIC:            quic.ConnectOptions{HandshakeTimeout: 30 * time.Second}, // not 3 s, for busy machines
		Fallback:        &http.Transport{TLSClientConfig: clientTLS.Clone(), ForceAttemptHTTP2: true},
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}
	for range 2 {
		response, err := client.Get("https://" + listener.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(response.Proto)
		response.Body.Close()
	}
	// Output:
	// HTTP/2.0
	// HTTP/3.0
}

// A request and a response with bodies and trailers, and early hints before the response.
func ExampleTransport() {
	address, stop := exampleServer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "Length") // known when the body is over
		n, err := io.Copy(w, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the client sees a response that is cut off
		}
		w.Header().Set("Length", fmt.Sprint(n))
		w.Header().Set(http.TrailerPrefix+"Mood", r.Trailer.Get("Mood"))
	})
	defer stop()
	transport := &http3.Transport{TLSClientConfig: address.client}
	defer transport.Close()

	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			fmt.Println(code, h.Get("Link"))
			return nil
		},
	})
	request, err := http.NewRequestWithContext(ctx, "POST", address.url, strings.NewReader("there and back"))
	if err != nil {
		log.Fatal(err)
	}
	request.ContentLength = -1 // a request with trailers is one without a Content-Length
	request.Trailer = http.Header{"Mood": {"good"}}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %q %v\n", response.StatusCode, body, response.Trailer)
	// Output:
	// 103 </style.css>; rel=preload; as=style
	// 200 "there and back" map[Length:[14] Mood:[good]]
}

// A protocol of its own over an extended CONNECT request (RFC 9220), as WebSocket is one.
func ExampleStreamOf() {
	address, stop := exampleServer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "echo" {
			http.Error(w, "there is nothing but an echo here", http.StatusNotImplemented)
			return
		}
		stream, ok := http3.StreamOf(w) // sends the status, 200
		if !ok {
			return
		}
		_, _ = io.Copy(stream, stream) // until the client ends its side; the stream ends with the handler
	})
	defer stop()
	transport := &http3.Transport{TLSClientConfig: address.client}
	defer transport.Close()

	request, err := http.NewRequest(http.MethodConnect, address.url+"/chat", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set(":protocol", "echo")
	response, err := transport.RoundTrip(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	stream, ok := http3.StreamOfResponse(response)
	if !ok {
		log.Fatal(response.Status)
	}
	fmt.Fprint(stream, "is there anybody?")
	if err := stream.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	echo, err := io.ReadAll(stream)
	fmt.Println(response.Status, string(echo), err)
	// Output: 200 OK is there anybody? <nil>
}

// exampleAddress is where a server is, and what a client must know to trust it.
type exampleAddress struct {
	url    string
	client *tls.Config
}

// exampleServer serves a handler on a port that the system chooses, with extended CONNECT.
func exampleServer(handler http.HandlerFunc) (address exampleAddress, stop func()) {
	serverTLS, clientTLS := exampleTLS()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http3.Server{
		Handler: handler, TLSConfig: serverTLS,
		Options: http3.Options{ExtendedConnect: true},
	}
	go func() { _ = server.ServePacketConn(conn) }()
	return exampleAddress{"https://" + conn.LocalAddr().String(), clientTLS}, func() { server.Close() }
}
