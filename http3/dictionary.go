package http3

import "strings"

// dictionary takes the value of a structured field apart that is a dictionary (RFC 9651
// §4.2.2). Parameters are checked and dropped.
type dictionary struct {
	rest  string
	begun bool
	bad   bool // it is none

	key, value string // of the present member; "?1" if it has no value
}

// next goes to the next member.
func (d *dictionary) next() bool {
	if d.bad || d.rest == "" {
		return false
	}
	if d.begun {
		d.skip(" \t")
		if d.expect(','); !d.bad {
			d.skip(" \t")
		}
	}
	d.begun = true
	d.key, d.value = d.readKey(), "?1"
	if d.take('=') {
		before := d.rest
		if d.take('(') {
			d.innerList()
		} else {
			d.item()
		}
		d.value = before[:len(before)-len(d.rest)]
	}
	d.parameters()
	return !d.bad
}

// take takes one byte if it is the next.
func (d *dictionary) take(c byte) bool {
	if d.bad || d.rest == "" || d.rest[0] != c {
		return false
	}
	d.rest = d.rest[1:]
	return true
}

func (d *dictionary) expect(c byte) { d.bad = !d.take(c) || d.bad }

func (d *dictionary) skip(set string) { d.rest = strings.TrimLeft(d.rest, set) }

// span takes bytes as long as they are wanted.
func (d *dictionary) span(want func(c byte) bool) string {
	n := 0
	for n < len(d.rest) && want(d.rest[n]) {
		n++
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c | 0x20) }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (d *dictionary) readKey() string {
	if d.rest == "" || !isLower(d.rest[0]) && d.rest[0] != '*' {
		d.bad = true
		return ""
	}
	return d.span(func(c byte) bool { return isLower(c) || isDigit(c) || strings.IndexByte("_-.*", c) >= 0 })
}

// parameters takes those behind a member (RFC 9651 §4.2.3.2).
func (d *dictionary) parameters() {
	for d.take(';') {
		d.skip(" ")
		d.readKey()
		if d.take('=') {
			d.item()
		}
	}
}

// innerList takes a list of items, whose parenthesis is open (RFC 9651 §4.2.1.2).
func (d *dictionary) innerList() {
	for !d.bad {
		d.skip(" ")
		if d.take(')') {
			return
		}
		d.item()
		d.parameters()
		d.bad = d.bad || d.rest == "" || d.rest[0] != ' ' && d.rest[0] != ')'
	}
}

// item takes a bare item (RFC 9651 §4.2.3.1).
func (d *dictionary) item() {
	if d.bad || d.rest == "" {
		d.bad = true
		return
	}
	switch c := d.rest[0]; {
	case c == '-', isDigit(c):
		d.number()
	case c == '"', c == '%':
		d.quoted()
	case c == '*', isAlpha(c): // a token
		d.span(func(c byte) bool { return isAlpha(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0 })
	case d.take(':'): // bytes in base64
		d.span(func(c byte) bool { return isAlpha(c) || isDigit(c) || strings.IndexByte("+/=", c) >= 0 })
		d.expect(':')
	case d.take('?'):
		d.bad = !d.take('0') && !d.take('1')
	case d.take('@'): // a date
		d.number()
	default:
		d.bad = true
	}
}

// number takes an integer of up to 15 digits, or a decimal of up to 12 and 3.
func (d *dictionary) number() {
	d.take('-')
	whole := len(d.span(isDigit))
	if !d.take('.') {
		d.bad = d.bad || whole == 0 || whole > 15
		return
	}
	part := len(d.span(isDigit))
	d.bad = d.bad || whole == 0 || whole > 12 || part == 0 || part > 3
}

// quoted takes a string, or a display string, which has a % before it.
func (d *dictionary) quoted() {
	d.take('%')
	d.expect('"')
	for !d.bad {
		d.span(func(c byte) bool { return ' ' <= c && c < 0x7f && c != '"' && c != '\\' })
		switch {
		case d.take('"'):
			return
		case d.take('\\') && (d.take('"') || d.take('\\')):
		default:
			d.bad = true
		}
	}
}
