// Package hq is HTTP/0.9 over QUIC, with which the public interoperability runner asks for
// files: a line "GET /name" on a stream of its own, and the bytes of the file back. It is for
// tests.
package hq

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// ALPN is the protocol's name in TLS.
const ALPN = "hq-interop"

const (
	maxLine  = 4096 // bytes of a request
	notFound = 0x01 // what the stream is reset with if there is no such file
)

// Get asks for a path, as "/name", and copies what comes to w. It returns how much that was.
func Get(ctx context.Context, s *quic.Session, path string, w io.Writer) (int64, error) {
	st, err := s.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { st.Destroy(context.Cause(ctx)) })()
	if _, err := st.End([]byte("GET " + path + "\r\n")); err != nil {
		return 0, err
	}
	n, err := st.WriteTo(w)
	if err != nil {
		return n, fmt.Errorf("%s after %d bytes: %w", path, n, err)
	}
	return n, nil
}

// Serve answers the requests of a session until it is over. Open opens the file of a path, and
// is called by many goroutines.
func Serve(ctx context.Context, s *quic.Session, open func(path string) (io.ReadCloser, error)) {
	for {
		st, err := s.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			if err := answer(st, open); err != nil {
				st.Reset(notFound)
				st.Stop(notFound)
			}
		}()
	}
}

func answer(st *quic.Stream, open func(path string) (io.ReadCloser, error)) error {
	path, err := requested(st)
	if err != nil {
		return err
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(st, f); err != nil {
		return err
	}
	return st.Close()
}

// requested reads the path that a request is for. A request may end without a line feed.
func requested(r io.Reader) (path string, err error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxLine), maxLine).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	path, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "GET ")
	if !ok {
		return "", errors.New("hq: not a request for a file")
	}
	return path, nil
}
