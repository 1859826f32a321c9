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

// merge changes the priority in what the value of a priority field says. If that is not
// a dictionary, it changes nothing and reports false.
func (p *Priority) merge(value string) bool {
	merged := *p
	if strings.Trim(value, " \t") == "" {
		return true
	}
	for _, member := range strings.Split(value, ",") {
		member = strings.Trim(member, " \t")
		member, _, _ = strings.Cut(member, ";") // parameters
		key, v, has := strings.Cut(member, "=")
		switch {
		case !validKey(key):
			return false
		case key == "u" && has:
			if u, err := strconv.Atoi(v); err == nil && 0 <= u && u <= 7 {
				merged.Urgency = u
			}
		case key == "i":
			if !has || v == "?1" {
				merged.Incremental = true
			} else if v == "?0" {
				merged.Incremental = false
			}
		}
	}
	*p = merged
	return true
}

func validKey(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		first := 'a' <= c && c <= 'z' || c == '*'
		if !first && (i == 0 || !('0' <= c && c <= '9') && strings.IndexByte("_-.", c) < 0) {
			return false
		}
	}
	return s != ""
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
