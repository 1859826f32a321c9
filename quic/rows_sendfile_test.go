package quic

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// fileOf writes a file of n bytes that do not repeat, and returns its path and its content.
func fileOf(t *testing.T, n int) (string, []byte) {
	t.Helper()
	data := make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(data)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// descriptorsOf counts the process's descriptors of a file, where the system tells of them.
func descriptorsOf(path string) (n int) {
	const all = "/proc/self/fd"
	list, _ := os.ReadDir(all)
	for _, d := range list {
		if to, err := os.Readlink(filepath.Join(all, d.Name())); err == nil && to == path {
			n++
		}
	}
	return n
}

func position(t *testing.T, f *os.File) int64 {
	t.Helper()
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		t.Fatalf("the descriptor is of no use any more: %v", err)
	}
	return at
}

// sent runs send on a new stream of the client's and returns what the server reads from it.
func sent(t *testing.T, p *pair, send func(st *Stream) error) []byte {
	t.Helper()
	st := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
	failed := make(chan error, 1)
	go func() { failed <- send(st) }()
	got, err := io.ReadAll(mustAccept(t, &p.server.Session))
	if err != nil {
		t.Errorf("the peer's read: %v", err)
	}
	if err := <-failed; err != nil {
		t.Errorf("sending: %v", err)
	}
	<-st.Closed()
	if err := st.Err(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	return got
}

// All of a file is sent, from a path, a descriptor or a handle, from where it is to be and no
// more than there is to be.
func TestRowSendMatrix(t *testing.T) {
	path, data := fileOf(t, 150_000)
	const at = 40 // of a descriptor that has been read from
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		for _, offset := range []struct{ option, fromFile, fromPath int64 }{{0, at, 0}, {None, 0, 0}, {100, 100, 100}} {
			for _, length := range []int64{0, 100} {
				o := SendOptions{Offset: offset.option, Length: length}
				slice := func(from int64) []byte {
					if length == 0 {
						return data[from:]
					}
					return data[from : from+length]
				}
				moved := int64(at)
				if offset.option == 0 {
					moved += int64(len(slice(at)))
				}
				covers(t, "STR-047")
				got := sent(t, p, func(st *Stream) error { return st.SendFile(path, o) })
				if !bytes.Equal(got, slice(offset.fromPath)) {
					t.Errorf("path, %+v: got %d bytes", o, len(got))
				}
				f := openFile(t, path)
				f.Seek(at, io.SeekStart)
				got = sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), o) })
				if !bytes.Equal(got, slice(offset.fromFile)) {
					t.Errorf("descriptor, %+v: got %d bytes", o, len(got))
				}
				if n := position(t, f); n != moved {
					t.Errorf("descriptor, %+v: position is %d, want %d", o, n, moved)
				}
				f.Seek(at, io.SeekStart)
				got = sent(t, p, func(st *Stream) error { return st.SendHandle(f, o) })
				if !bytes.Equal(got, slice(offset.fromFile)) {
					t.Errorf("handle, %+v: got %d bytes", o, len(got))
				}
				if n := position(t, f); n != moved {
					t.Errorf("handle, %+v: position is %d, want %d", o, n, moved)
				}
			}
		}
	})
}

