package site

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// row is a file or a folder as the page shows it.
type row struct {
	Name, Href string
	Size       string
	Date, ISO  string
	Dir        bool

	bytes int64
	time  time.Time
}

// column is a heading that sorts by what is below it.
type column struct {
	Name, Href string
	Sort       string // as aria-sort has it
}

// index serves the page that lists a folder. A request for it is a few bytes, and it is much work if the folder is large: so
// one is made at a time, and for HEAD none, which has neither length nor ETag therefore (RFC 9110 §9.3.2).
func (s *Site) index(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method == http.MethodHead {
		dir, err := s.root.Open(name)
		if err != nil {
			s.failOpen(w, r, err)
			return
		}
		dir.Close()
		pageFields(w.Header())
		return
	}
	host := hostOf(r)
	if !s.waiting.take(host, 1) {
		s.busy(w, r, "Too many pages are being made just now.")
		return
	}
	body, err := s.list(r, name)
	s.waiting.release(host, 1)
	switch {
	case r.Context().Err() != nil: // nobody reads it
		return
	case err != nil:
		s.failOpen(w, r, err)
		return
	}
	n := int64(len(body))
	if !s.held.take(host, n) {
		s.busy(w, r, "Too many pages are being taken just now.")
		return
	}
	defer s.held.release(host, n)
	send(w, r, http.StatusOK, body)
}

const (
	// maxListings is how many requests may wait for the page of a folder, with the one whose page is being made.
	maxListings = 64
	// maxListingsPerHost is how many of them may be of one host.
	maxListingsPerHost = 16
	// maxHeld is how many bytes pages of folders may have together that are made, and not taken: each is whole in memory
	// until a client that may be slow has it.
	maxHeld = 64 << 20
	// maxHeldPerHost is how many of them one host may have: more than any page has, and not all.
	maxHeldPerHost = 16 << 20
)

// busy asks to come again for the page of a folder.
func (s *Site) busy(w http.ResponseWriter, r *http.Request, text string) {
	s.pagesRefused.Add(1)
	w.Header().Set("Retry-After", "1")
	s.fail(w, r, http.StatusServiceUnavailable, text)
}

// list makes the page that lists a folder, when no other is being made.
func (s *Site) list(r *http.Request, name string) ([]byte, error) {
	select {
	case s.listing <- struct{}{}:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	defer func() { <-s.listing }()
	rows, more, err := s.rows(name)
	if err != nil {
		return nil, err
	}
	columns := arrange(rows, r.URL.Query().Get("sort"))
	if name != "." {
		rows = slices.Insert(rows, 0, row{Name: "..", Href: "../", Dir: true})
	}
	return render(r, &page{Columns: columns, Rows: rows, Summary: summary(rows, more), Upload: s.options.Upload}), nil
}

// maxRows is how many files and folders a page lists.
const maxRows = 5000

// rows lists what can be had from a folder, and says whether there may be more.
func (s *Site) rows(name string) (rows []row, more bool, err error) {
	dir, err := s.root.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxRows + 1)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	if more = len(entries) > maxRows; more {
		entries = entries[:maxRows]
	}
	for _, e := range entries {
		if !s.options.Hidden && hidden(e.Name()) {
			continue
		}
		info, err := s.root.Stat(path.Join(name, e.Name())) // where a link leads, if not out
		if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
			continue
		}
		rows = append(rows, newRow(e.Name(), info))
	}
	return rows, more, nil
}

func newRow(name string, info fs.FileInfo) row {
	r := row{
		Name: name, Href: "./" + url.PathEscape(name), Dir: info.IsDir(), time: info.ModTime(),
		Date: info.ModTime().Format("2006-01-02 15:04"), ISO: info.ModTime().UTC().Format(time.RFC3339),
	}
	if r.Dir {
		r.Name, r.Href = r.Name+"/", r.Href+"/"
		return r
	}
	r.bytes, r.Size = info.Size(), size(info.Size())
	return r
}

// orders are the ways to sort, by the column's name.
var orders = []struct {
	column  string
	compare func(a, b row) int
}{
	{"Name", func(a, b row) int { return 0 }},
	{"Size", func(a, b row) int { return cmp.Compare(a.bytes, b.bytes) }},
	{"Changed", func(a, b row) int { return a.time.Compare(b.time) }},
}

// arrange sorts rows, folders first, and returns the headings. by is a column in lower
// case, with a minus in front for the other way round.
func arrange(rows []row, by string) []column {
	by, down := strings.CutPrefix(by, "-")
	chosen := max(0, slices.IndexFunc(orders, func(o struct {
		column  string
		compare func(a, b row) int
	}) bool {
		return strings.ToLower(o.column) == by
	}))
	slices.SortFunc(rows, func(a, b row) int {
		if a.Dir != b.Dir {
			if a.Dir {
				return -1
			}
			return 1
		}
		c := cmp.Or(orders[chosen].compare(a, b), compareNames(a.Name, b.Name))
		if down {
			c = -c
		}
		return c
	})
	columns := make([]column, len(orders))
	for i, o := range orders {
		columns[i] = column{o.column, "?sort=" + strings.ToLower(o.column), "none"}
		switch {
		case i == chosen && !down:
			columns[i].Href, columns[i].Sort = "?sort=-"+strings.ToLower(o.column), "ascending"
		case i == chosen:
			columns[i].Sort = "descending"
		}
	}
	return columns
}

// compareNames orders names as people do: without regard to case, and numbers
// by their value.
func compareNames(a, b string) int {
	x, y := strings.ToLower(a), strings.ToLower(b)
	for x != "" && y != "" {
		m, n := digits(x), digits(y)
		if m > 0 && n > 0 {
			v, w := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if c := cmp.Or(cmp.Compare(len(v), len(w)), cmp.Compare(v, w)); c != 0 {
				return c
			}
			x, y = x[m:], y[n:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

// digits is how many digits a text begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// summary counts what a page lists.
func summary(rows []row, more bool) string {
	files, dirs, bytes := 0, 0, int64(0)
	for _, r := range rows {
		switch {
		case r.Name == "..":
		case r.Dir:
			dirs++
		default:
			files++
			bytes += r.bytes
		}
	}
	count := func(n int, noun string) string {
		if n == 1 {
			return "1 " + noun
		}
		return fmt.Sprintf("%d %ss", n, noun)
	}
	text := count(files, "file") + ", " + size(bytes)
	if dirs > 0 {
		text = count(dirs, "folder") + ", " + text
	}
	if more {
		text += ", and more"
	}
	return text
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, prefix := float64(n)/1024, 0
	for v >= 1023.95 && prefix < 5 {
		v, prefix = v/1024, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[prefix])
}
