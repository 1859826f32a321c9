package main

import (
	"fmt"
	"strings"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// versions are those of QUIC that an end speaks, most preferred first; nil is what the case and the
// library choose.
type versions []quic.Version

// String implements flag.Value.
func (v versions) String() string {
	var names []string
	for _, n := range v {
		names = append(names, "v"+n.String())
	}
	return strings.Join(names, ",")
}

// Set implements flag.Value.
func (v *versions) Set(text string) error {
	*v = nil
	for name := range strings.SplitSeq(text, ",") {
		switch name {
		case "":
		case "v1":
			*v = append(*v, quic.Version1)
		case "v2":
			*v = append(*v, quic.Version2)
		default:
			return fmt.Errorf("%q is no version, want v1 or v2", name)
		}
	}
	return nil
}

// choose puts the versions of the command line into a client's options.
func (e *endpoint) choose(o *quic.ConnectOptions) {
	if e.versions != nil {
		o.Versions = e.versions
	}
	if len(e.first) > 0 {
		o.FirstVersion = e.first[0]
	}
}
