package http3

import (
	"strconv"
	"strings"
)

// Priority says which responses matter most to a client (RFC 9218 §4).
type Priority struct {
	Urgency     int  // 0, the most urgent, to 7
	Incremental bool // it is of use before it is complete: it shares with others of its urgency
}

// DefaultPriority is that of a request that says nothing (RFC 9218 §4).
var DefaultPriority = Priority{Urgency: 3}

// ParsePriority reads the value of a priority field (RFC 9218 §5), which is a dictionary of
// structured fields. What is not understood counts as not said; ok is false if the value is not a
// dictionary.
func ParsePriority(value string) (p Priority, ok bool) {
	p = DefaultPriority
	ok = p.merge(value)
	return p, ok
}

// merge changes the priority in what the value of a priority field says. If that is not a
// dictionary, it changes nothing and reports false.
func (p *Priority) merge(value string) bool {
	merged := *p
	d := dictionary{rest: strings.Trim(value, " ")}
	for d.next() {
		switch d.key { // of a key that is there twice, the last counts
		case "u":
			merged.Urgency = p.Urgency
			if u, err := strconv.Atoi(d.value); err == nil && 0 <= u && u <= 7 && d.value[0] != '+' {
				merged.Urgency = u
			}
		case "i":
			merged.Incremental = p.Incremental
			if d.value == "?1" || d.value == "?0" {
				merged.Incremental = d.value == "?1"
			}
		}
	}
	if d.bad {
		return false
	}
	*p = merged
	return true
}

// String returns the value of a priority field that says the same; "" is the default.
func (p Priority) String() string {
	var parts []string
	if p.Urgency != DefaultPriority.Urgency {
		parts = append(parts, "u="+strconv.Itoa(p.Urgency))
	}
	if p.Incremental {
		parts = append(parts, "i")
	}
	return strings.Join(parts, ", ")
}