// SendFD and SendHandle send what a descriptor is open for, end the writing side, and leave
// the descriptor as it is.
func TestRowSendFD(t *testing.T) {
	path, data := fileOf(t, 1000)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		f := openFile(t, path)
		covers(t, "SFD-001")
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{}) }); !bytes.Equal(got, data) {
			t.Errorf("a descriptor: got %d bytes", len(got))
		}
		f.Seek(0, io.SeekStart)
		if got := sent(t, p, func(st *Stream) error { return st.SendHandle(f, SendOptions{}) }); !bytes.Equal(got, data) {
			t.Errorf("a handle: got %d bytes", len(got))
		}
		covers(t, "STR-046")
		for range 3 { // again, after the end of the file
			got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: None}) })
			if !bytes.Equal(got, data) {
				t.Errorf("the same descriptor again: got %d bytes", len(got))
			}
		}
		covers(t, "STR-044")
		runtime.GC() // what is forgotten must not close it either
		runtime.GC()
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, 5); n != 10 || err != nil || !bytes.Equal(b, data[5:15]) {
			t.Errorf("the descriptor afterwards: %d, %v", n, err)
		}

		covers(t, "STR-043")
		st := mustOpen(t, &p.client.Session, StreamOptions{})
		if err := st.SendFD(f.Fd(), SendOptions{Offset: None}); err != nil {
			t.Fatal(err)
		}
		if n, err := st.Write([]byte("x")); n != 0 || !errors.Is(err, errWriteClosed) {
			t.Errorf("Write after SendFD: %d, %v", n, err)
		}
		if err := st.SendFD(f.Fd(), SendOptions{Offset: None}); code(err) != "ERR_INVALID_STATE" {
			t.Errorf("SendFD again on a stream: %v", err)
		}
		f.Seek(100, io.SeekStart)
		gone := mustOpen(t, &p.client.Session, StreamOptions{})
		gone.Destroy(nil)
		if err := gone.SendFD(f.Fd(), SendOptions{}); code(err) != "ERR_INVALID_STATE" || position(t, f) != 100 {
			t.Errorf("SendFD on a destroyed stream: %v", err)
		}
		if err := gone.SendHandle(f, SendOptions{}); code(err) != "ERR_INVALID_STATE" || position(t, f) != 100 {
			t.Errorf("SendHandle on a destroyed stream: %v", err)
		}
		if n := gone.Stats().BytesSent; n != 0 {
			t.Errorf("%d bytes were sent on it", n)
		}
		none := mustOpen(t, &p.client.Session, StreamOptions{})
		if err := none.SendHandle(nil, SendOptions{}); !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "option SendHandle.f is missing, want an open file") || !errors.Is(none.Err(), os.ErrInvalid) {
			t.Errorf("SendHandle of no file: %v, and the stream %v", err, none.Err())
		}
		bad := mustOpen(t, &p.client.Session, StreamOptions{})
		if err := bad.SendFD(^uintptr(0), SendOptions{}); !errors.Is(err, syscall.EBADF) || !errors.Is(bad.Err(), syscall.EBADF) {
			t.Errorf("SendFD of no descriptor: %v, and the stream %v", err, bad.Err())
		}
	})
}

