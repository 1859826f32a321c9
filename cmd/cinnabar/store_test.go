package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func testStore(t *testing.T, overwrite bool) (*store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := openStore(dir, overwrite, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s, dir
}

// put stores a file as a receiver would.
func put(s *store, h head, data string) error {
	in, err := s.begin(h)
	if err != nil {
		return err
	}
	if _, err := in.Write([]byte(data)); err != nil {
		return err
	}
	return in.commit()
}

func wantRefused(t *testing.T, err error, status status, text string) {
	t.Helper()
	var r *refusal
	if !errors.As(err, &r) || r.Status != status || !strings.Contains(r.Text, text) {
		t.Errorf("got %v, want a refusal %q about %q", err, status, text)
	}
}

// wantFiles checks the directory's whole contents.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if text, ok := want[e.Name()]; !ok || text != string(data) {
			t.Errorf("%s holds %s, %d bytes", dir, e.Name(), len(data))
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%s holds %d files, want %d", dir, len(entries), len(want))
	}
}

func TestStore(t *testing.T) {
	s, dir := testStore(t, false)
	if err := put(s, head{Name: "a.txt", Size: 3, Mode: 0o640}, "one"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, put(s, head{Name: "a.txt", Size: 3}, "two"), statusExists, "--overwrite")
	wantRefused(t, put(s, head{Name: "../b.txt"}, "two"), statusBadName, "/")
	wantRefused(t, put(s, head{Name: "c", Size: 1001}, ""), statusTooBig, "1000 B")
	wantRefused(t, put(s, head{Name: "c", Size: -1}, ""), statusTooBig, "")
	wantFiles(t, dir, map[string]string{"a.txt": "one"})
	if info, err := os.Stat(filepath.Join(dir, "a.txt")); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm()&^0o640 != 0) {
		t.Errorf("mode %v, %v, want at most -rw-r-----", info.Mode(), err)
	}
}

func TestStoreOverwrite(t *testing.T) {
	s, dir := testStore(t, true)
	for _, data := range []string{"one", "two"} {
		if err := put(s, head{Name: "a.txt", Size: 3}, data); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, dir, map[string]string{"a.txt": "two"})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, put(s, head{Name: "sub"}, ""), statusExists, "not a file")
}

// Bits other than permissions are dropped: nobody sends a set-uid program.
func TestStoreMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	s, dir := testStore(t, false)
	if err := put(s, head{Name: "x", Mode: 0o4400}, ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "x"))
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("mode %v, %v, want -r--------", info.Mode(), err)
	}
}

func TestStoreDiscard(t *testing.T) {
	s, dir := testStore(t, false)
	in, err := s.begin(head{Name: "a", Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, put(s, head{Name: "a", Size: 3}, "two"), statusExists, "another sender")
	in.discard()
	wantFiles(t, dir, nil)
	if err := put(s, head{Name: "a", Size: 3}, "two"); err != nil {
		t.Error(err)
	}
	wantFiles(t, dir, map[string]string{"a": "two"})
}

// A file that appears while another of its name is on its way is not replaced.
func TestStoreRace(t *testing.T) {
	s, dir := testStore(t, false)
	in, err := s.begin(head{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, in.commit(), statusExists, "there is a file")
	wantFiles(t, dir, map[string]string{"a": "mine"})
}

// A link that leads out of the directory is not followed, and not replaced.
func TestStoreLink(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "victim")
	for _, overwrite := range []bool{false, true} {
		s, dir := testStore(t, overwrite)
		if err := os.Symlink(outside, filepath.Join(dir, "a")); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
		wantRefused(t, put(s, head{Name: "a"}, "evil"), statusExists, "not a file")
	}
	if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link was followed: %v", err)
	}
}

// What a sender is told has none of the receiver's paths.
func TestDiskRefusal(t *testing.T) {
	s, dir := testStore(t, false)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err := put(s, head{Name: "a"}, "")
	wantRefused(t, err, statusFailed, "the receiver cannot store it")
	if slices.ContainsFunc(strings.Fields(err.Error()), filepath.IsAbs) {
		t.Errorf("%v", err)
	}
}
