package qpack

// form is how a field line is written.
type form uint8

const (
	indexedStatic  form = iota // RFC 9204 §4.5.2
	indexedDynamic             // RFC 9204 §4.5.2 and §4.5.3
	literalStatic              // RFC 9204 §4.5.4
	literalDynamic             // RFC 9204 §4.5.4 and §4.5.5
	literalName                // RFC 9204 §4.5.6
)

// line is a field line of which is decided how to write it. Its index is absolute.
type line struct {
	form   form
	secret bool // never indexed, by nobody
	index  uint64
}

// append writes the section. The Base is where the table stood when the section began,
// or the Required Insert Count if that is lower, which makes for the smallest numbers.
func (p *plan) append(b []byte, maxEntries uint64, fields []Field) []byte {
	base := min(p.start, p.required)
	b = appendPrefix(b, p.required, base, maxEntries)
	for i, l := range p.lines {
		b = l.append(b, base, &fields[i])
	}
	return b
}

// appendPrefix writes RFC 9204 §4.5.1.
func appendPrefix(b []byte, required, base, maxEntries uint64) []byte {
	if required == 0 {
		return append(b, 0, 0)
	}
	b = appendInt(b, 0, 8, required%(2*maxEntries)+1)
	if base < required {
		return appendInt(b, 0x80, 7, required-base-1)
	}
	return appendInt(b, 0, 7, base-required)
}

func (l line) append(b []byte, base uint64, f *Field) []byte {
	switch l.form {
	case indexedStatic:
		return appendInt(b, 0xc0, 6, l.index)
	case indexedDynamic:
		if l.index >= base {
			return appendInt(b, 0x10, 4, l.index-base)
		}
		return appendInt(b, 0x80, 6, base-1-l.index)
	case literalStatic:
		b = appendInt(b, 0x50|l.never(0x20), 4, l.index)
	case literalDynamic:
		if l.index >= base {
			b = appendInt(b, l.never(0x08), 3, l.index-base)
		} else {
			b = appendInt(b, 0x40|l.never(0x20), 4, base-1-l.index)
		}
	case literalName:
		b = appendString(b, 0x20|l.never(0x10), 3, f.Name)
	}
	return appendString(b, 0, 7, f.Value)
}

// never returns the N bit if it is to be set.
func (l line) never(bit byte) byte {
	if l.secret {
		return bit
	}
	return 0
}
