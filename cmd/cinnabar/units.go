package main

import (
	"encoding"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// byteSize is a number of bytes on the command line: 4096, 10K, 256MiB, 1.5G.
// Prefixes are powers of 1024, whether or not an i is written.
type byteSize int64

var _ encoding.TextUnmarshaler = (*byteSize)(nil)

// UnmarshalText parses a size.
func (s *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRightFunc(string(text), unicode.IsLetter)
	unit := strings.ToUpper(string(text[len(number):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	shift, ok := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	v, err := strconv.ParseFloat(number, 64)
	bytes := v * float64(int64(1)<<shift)
	if !ok || err != nil || !(bytes >= 0 && bytes < math.MaxInt64) {
		return fmt.Errorf("%q is no size; write a number of bytes, or one with K, M, G or T, such as 256M", text)
	}
	*s = byteSize(bytes)
	return nil
}

// String returns the size with its largest fitting prefix.
func (s byteSize) String() string {
	if s < 1024 {
		return fmt.Sprintf("%d B", int64(s))
	}
	v, prefix := float64(s)/1024, 0
	for v >= 1023.95 && prefix < 4 {
		v, prefix = v/1024, prefix+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + "KMGTP"[prefix:prefix+1] + "iB"
}

// bitRate returns how fast that many bytes went in that time.
func bitRate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	rate, unit := float64(bytes)*8/d.Seconds(), 0
	for rate >= 999.5 && unit < 3 {
		rate, unit = rate/1000, unit+1
	}
	return significant(rate) + " " + []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s"}[unit]
}

// duration returns d in milliseconds or seconds, with three digits.
func duration(d time.Duration) string {
	if d < time.Second {
		return significant(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return significant(d.Seconds()) + " s"
}

// significant returns v with three digits, and more only before the point.
func significant(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// thousands returns n with its digits in groups.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural returns "1 file", "2 files".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printable returns text that came from elsewhere, fit for a terminal: of one
// line, of bounded length, without control characters.
func printable(text string) string {
	const most = 200 // characters
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > most {
			b.WriteString("...")
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
