package http3

import (
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// RememberSettings makes the sessions of a listener carry these options' settings in their tickets,
// and take early data only if a client that keeps to the settings of its ticket keeps to these, too
// (RFC 9114 §7.2.4.2). A Server does so by itself; whoever calls NewSession with the same options in
// a ListenOptions.Handler needs it where other listeners, earlier ones among them, have the
// same ReplayRegister. It sets TicketData and AcceptEarly. The error is a *quic.OptionError.
func (o Options) RememberSettings(lo *quic.ListenOptions) error {
	o, err := o.settled()
	if err != nil {
		return err
	}
	now := o.settings(true)
	payload := now.payload(nil)
	lo.TicketData = payload
	lo.AcceptEarly = func(ticketData []byte) bool {
		old := settingsUnsaid()
		return len(ticketData) > 0 && old.parse(ticketData) == nil && now.keeps(&old, payload) == nil
	}
	return nil
}

// recall gives a client's session the settings of the one that it resumes, which hold for its early
// data, and makes its own tickets wait for those that are to come.
func (s *Session) recall() {
	c := s.q.Client()
	if c == nil {
		return
	}
	c.HoldTickets()
	old := settingsUnsaid()
	if data := c.TicketData(); data != nil && old.parse(data) == nil {
		s.peer, s.recalled = old, true
	}
}

// keepsWord checks the server's settings against those that its session was resumed with.
func (s *Session) keepsWord(p *Settings, payload []byte) *fault {
	if !s.recalled || !s.q.EarlyDataAccepted() {
		return nil
	}
	s.mu.Lock()
	old := s.peer
	s.mu.Unlock()
	return p.keeps(&old, payload)
}

// settingsUnsaid are what holds for a peer that has said nothing.
func settingsUnsaid() Settings { return Settings{MaxFieldSectionSize: varint.Max} }

// keeps says what a client that goes by old would do wrong with a server that has said s, in
// a frame with that payload; nil if nothing. What was said once must be said again.
func (s *Settings) keeps(old *Settings, payload []byte) *fault {
	lower := func(name string, now, then uint64) *fault {
		return sessionFault(SettingsError, "%s is %d after early data that was sent with %d", name, now, then)
	}
	switch {
	case old.QPACKMaxTableCapacity != 0 && s.QPACKMaxTableCapacity != old.QPACKMaxTableCapacity: // RFC 9204 §3.2.3
		f := lower("QPACK_MAX_TABLE_CAPACITY", s.QPACKMaxTableCapacity, old.QPACKMaxTableCapacity)
		f.code = QPACKDecoderStreamError
		return f
	case s.QPACKBlockedStreams < old.QPACKBlockedStreams:
		return lower("QPACK_BLOCKED_STREAMS", s.QPACKBlockedStreams, old.QPACKBlockedStreams)
	case s.MaxFieldSectionSize < old.MaxFieldSectionSize:
		return lower("MAX_FIELD_SECTION_SIZE", s.MaxFieldSectionSize, old.MaxFieldSectionSize)
	case old.MaxFieldSectionSize != varint.Max && !says(payload, settingMaxFieldSectionSize):
		return sessionFault(SettingsError, "no MAX_FIELD_SECTION_SIZE after early data that was sent with %d", old.MaxFieldSectionSize)
	case old.ExtendedConnect && !s.ExtendedConnect: // RFC 9220 §3
		return lower("ENABLE_CONNECT_PROTOCOL", 0, 1)
	case old.Datagrams && !s.Datagrams: // RFC 9297 §2.1.1
		return lower("H3_DATAGRAM", 0, 1)
	}
	return nil
}

// says reports whether a setting is in the payload of a SETTINGS frame.
func says(payload []byte, setting uint64) bool {
	c := varint.NewCursor(payload)
	for c.Len() > 0 && !c.Failed() {
		if id, _ := c.Varint(), c.Varint(); id == setting {
			return true
		}
	}
	return false
}
