package quic

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/qlog"
)

// QLogFormat is how the logs of a socket's sessions are serialised (SES-084).
type QLogFormat uint8

const (
	// QLogSeq is JSON text sequences (RFC 7464): a record for each event, which can be read
	// while the log grows.
	QLogSeq QLogFormat = iota
	// QLogJSON is a single JSON text, which is whole when the session is over.
	QLogJSON
)

// How many bytes of a log wait for its reader, and for a QLogWriter.
const (
	qlogUnread    = 1 << 20
	qlogUnwritten = 64 << 20
)

// sessionLog is the file of a session's log on its way out. It does not know the
// session, so that one who keeps a reader does not keep the session.
//
// Its lock is a leaf: it is taken with any other held, and no other under it.
type sessionLog struct {
	writer func(*Session) io.Writer // SocketOptions.QLogWriter; nil if the log is read
	open   bool                     // QLog returns it; under the session's lock, as begun
	begun  bool                     // something has come

	mu      sync.Mutex
	grown   sync.Cond // something came, or the end
	spool   *qlog.Spool
	writing bool // a goroutine writes, or is to be started
	failed  bool // the writer has failed
}

// newSessionLog begins the file of a session that has just been made.
func newSessionLog(s *Session) *sessionLog {
	o := &s.socket.opts
	l := &sessionLog{writer: o.QLogWriter, open: s.conn.Server()}
	l.grown.L = &l.mu
	h := qlog.Header{
		Title:        "cinnabar",
		VantagePoint: "client",
		GroupID:      s.conn.QLogGroup(),
		WallClock:    time.Unix(0, int64(s.conn.QLog().Start())),
	}
	if s.conn.Server() {
		h.VantagePoint = "server"
	}
	limit := qlogUnread
	if l.writer != nil {
		limit = qlogUnwritten
	}
	l.spool = qlog.NewSpool(qlog.Format(o.QLogFormat), limit, h)
	return l
}

// QLog returns the log of the session's events after the schemas of
// draft-ietf-quic-qlog, nil if there is none (SES-081). Read waits for events, and returns
// io.EOF when all is read of a session that is over and has said its last words, up to
// three probe timeouts after its end. 1 MiB is kept for a reader that does not read; of what comes
// beyond, whole events are dropped, and the log says how many.
//
// A server session with SocketOptions.QLog has it from the start, also inside its Handler
// (SES-082). A client session with ConnectOptions.QLog has it from the moment when the QLog
// hook is told, or would be if it had one (SES-083): directly after Connect it may still be
// nil, and after Handshake it is there. The hook is the sure way to it. With SocketOptions.QLogWriter it is nil.
func (s *Session) QLog() io.Reader {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if l := s.log; l != nil && l.open && l.writer == nil {
		return (*qlogReader)(l)
	}
	return nil
}

// qlogReader is a sessionLog as who reads it sees it.
type qlogReader sessionLog

// Read reads what there is, and waits for something.
func (r *qlogReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l := (*sessionLog)(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.spool.Len() == 0 {
		if l.spool.Ended() {
			return 0, io.EOF
		}
		l.grown.Wait()
	}
	return l.spool.Read(p), nil
}

// stamp tells the machine's log the time, before a command that does not.
func (s *Session) stamp() {
	if s.log != nil {
		s.conn.QLogTime(now())
	}
}

// keepLog takes what the machine has logged. It is called before the session's lock is let go.
func (s *Session) keepLog() {
	l, from := s.log, s.conn.QLog()
	if from == nil {
		return // the writer has failed
	}
	over := s.life == sessionGone
	if from.Empty() && !over {
		return
	}
	if !l.begun {
		l.begun = true
		if s.client != nil && l.writer == nil {
			s.post(true, s.tellLog)
		}
	}
	if l.put(from.Take()); over {
		l.finish()
	}
	if l.writer != nil && l.start() {
		s.after |= afterLog
	}
}

// tellLog makes a client's log known, and tells the QLog hook.
func (s *Session) tellLog() {
	s.mu.Lock()
	s.log.open = true
	h := s.hooks
	s.unlock(flushNone)
	if h == nil || h.QLog == nil {
		return
	}
	if err := call(func() error { return h.QLog(s.QLog()) }); err != nil {
		s.Destroy(err)
	}
}

func (l *sessionLog) put(records []byte, dropped uint64) {
	l.mu.Lock()
	l.spool.Put(records, dropped)
	l.mu.Unlock()
	l.grown.Broadcast()
}

// finish ends the log.
func (l *sessionLog) finish() {
	l.mu.Lock()
	l.spool.Finish()
	l.mu.Unlock()
	l.grown.Broadcast()
}

// dropped returns how many events found no room; l may be nil.
func (l *sessionLog) dropped() uint64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spool.Dropped()
}

// start reports whether a goroutine is to be started that writes.
func (l *sessionLog) start() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing || l.failed {
		return false
	}
	l.writing = true
	return true
}

// writeLog writes what there is of the log to the program's writer. It runs without locks,
// on a goroutine that ends when there is nothing more to write.
func (s *Session) writeLog() {
	l := s.log
	buf := slabs.Get()
	defer slabs.Put(buf)
	for {
		n, ended := l.next(buf)
		if n == 0 && !ended {
			return
		}
		err := call(func() error { return s.toWriter(buf[:n], ended) })
		if err != nil {
			if !ended {
				_ = call(func() error { return s.toWriter(nil, true) }) // one error is enough
			}
			s.stopLog(err)
			return
		}
		if ended {
			return
		}
	}
}

// next takes the next piece of the log. If there is none, the goroutine's time is over;
// ended says that the log's is too.
func (l *sessionLog) next(buf []byte) (n int, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = l.spool.Read(buf); n > 0 {
		return n, false
	}
	if l.spool.Ended() {
		return 0, true // and writing stays true: there is no other goroutine
	}
	l.writing = false
	return 0, false
}

// toWriter writes a piece, or closes the writer at the end.
func (s *Session) toWriter(b []byte, ended bool) error {
	if s.logWriter == nil {
		if ended && len(b) == 0 {
			return nil // it could not even be made
		}
		if s.logWriter = s.log.writer(s); s.logWriter == nil {
			return errNoLogWriter
		}
	}
	if len(b) > 0 {
		n, err := s.logWriter.Write(b)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		return err
	}
	if c, ok := s.logWriter.(io.Closer); ok && ended {
		return c.Close()
	}
	return nil
}

// errNoLogWriter says that a QLogWriter wants no log of a session.
var errNoLogWriter = errors.New("quic: no writer for the log")

// stopLog ends the log of a session whose writer has failed. The session goes on.
func (s *Session) stopLog(err error) {
	l := s.log
	l.mu.Lock()
	l.failed = true
	l.spool.Discard()
	l.mu.Unlock()
	s.mu.Lock()
	s.conn.StopQLog()
	f := s.socket.opts.Logf
	s.unlock(flushNone)
	if f != nil && err != errNoLogWriter {
		_ = call(func() error { f("quic: the log of a session ends: %v", err); return nil })
	}
}