// Offset and Length have ranges, and bad ones change nothing.
func TestRowSendOptions(t *testing.T) {
	path, data := fileOf(t, 500)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		f := openFile(t, path)
		f.Seek(50, io.SeekStart)
		st := mustOpen(t, &p.client.Session, StreamOptions{HalfOpen: true})
		refused := func(err error, option string) {
			t.Helper()
			var o *OptionError
			if !errors.As(err, &o) || o.Code() != "ERR_OUT_OF_RANGE" || o.Option != option ||
				!strings.Contains(err.Error(), option) || !strings.Contains(err.Error(), "-2") {
				t.Errorf("%s below None: %v", option, err)
			}
		}
		onError := func(err error) { t.Errorf("OnError was called: %v", err) }
		covers(t, "SFD-002")
		refused(st.SendFD(f.Fd(), SendOptions{Offset: -2, OnError: onError}), "SendOptions.Offset")
		refused(st.SendHandle(f, SendOptions{Offset: -2, OnError: onError}), "SendOptions.Offset")
		covers(t, "SFD-003")
		refused(st.SendFD(f.Fd(), SendOptions{Length: -2, OnError: onError}), "SendOptions.Length")
		refused(st.SendHandle(f, SendOptions{Length: -2, OnError: onError}), "SendOptions.Length")
		covers(t, "SFI-003")
		refused(st.SendFile("no such file", SendOptions{Offset: -2, OnError: onError}), "SendOptions.Offset")
		covers(t, "SFI-004")
		refused(st.SendFile("no such file", SendOptions{Length: -2, OnError: onError}), "SendOptions.Length")
		if position(t, f) != 50 || st.Err() != nil {
			t.Errorf("after bad options: position %d, stream %v", position(t, f), st.Err())
		}
		st.End([]byte("as it was"))
		if got, err := io.ReadAll(mustAccept(t, &p.server.Session)); string(got) != "as it was" || err != nil {
			t.Errorf("the stream after bad options: %q, %v", got, err)
		}

		covers(t, "SFD-002")
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{}) }); !bytes.Equal(got, data[50:]) {
			t.Errorf("no Offset: got %d bytes", len(got))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: 490}) }); !bytes.Equal(got, data[490:]) {
			t.Errorf("Offset 490: got %d bytes", len(got))
		}
		f.Seek(7, io.SeekStart)
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: 100, Length: 10}) }); !bytes.Equal(got, data[100:110]) || position(t, f) != 7 {
			t.Errorf("Offset 100 from position 7: got %d bytes, position %d", len(got), position(t, f))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendHandle(f, SendOptions{Offset: None}) }); !bytes.Equal(got, data) || position(t, f) != 7 {
			t.Errorf("from the start: got %d bytes, position %d", len(got), position(t, f))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendHandle(f, SendOptions{}) }); !bytes.Equal(got, data[7:]) {
			t.Errorf("from position 7: got %d bytes", len(got))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendHandle(f, SendOptions{Offset: 5000}) }); len(got) != 0 {
			t.Errorf("an Offset behind the end: got %d bytes", len(got))
		}
		covers(t, "SFD-003")
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: None, Length: 499}) }); !bytes.Equal(got, data[:499]) {
			t.Errorf("Length 499: got %d bytes", len(got))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: None, Length: None}) }); len(got) != 0 {
			t.Errorf("Length None: got %d bytes", len(got))
		}
		covers(t, "SFI-003")
		if got := sent(t, p, func(st *Stream) error { return st.SendFile(path, SendOptions{Offset: 499}) }); !bytes.Equal(got, data[499:]) {
			t.Errorf("path, Offset 499: got %d bytes", len(got))
		}
		covers(t, "SFI-004")
		if got := sent(t, p, func(st *Stream) error { return st.SendFile(path, SendOptions{Length: 1}) }); !bytes.Equal(got, data[:1]) {
			t.Errorf("path, Length 1: got %d bytes", len(got))
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFile(path, SendOptions{Length: 1 << 40}) }); !bytes.Equal(got, data) {
			t.Errorf("path, a Length of more than there is: got %d bytes", len(got))
		}
	})
}

