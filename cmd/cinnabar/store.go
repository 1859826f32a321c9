package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// store is the directory that receive stores files in. It is open as long as
// the command runs: no name that a sender gives leads out of it.
type store struct {
	root      *os.Root
	overwrite bool
	maxSize   int64 // bytes of one file

	mu   sync.Mutex
	busy map[string]bool // names under way
}

func openStore(dir string, overwrite bool, maxSize int64) (*store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &store{root: root, overwrite: overwrite, maxSize: maxSize, busy: make(map[string]bool)}
	if err := s.tryOut(); err != nil {
		s.close()
		return nil, fmt.Errorf("no file can be made there: %v", reason(err))
	}
	return s, nil
}

// tryOut makes a file and removes it: who may not write in the directory is to hear of it before
// the first sender does.
func (s *store) tryOut() error {
	name := tempName()
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), s.root.Remove(name))
}

// tempName is what a file under way is called.
func tempName() string { return ".cinnabar-" + rand.Text() + ".part" }

func (s *store) close() error { return s.root.Close() }

// incoming is a file under way. It has a name of its own until it is complete.
type incoming struct {
	*os.File
	store *store
	head  head
	temp  string
	mode  fs.FileMode
}

// begin makes room for a file. An error is a *refusal.
func (s *store) begin(h head) (*incoming, error) {
	if err := checkName(h.Name); err != nil {
		return nil, refuse(statusBadName, "%v; rename the file", err)
	}
	if h.Size < 0 || h.Size > s.maxSize {
		return nil, refuse(statusTooBig, "the file is larger than the receiver takes (%v; --max-size there)", byteSize(s.maxSize))
	}
	if err := s.take(h.Name); err != nil {
		return nil, err
	}
	in := &incoming{store: s, head: h, temp: tempName()}
	err := in.create()
	if err != nil {
		s.release(h.Name)
		return nil, err
	}
	return in, nil
}

// take reserves a name, so that two senders cannot both get it.
func (s *store) take(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[name] {
		return refuse(statusExists, "another sender is sending a file of this name")
	}
	if err := s.clash(name); err != nil {
		return err
	}
	s.busy[name] = true
	return nil
}

func (s *store) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, name)
}

// clash refuses a name that is in use on the disk.
func (s *store) clash(name string) error {
	info, err := s.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return diskRefusal(err)
	case !info.Mode().IsRegular():
		return refuse(statusExists, "there is something of this name that is not a file; rename the file")
	case !s.overwrite:
		return refuse(statusExists, "there is a file of this name; rename the file, or have the receiver run with --overwrite")
	}
	return nil
}

// create opens the temporary file. The umask has its say in the permissions, as
// with every file that a program makes.
func (in *incoming) create() error {
	mode := fs.FileMode(in.head.Mode) & fs.ModePerm
	if mode == 0 {
		mode = 0o666
	}
	f, err := in.store.root.OpenFile(in.temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o600)
	if err != nil {
		return diskRefusal(err)
	}
	in.File = f
	info, err := f.Stat()
	if err != nil {
		in.discard()
		return diskRefusal(err)
	}
	in.mode = info.Mode().Perm() & mode
	return nil
}

// commit gives the complete file its name.
func (in *incoming) commit() error {
	err := in.Chmod(in.mode)
	if err == nil {
		err = in.Close()
	}
	if err == nil {
		err = in.publish()
	}
	if err != nil {
		in.discard()
		return err
	}
	in.store.release(in.head.Name)
	return nil
}

// publish never replaces a file unless it may: a link fails where a rename would
// not. Where there are no links, a look just before has to do.
func (in *incoming) publish() error {
	root, name := in.store.root, in.head.Name
	if !in.store.overwrite {
		if root.Link(in.temp, name) == nil {
			root.Remove(in.temp)
			return nil
		}
		if err := in.store.clash(name); err != nil {
			return err
		}
	}
	return root.Rename(in.temp, name)
}

// discard removes what there is of the file.
func (in *incoming) discard() {
	in.Close()
	in.store.root.Remove(in.temp)
	in.store.release(in.head.Name)
}

// diskRefusal tells a sender what is wrong with the receiver's disk, without the
// receiver's paths.
func diskRefusal(err error) *refusal {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return refuse(statusFailed, "the receiver cannot store it: %v", err)
}
