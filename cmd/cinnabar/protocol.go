package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The protocol of send and receive. The sender is the client; it opens a
// bidirectional stream for each file, one after the other:
//
//	sender     head, body, end of stream
//	receiver   answer, end of stream
//
// head and answer are messages: two bytes of length, big-endian, and as much JSON,
// 4096 bytes at most. The body is size bytes of data and then their SHA-256,
// 32 bytes. The sender does not wait between head and body. A receiver that does
// not want the file answers at once and asks that the stream be stopped
// (STOP_SENDING with streamRefused), so that a refusal costs no more than what is
// on its way already. The file is stored if, and only if, the answer is "stored".
// Unknown fields are ignored.
const filesALPN = "cinnabar-files/1"

// defaultPort is where receive listens and send connects.
const defaultPort = "4433"

// The application's codes for the end of a session.
const (
	closeDone        = 0 // the client has nothing more to do
	closeInterrupted = 1 // somebody pressed Ctrl-C
	closeIdle        = 2 // nothing was sent for too long
	closeBusy        = 3 // the receiver serves as many senders as it wants to
	closeFailed      = 4 // something else; the reason tells
)

// The application's codes for the end of a stream.
const (
	streamCancelled = 1 // the sender cannot go on
	streamRefused   = 2 // the receiver does not want the file; its answer tells why
)

// Limits of what a peer may send.
const (
	maxMessage = 4096 // bytes of JSON
	maxName    = 255  // bytes of a file's name
	maxText    = 512  // no limit: of what our own demo says
)

// head announces a file.
type head struct {
	Name string `json:"name"`           // without directories
	Size int64  `json:"size"`           // bytes
	Mode uint32 `json:"mode,omitempty"` // permission bits; 0 is the receiver's choice
}

// answer is what has become of a file.
type answer struct {
	Status status `json:"status"`
	Text   string `json:"text,omitempty"` // an explanation
}

// status is the outcome for one file.
type status string

const (
	statusStored  status = "stored"
	statusExists  status = "exists"   // there is a file of this name
	statusBadName status = "bad-name" // not a name that the receiver would use
	statusTooBig  status = "too-big"
	statusDamaged status = "damaged" // the SHA-256 does not match
	statusFailed  status = "failed"  // the receiver's disk, or a protocol error
)

// refusal is a file that the receiver does not store. It is the answer, as an error.
type refusal struct{ answer }

func (r *refusal) Error() string { return r.Text }

func refuse(s status, format string, args ...any) *refusal {
	return &refusal{answer{s, fmt.Sprintf(format, args...)}}
}

var errMessageSize = refuse(statusFailed, "a message is longer than %d bytes", maxMessage)

// writeMessage sends v as a message.
func writeMessage(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return errMessageSize
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...))
	return err
}

// readMessage fills v from a message. If it does not come whole, that is a *sourceError.
func readMessage(r io.Reader, v any) error {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return &sourceError{shortEnd(err)}
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxMessage {
		return errMessageSize
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return &sourceError{shortEnd(err)}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return refuse(statusFailed, "a message cannot be understood: %v", err)
	}
	return nil
}

// checkName returns why a file cannot be stored under a name, nil if it can. A name that
// passes is a file directly in the receiver's directory on every system, is not
// hidden, and does nothing to a terminal.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name has %d bytes; at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name has control characters")
	case strings.ContainsAny(name, `/\:`):
		return errors.New(`the name has one of / \ : in it`)
	case strings.HasPrefix(name, "."):
		return errors.New("the name begins with a dot")
	case strings.HasPrefix(name, "-"):
		return errors.New("the name begins with a -, which commands would take for an option")
	case !filepath.IsLocal(name):
		return errors.New("the name is a reserved one on this system")
	}
	return nil
}
