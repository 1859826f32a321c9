// Package hostname brings the names of hosts into the one form in which they are compared, looked up and sent.
package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// profile maps as for a lookup (UTS 46), but allows underscores, and hyphens anywhere: in names of ASCII alone DNS does too.
var profile = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.CheckHyphens(false))

// maxLength is how long a name may be that is not ASCII, in bytes: no 253 bytes of ASCII stand for more, and what Punycode
// costs grows with the square.
const maxLength = 1024

// ASCII returns a host in lower case (RFC 9110 §4.2.3) and in ASCII (RFC 5891 §5). A zone stays as it is.
// It refuses names of which nothing is left, and of those that are not ASCII what has no form in letters, digits,
// hyphens, underscores and dots: some of what looks like one letter stands for a slash or for blanks.
func ASCII(host string) (string, error) {
	if i := strings.IndexByte(host, '%'); i >= 0 {
		if _, err := netip.ParseAddr(host); err == nil {
			return strings.ToLower(host[:i]) + host[i:], nil
		}
	}
	if IsASCII(host) {
		return strings.ToLower(host), there(host)
	}
	if len(host) > maxLength {
		return "", fmt.Errorf("it has %d bytes, at most %d may be", len(host), maxLength)
	}
	ascii, err := profile.ToASCII(host)
	if err != nil {
		return "", err
	}
	ascii = strings.ToLower(ascii)
	if !utf8.ValidString(host) || strings.ContainsFunc(ascii, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }) {
		return "", errors.New("it has no form in ASCII")
	}
	return ascii, there(ascii)
}

// IsASCII reports whether a text is of ASCII alone.
func IsASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func there(host string) error {
	if strings.Trim(host, ".") == "" {
		return errors.New("it names nothing")
	}
	return nil
}
