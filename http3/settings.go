package http3

import (
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// Identifiers of settings (RFC 9114 §7.2.4.1, RFC 9204 §5, RFC 9220 §3, RFC 9297 §2.1.1).
const (
	settingQPACKMaxTableCapacity = 0x1
	settingMaxFieldSectionSize   = 0x6
	settingQPACKBlockedStreams   = 0x7
	settingExtendedConnect       = 0x8
	settingDatagrams             = 0x33
)

// Settings are what an end has said of itself in its SETTINGS frame (RFC 9114 §7.2.4).
type Settings struct {
	QPACKMaxTableCapacity uint64 // bytes of dynamic table that its decoder keeps; 0 if it did not say
	QPACKBlockedStreams   uint64 // streams that may wait for its decoder; 0 if it did not say
	MaxFieldSectionSize   uint64 // bytes of fields that it takes in one block; 1<<62-1 if it set no limit
	ExtendedConnect       bool   // a server that takes CONNECT requests with a :protocol (RFC 9220)
	Datagrams             bool   // HTTP datagrams may be sent to it (RFC 9297)
}

// maxSettingsLen bounds the SETTINGS frame that is accepted.
const maxSettingsLen = 8 << 10

// append appends the frame, with one setting that nobody knows (RFC 9114 §7.2.4.1).
func (s *Settings) append(b []byte, grease uint64) []byte {
	p := s.payload(nil)
	p = varint.Append(varint.Append(p, greaseBase+greaseStep*(grease%(1<<20))), grease%(1<<16))
	return append(appendFrameHead(b, frameSettings, len(p)), p...)
}

// payload appends what the frame holds.
func (s *Settings) payload(p []byte) []byte {
	put := func(id, v uint64) { p = varint.Append(varint.Append(p, id), v) }
	put(settingQPACKMaxTableCapacity, s.QPACKMaxTableCapacity)
	put(settingQPACKBlockedStreams, s.QPACKBlockedStreams)
	put(settingMaxFieldSectionSize, s.MaxFieldSectionSize)
	if s.ExtendedConnect {
		put(settingExtendedConnect, 1)
	}
	if s.Datagrams {
		put(settingDatagrams, 1)
	}
	return p
}

// parse reads the payload of a SETTINGS frame. Settings that nobody here knows mean nothing;
// those of HTTP/2 that HTTP/3 does not have, and any that comes twice, are errors.
func (s *Settings) parse(payload []byte) *fault {
	c := varint.NewCursor(payload)
	seen := make(map[uint64]bool)
	for c.Len() > 0 {
		id, v := c.Varint(), c.Varint()
		if c.Failed() {
			return sessionFault(FrameError, "SETTINGS ends within a setting")
		}
		if seen[id] {
			return sessionFault(SettingsError, "setting 0x%x comes twice", id)
		}
		seen[id] = true
		if f := s.set(id, v); f != nil {
			return f
		}
	}
	return nil
}

func (s *Settings) set(id, v uint64) *fault {
	switch id {
	case 0x0, 0x2, 0x3, 0x4, 0x5:
		return sessionFault(SettingsError, "setting 0x%x is of HTTP/2 only", id)
	case settingQPACKMaxTableCapacity:
		s.QPACKMaxTableCapacity = v
	case settingQPACKBlockedStreams:
		s.QPACKBlockedStreams = v
	case settingMaxFieldSectionSize:
		s.MaxFieldSectionSize = v
	case settingExtendedConnect, settingDatagrams:
		if v > 1 {
			return sessionFault(SettingsError, "setting 0x%x is %d, want 0 or 1", id, v)
		}
		if id == settingExtendedConnect {
			s.ExtendedConnect = v == 1
		} else {
			s.Datagrams = v == 1
		}
	}
	return nil
}
