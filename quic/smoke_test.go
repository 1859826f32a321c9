package quic

import (
	"bytes"
	"io"
	"testing"
)

func TestSmoke(t *testing.T) {
	ctx := testContext(t)
	srv, err := Listen(ctx, "127.0.0.1:0", ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Destroy(nil)
	go func() {
		for {
			v, err := srv.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					st, err := v.AcceptStream(ctx)
					if err != nil {
						t.Log("accept stream:", err)
						return
					}
					go func() {
						n, err := io.Copy(st, st)
						t.Log("echoed", n, err)
						st.CloseWrite()
					}()
				}
			}()
		}
	}()
	c, err := Dial(ctx, srv.Address().String(), ConnectOptions{TLS: clientConfig()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("hello, world. "), 1<<16)
	go func() {
		st.Write(want)
		st.CloseWrite()
	}()
	got, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes of %d, %v", len(got), len(want), err)
	}
	t.Logf("%+v", c.Stats())
	if err := c.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}
