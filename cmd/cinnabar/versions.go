package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// listenVersions is the option of commands that listen.
type listenVersions struct {
	QUICVersion versionList `name:"quic-version" placeholder:"VERSIONS" help:"Speak these versions of QUIC, the preferred one first: v1, v2, or both with a comma (v1,v2)."`
}

// dialVersions are the options of commands that dial.
type dialVersions struct {
	listenVersions `embed:""`

	QUICFirst versionName `name:"quic-first" placeholder:"VERSION" help:"Begin in this one of them; the server may change to another (v1, if it is among them)."`
}

// check refuses to begin with a version that is not offered.
func (v *dialVersions) check() error {
	first := quic.Version(v.QUICFirst)
	if list := v.QUICVersion.list; first != 0 && list != nil && !slices.Contains(list, first) {
		return usagef("--quic-first v%v is not among --quic-version %v; name it there, too", first, &v.QUICVersion)
	}
	return nil
}

// choose puts the versions into the options of a session.
func (v *dialVersions) choose(o *quic.ConnectOptions) {
	o.Versions, o.FirstVersion = v.QUICVersion.list, quic.Version(v.QUICFirst)
}

// versionList is versions of QUIC on the command line, the preferred one first; without one
// the library chooses.
type versionList struct{ list []quic.Version }

// UnmarshalText parses a list.
func (l *versionList) UnmarshalText(text []byte) error {
	l.list = nil
	for name := range strings.SplitSeq(string(text), ",") {
		v, ok := parseVersion(name)
		if !ok || slices.Contains(l.list, v) {
			return fmt.Errorf("%q is no list of versions; write v1, v2, or both with the preferred one first, such as v2,v1", text)
		}
		l.list = append(l.list, v)
	}
	return nil
}

// String returns the list as it is typed.
func (l *versionList) String() string {
	var names []string
	for _, v := range l.list {
		names = append(names, "v"+v.String())
	}
	return strings.Join(names, ",")
}

// versionName is one version on the command line, 0 if there is none.
type versionName quic.Version

// UnmarshalText parses a version.
func (n *versionName) UnmarshalText(text []byte) error {
	v, ok := parseVersion(string(text))
	if !ok {
		return fmt.Errorf("%q is no version; write v1 or v2", text)
	}
	*n = versionName(v)
	return nil
}

// parseVersion takes v2 and 2.
func parseVersion(name string) (quic.Version, bool) {
	switch strings.TrimPrefix(strings.TrimSpace(name), "v") {
	case "1":
		return quic.Version1, true
	case "2":
		return quic.Version2, true
	}
	return 0, false
}