// SendFile opens and closes the file itself, and keeps little of it in memory.
func TestRowSendFile(t *testing.T) {
	path, data := fileOf(t, 3<<20)
	synctest.Test(t, func(t *testing.T) {
		lost := 0
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond, Filter: func(d *dgram.Datagram) bool {
			lost++
			return lost%50 == 0
		}}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		covers(t, "SFI-001")
		covers(t, "STR-048")
		var f *os.File
		open := func() (_ *os.File, err error) { f, err = os.Open(path); return f, err }
		if got := sent(t, p, func(st *Stream) error { return st.sendFile("", SendOptions{}, true, open) }); !bytes.Equal(got, data) {
			t.Errorf("got %d bytes", len(got))
		}
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file is not closed afterwards: %v", err)
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFile(path, SendOptions{}) }); !bytes.Equal(got, data) {
			t.Errorf("by its path: got %d bytes", len(got))
		}
		if open := descriptorsOf(path); open != 0 {
			t.Errorf("%d descriptors of the file are open afterwards", open)
		}
		// The file of a running program can be read, and nobody may open it to write.
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFile(program, SendOptions{Length: 10}) }); len(got) != 10 {
			t.Errorf("a file that is for reading: got %d bytes", len(got))
		}

		st := mustOpen(t, &p.client.Session, StreamOptions{})
		done := make(chan error)
		go func() { done <- st.SendFile(path, SendOptions{}) }()
		settle(6 * time.Second) // as far as it goes without a reader
		peer := mustAccept(t, &p.server.Session)
		const most = 256<<10 + 16<<10 + 64<<10 // what the peer lets us send, the high water mark, a chunk
		if n := st.Buffered() + peer.Readable(); n > most || peer.Readable() != 256<<10 {
			t.Errorf("%d bytes of the file are in memory, %d of them at the peer", n, peer.Readable())
		}
		if got, err := io.ReadAll(peer); !bytes.Equal(got, data) || err != nil {
			t.Errorf("got %d bytes in the end, %v", len(got), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A file that cannot be opened ends the stream in peace if there is an OnError.
func TestRowSendFileOnError(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		for _, path := range []string{filepath.Join(t.TempDir(), "missing"), t.TempDir()} {
			want := syscall.ENOENT
			if _, err := os.Stat(path); err == nil {
				want = syscall.EISDIR
			}
			var j journal
			st := mustOpen(t, &p.client.Session, StreamOptions{Hooks: StreamHooks{
				Error: func(err error) { j.add("error: %v", err) },
				Close: func() { j.add("close") },
			}})
			var told []error
			err := st.SendFile(path, SendOptions{OnError: func(err error) {
				told = append(told, err)
				j.add("told")
			}})
			covers(t, "SFI-002")
			var pe *os.PathError
			if !errors.As(err, &pe) || pe.Op != "open" || pe.Path != path || !errors.Is(pe.Err, want) {
				t.Errorf("the error is %v", err)
			}
			if len(told) != 1 || told[0] != err {
				t.Errorf("OnError was given %v", told)
			}
			peer := mustAccept(t, &p.server.Session)
			if b, err := io.ReadAll(peer); len(b) != 0 || err != nil {
				t.Errorf("the peer reads %q, %v", b, err)
			}
			if c, reset := peer.ResetReceived(); reset {
				t.Errorf("the peer was sent a reset with %d", c)
			}
			peer.Close()
			<-st.Closed()
			j.want(t, "told", "close")
			if st.Err() != nil {
				t.Errorf("the stream ended with %v", st.Err())
			}
		}
	})
}

// Without OnError it ends the stream with the error.
func TestRowSendFileError(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		path := filepath.Join(t.TempDir(), "missing")
		for _, path := range []string{path, t.TempDir()} {
			var told error
			closed := 0
			st := mustOpen(t, &p.client.Session, StreamOptions{Hooks: StreamHooks{
				Error: func(err error) { told = err },
				Close: func() { closed++ },
			}})
			err := st.SendFile(path, SendOptions{})
			covers(t, "STR-049")
			var pe *os.PathError
			if !errors.As(err, &pe) || pe.Op != "open" || pe.Path != path {
				t.Errorf("the error is %v", err)
			}
			peer := mustAccept(t, &p.server.Session)
			var cut *StreamError
			if b, err := io.ReadAll(peer); len(b) != 0 || !errors.As(err, &cut) {
				t.Errorf("the peer reads %q, %v", b, err)
			}
			peer.Close()
			<-st.Closed()
			synctest.Wait()
			if told != err || closed != 1 || st.Err() != err {
				t.Errorf("told %v and %d closes, Err %v; want %v", told, closed, st.Err(), err)
			}
		}
	})
}

// A stream that is destroyed while its file is being opened sends nothing and tells nobody.
func TestRowSendFileDestroyed(t *testing.T) {
	path, _ := fileOf(t, 1000)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		for _, fails := range []bool{false, true} {
			for _, boom := range []error{nil, errors.New("boom")} {
				st := mustOpen(t, &p.client.Session, StreamOptions{})
				gate, done := make(chan bool), make(chan error)
				var f *os.File
				go func() {
					done <- st.sendFile("Stream.SendFile", SendOptions{OnError: func(err error) { t.Errorf("OnError: %v", err) }}, true,
						func() (_ *os.File, err error) {
							<-gate
							if f, err = os.Open(path); fails {
								return f, os.ErrPermission
							}
							return f, err
						})
				}()
				synctest.Wait()
				st.Destroy(boom)
				synctest.Wait()
				close(gate)
				covers(t, "STR-050")
				if err := <-done; code(err) != "ERR_INVALID_STATE" || boom != nil && !errors.Is(err, boom) {
					t.Errorf("the call: %v", err)
				}
				if _, err := f.Stat(); !fails && !errors.Is(err, os.ErrClosed) {
					t.Errorf("the file is not closed: %v", err)
				}
				f.Close()
				if n := st.Stats().BytesSent; n != 0 {
					t.Errorf("%d bytes were sent", n)
				}
			}
		}
	})
}

