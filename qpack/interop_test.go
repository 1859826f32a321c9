package qpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The offline interop format of the QUIC working group: lists of fields as text (.qif),
// and what an encoder makes of them for a capacity, a number of blocked streams and
// with or without acknowledgements. An encoding is a sequence of blocks, each the ID of
// a stream (eight bytes), a length (four), and so many bytes; stream 0 is the encoder
// stream, and the lists are on streams 1, 2, 3, ... The files are named
// encoded/ENCODER/NAME.out.CAPACITY.BLOCKED.ACK beside qifs/NAME.qif.
//
// encoded/cinnabar is this encoder's work, encoded/ls-qpack that of ls-qpack 2 (by
// pylsqpack 1.0), from the same lists. To read more of others, put such directories into one and name it in
// CINNABAR_QPACK_INTEROP.

var update = flag.Bool("update", false, "write testdata/encoded/cinnabar anew")

// parseQIF reads lists of fields: a line each, name, tab, value; an empty line ends a
// list. Lines that begin with # say nothing.
func parseQIF(b []byte) (lists [][]Field) {
	var list []Field
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		switch name, value, _ := strings.Cut(line, "\t"); {
		case strings.HasPrefix(line, "#"):
		case line != "":
			list = append(list, Field{Name: name, Value: value})
		case list != nil:
			lists, list = append(lists, list), nil
		}
	}
	if list != nil {
		lists = append(lists, list)
	}
	return lists
}

// settings are those that an encoding was made for, by its name.
type settings struct {
	capacity, blocked uint64
	acknowledge       bool
}

var encodingName = regexp.MustCompile(`^([^.]+)\..*?(\d+)\.(\d+)\.([01])(-[a-z-]+)?$`)

// parseName splits NAME.out.CAPACITY.BLOCKED.ACK. Some encoders put their own name in
// the place of "out", or say at the end what is special.
func parseName(file string) (name string, s settings, ok bool) {
	m := encodingName.FindStringSubmatch(filepath.Base(file))
	if m == nil {
		return "", s, false
	}
	s.capacity, _ = strconv.ParseUint(m[2], 10, 62)
	s.blocked, _ = strconv.ParseUint(m[3], 10, 62)
	s.acknowledge = m[4] == "1"
	return m[1], s, true
}

