package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// OnlyVersion1 checks that the server's Initial packets have that version.
func OnlyVersion1(r *Run) error {
	return versions("the server's Initial packets", r.Server.sent(false, Initial), Version1)
}

// Only checks that all packets with long headers have one version, from the first on.
func Only(version uint32) Check {
	return func(r *Run) error {
		var errs []error
		for _, side := range []struct {
			name   string
			trace  *Trace
			client bool
		}{{"client", r.Client, true}, {"server", r.Server, false}} {
			var long []*Packet
			for _, p := range side.trace.Packets {
				if p.FromClient == side.client && p.Type != OneRTT {
					long = append(long, p)
				}
			}
			errs = append(errs, versions("the "+side.name+"'s packets with long headers", long, version))
		}
		return errors.Join(append(errs, r.chose(version))...)
	}
}

// Upgraded checks that a connection begins in version 1 and goes on in version 2.
func Upgraded(r *Run) error { return Changed(Version1, Version2)(r) }

// Changed checks that a connection begins in one version and goes on in another, without Version
// Negotiation (RFC 9368 §2.3).
func Changed(from, to uint32) Check {
	return func(r *Run) error {
		var first, second bool
		for _, p := range r.Client.sent(true, Initial) {
			first = first || p.Version == from
		}
		for _, p := range r.Server.sent(false, Initial) {
			second = second || p.Version == to
		}
		if !first || !second {
			return fmt.Errorf("the client begins in version %#x: %t, the server answers in version %#x: %t", from, first, to, second)
		}
		if n := len(r.Client.sent(false, VersionNegotiation)); n > 0 {
			return fmt.Errorf("%d Version Negotiation packets", n)
		}
		return errors.Join(
			versions("the client's Handshake packets", r.Client.sent(true, Handshake), to),
			versions("the server's Handshake packets", r.Server.sent(false, Handshake), to), r.chose(to))
	}
}

// Negotiated checks that a server which cannot read the client's first packet says so, without
// that packet's version and with the one that the client begins anew in (RFC 9368 §2.1).
func Negotiated(to uint32) Check {
	return func(r *Run) error {
		var first *Packet // of the client
		for _, p := range r.Server.Packets {
			switch {
			case p.FromClient && first == nil:
				first = p
			case p.FromClient || p.Type != VersionNegotiation || first == nil:
			case p.DCID != first.SCID || p.SCID != first.DCID:
				return fmt.Errorf("%v has the IDs %x and %x, not those of %v", p, p.DCID, p.SCID, first)
			case !slices.Contains(p.Versions, to) || slices.Contains(p.Versions, first.Version):
				return fmt.Errorf("%v lists %#x for a client that begins with %#x and goes on with %#x", p, p.Versions, first.Version, to)
			}
		}
		switch {
		case first == nil || first.Version == to:
			return fmt.Errorf("the client's first packet is %v, and of another version than %#x", first, to)
		case len(r.Client.sent(false, VersionNegotiation)) == 0:
			return errors.New("no Version Negotiation packet")
		}
		return errors.Join(
			versions("the server's Initial packets", r.Server.sent(false, Initial), to),
			versions("the client's Handshake packets", r.Client.sent(true, Handshake), to),
			versions("the server's Handshake packets", r.Server.sent(false, Handshake), to), r.chose(to))
	}
}

// chose checks the version that servers say they have chosen, if they do (RFC 9368 §3): only
// those who know of more than one version.
func (r *Run) chose(version uint32) error {
	for _, c := range r.Server.Conns {
		if v := parameter(c.serverParams, versionInformation); len(v) > 0 && (len(v)%4 != 0 || binary.BigEndian.Uint32(v) != version) {
			return fmt.Errorf("the server's version_information is %x, want %#x as the chosen version", v, version)
		}
	}
	return nil
}

func versions(what string, list []*Packet, want uint32) error {
	seen := map[uint32]bool{}
	for _, p := range list {
		seen[p.Version] = true
	}
	if len(seen) != 1 || !seen[want] {
		return fmt.Errorf("%s have the versions %#x, want %#x", what, slices.Sorted(maps.Keys(seen)), want)
	}
	return nil
}