// One descriptor for several streams at once: who gets what is not said, but all end.
func TestRowSendFDConcurrent(t *testing.T) {
	path, data := fileOf(t, 1<<20)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		f := openFile(t, path)
		const streams = 8
		var wg sync.WaitGroup
		var mu sync.Mutex
		total := 0
		for i := range streams {
			st := mustOpen(t, &p.client.Session, StreamOptions{})
			wg.Go(func() {
				send := func() error { return st.SendFD(f.Fd(), SendOptions{}) }
				if i%2 == 0 {
					send = func() error { return st.SendHandle(f, SendOptions{}) }
				}
				if err := send(); err != nil {
					t.Errorf("sending: %v", err)
				}
			})
			wg.Go(func() {
				b, err := io.ReadAll(mustAccept(t, &p.server.Session))
				if err != nil {
					t.Errorf("reading: %v", err)
				}
				mu.Lock()
				total += len(b)
				mu.Unlock()
			})
		}
		wg.Wait()
		covers(t, "STR-045")
		if total > streams*len(data) || total < len(data) {
			t.Errorf("%d bytes came", total)
		}
		if got := sent(t, p, func(st *Stream) error { return st.SendFD(f.Fd(), SendOptions{Offset: None}) }); !bytes.Equal(got, data) {
			t.Errorf("the descriptor afterwards: got %d bytes", len(got))
		}
	})
}

// What can happen to a file and to its stream half way.
func TestSendFileHalfWay(t *testing.T) {
	path, data := fileOf(t, 1<<20)
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		// begin sends until the peer's window is full.
		begin := func(f *os.File) (st, peer *Stream, done chan error) {
			st, done = mustOpen(t, &p.client.Session, StreamOptions{}), make(chan error, 1)
			go func() {
				done <- st.sendFile("Stream.SendFile", SendOptions{}, true, func() (*os.File, error) { return f, nil })
			}()
			settle(time.Second)
			return st, mustAccept(t, &p.server.Session), done
		}
		closed := func(f *os.File) {
			t.Helper()
			if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file is not closed: %v", err)
			}
		}
		f := openFile(t, path)
		st, peer, done := begin(f)
		boom := errors.New("boom")
		st.Destroy(boom)
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("stream destroyed: %v", err)
		}
		closed(f)
		if _, err := io.ReadAll(peer); !errors.As(err, new(*StreamError)) {
			t.Errorf("the peer then: %v", err)
		}

		f = openFile(t, path)
		_, peer, done = begin(f)
		f.Close() // its next read fails
		if b, err := io.ReadAll(peer); len(b) >= len(data) || !errors.As(err, new(*StreamError)) {
			t.Errorf("the peer of a file that cannot be read on: %d bytes, %v", len(b), err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file that cannot be read on: %v", err)
		}

		f = openFile(t, path)
		_, peer, done = begin(f)
		if err := os.Truncate(path, 500_000); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(peer); !bytes.Equal(b, data[:500_000]) || err != nil {
			t.Errorf("a file that becomes shorter: %d bytes, %v", len(b), err)
		}
		if err := <-done; err != nil {
			t.Errorf("a file that becomes shorter: %v", err)
		}
		closed(f)

		f = openFile(t, path)
		_, _, done = begin(f)
		p.client.Destroy(boom)
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("session destroyed: %v", err)
		}
		closed(f)
	})
}