// encodeLists is an encoder of the offline interop. Each acknowledgement comes as soon
// as the section has left, or none ever does.
func encodeLists(t *testing.T, lists [][]Field, s settings) []byte {
	t.Helper()
	var out []byte
	block := func(stream uint64, b []byte) {
		out = binary.BigEndian.AppendUint64(out, stream)
		out = binary.BigEndian.AppendUint32(out, uint32(len(b)))
		out = append(out, b...)
	}
	e := new(Encoder)
	e.SetLimits(s.capacity, s.blocked)
	for i, fields := range lists {
		stream := int64(i + 1)
		section := e.AppendSection(nil, stream, fields)
		if b := e.Instructions(); len(b) > 0 {
			block(0, b)
			e.Sent(len(b))
		}
		block(uint64(stream), section)
		if !s.acknowledge {
			continue
		}
		var answer []byte
		if section[0] != 0 {
			answer = appendInt(answer, 0x80, 7, uint64(stream))
		}
		if err := e.Receive(answer); err != nil {
			t.Fatal(err)
		}
		if n := e.table.inserted - e.known; n > 0 {
			if err := e.Receive(appendInt(nil, 0, 6, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// decodeLists is a decoder of the offline interop. The lists come back by the IDs of
// their streams.
func decodeLists(b []byte, s settings) ([][]Field, error) {
	d := NewDecoder(s.capacity, s.blocked)
	done := make(map[int64][]Field)
	type waiting struct {
		stream  int64
		section []byte
	}
	var blocked []waiting
	try := func(w waiting) error {
		fields, err := d.Decode(nil, w.stream, w.section, Limit{Size: 1 << 20, Fields: 1000})
		switch {
		case errors.Is(err, ErrBlocked):
			blocked = append(blocked, w)
			return nil
		case err == nil:
			done[w.stream] = append(done[w.stream], fields...)
		}
		d.Sent(len(d.Instructions()))
		return err
	}
	for len(b) > 0 {
		if len(b) < 12 || uint64(len(b)-12) < uint64(binary.BigEndian.Uint32(b[8:])) {
			return nil, errors.New("the file is cut off")
		}
		stream, n := int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])
		payload := b[12 : 12+n]
		b = b[12+n:]
		if stream != 0 {
			if err := try(waiting{stream, payload}); err != nil {
				return nil, fmt.Errorf("stream %d: %w", stream, err)
			}
			continue
		}
		if err := d.Receive(payload); err != nil {
			return nil, err
		}
		again := blocked
		blocked = nil
		for _, w := range again {
			if err := try(w); err != nil {
				return nil, fmt.Errorf("stream %d: %w", w.stream, err)
			}
		}
	}
	if len(blocked) > 0 {
		return nil, fmt.Errorf("%d sections stay blocked", len(blocked))
	}
	var streams []int64
	for stream := range done {
		streams = append(streams, stream)
	}
	slices.Sort(streams)
	var lists [][]Field
	for _, stream := range streams {
		lists = append(lists, done[stream])
	}
	return lists, nil
}

// checkEncoding decodes a file and compares it with its .qif.
func checkEncoding(t *testing.T, file string, lists [][]Field, s settings) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeLists(b, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(lists) {
		t.Fatalf("%d lists are decoded, want %d", len(got), len(lists))
	}
	for i := range lists {
		if !slices.EqualFunc(got[i], lists[i], func(a, b Field) bool { return a.Name == b.Name && a.Value == b.Value }) {
			t.Errorf("list %d is %v, want %v", i+1, got[i], lists[i])
		}
	}
}

// checkTree checks all encodings under a directory.
func checkTree(t *testing.T, root string) (checked int) {
	qifs := make(map[string][][]Field)
	var encodings []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name, ok := strings.CutSuffix(entry.Name(), ".qif"); ok {
			b, err := os.ReadFile(path)
			qifs[name] = parseQIF(b)
			return err
		}
		encodings = append(encodings, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range encodings {
		name, s, ok := parseName(file)
		lists, have := qifs[name]
		if !ok || !have {
			t.Logf("%s is no encoding of a .qif here", file)
			continue
		}
		short, _ := filepath.Rel(root, file)
		t.Run(filepath.ToSlash(short), func(t *testing.T) { checkEncoding(t, file, lists, s) })
		checked++
	}
	return checked
}

func TestOfflineInterop(t *testing.T) {
	if n := checkTree(t, "testdata"); n < 32 {
		t.Errorf("%d encodings are checked", n)
	}
	if root := os.Getenv("CINNABAR_QPACK_INTEROP"); root != "" && checkTree(t, root) == 0 {
		t.Errorf("CINNABAR_QPACK_INTEROP: there is no encoding with its .qif under %s", root)
	}
}

// The encoder writes what it wrote when testdata was made: with -update it is made
// anew, to be read before it is committed.
func TestOfflineEncodings(t *testing.T) {
	for _, name := range []string{"requests", "responses"} {
		b, err := os.ReadFile(filepath.Join("testdata", "qifs", name+".qif"))
		if err != nil {
			t.Fatal(err)
		}
		lists := parseQIF(b)
		sizes := make(map[settings]int)
		for _, capacity := range []uint64{0, 256, 4096} {
			for _, blocked := range []uint64{0, 100} {
				for _, ack := range []int{0, 1} {
					s := settings{capacity, blocked, ack == 1}
					got := encodeLists(t, lists, s)
					sizes[s] = len(got)
					file := filepath.Join("testdata", "encoded", "cinnabar", fmt.Sprintf("%s.out.%d.%d.%d", name, capacity, blocked, ack))
					if *update {
						if err := os.WriteFile(file, got, 0o666); err != nil {
							t.Fatal(err)
						}
					}
					if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s differs from what is encoded now, %v; -update makes it anew", file, err)
					}
				}
			}
		}
		t.Logf("%s: %v", name, sizes)
		none, some, all := sizes[settings{0, 0, true}], sizes[settings{4096, 0, true}], sizes[settings{4096, 100, true}]
		if some >= none*9/10 || all > some {
			t.Errorf("%s takes %d bytes without a table, %d with one, %d if streams may be blocked", name, none, some, all)
		}
		if quiet := sizes[settings{4096, 0, false}]; quiet < none {
			t.Errorf("%s takes %d bytes without acknowledgements, and %d without a table", name, quiet, none)
		}
	}
}

func TestInteropNames(t *testing.T) {
	for _, test := range []struct {
		file, name string
		s          settings
		ok         bool
	}{
		{"encoded/ls-qpack/fb-req.out.4096.100.1", "fb-req", settings{4096, 100, true}, true},
		{"encoded/ls-qpack/netbsd.out.512.0.0-with-dup", "netbsd", settings{512, 0, false}, true},
		{"encoded/ats/fb-resp.qif.ats.256.100.0", "fb-resp", settings{256, 100, false}, true},
		{"encoded/other/netbsd.out.256", "", settings{}, false},
		{"README.md", "", settings{}, false},
	} {
		if name, s, ok := parseName(test.file); name != test.name || s != test.s || ok != test.ok {
			t.Errorf("%s is %q, %v, %v", test.file, name, s, ok)
		}
	}
}
