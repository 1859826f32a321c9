package quic

import (
	"bytes"
	"crypto/tls"
)

// dataExtra is where the protocol above QUIC has its part of a ticket: what 0-RTT with it
// depends on, at both ends.
var dataExtra = []byte("cinnabar above 1\x00")

// maxTicketData is how many bytes a server may put into its tickets.
const maxTicketData = 1024 // no limit: of an option

// maxHeldTickets is how many tickets wait for SetTicketData.
const maxHeldTickets = 4

// withData adds what the protocol above says to a ticket.
func withData(extra [][]byte, data []byte) [][]byte {
	if data == nil {
		return extra
	}
	return append(extra, append(bytes.Clone(dataExtra), data...))
}

// takesData reports whether early data may come with a ticket, as far as the protocol above is
// concerned.
func (l *listener) takesData(extra [][]byte) bool {
	data, _ := findExtra(extra, dataExtra)
	if l.opts.AcceptEarly != nil {
		return l.opts.AcceptEarly(data)
	}
	return bytes.Equal(data, l.opts.TicketData)
}

// heldTicket is one that TLS has stored before its data was known.
type heldTicket struct {
	key string
	cs  *tls.ClientSessionState
}

// TicketData returns what SetTicketData was given in the session that this one resumes, nil
// if there was nothing, or if this session may send no early data.
func (c *ClientSession) TicketData() []byte { return bytes.Clone(c.tickets.past) }

// HoldTickets makes the tickets of the server's that come from now on wait for SetTicketData
// before the session cache and the SessionTicket hook have them: at most four, beyond which the
// oldest waits no longer. If the session ends before, the hook
// has them without; the cache waits on.
func (c *ClientSession) HoldTickets() {
	c.mu.Lock()
	defer c.unlock(flushNone)
	c.tickets.holding = !c.tickets.settled
}

// SetTicketData says what a later session with early data must know of this one, beside what
// QUIC itself remembers: its TicketData. It goes with the tickets that are held and those that
// come, and nil, which is nothing, lets go of those that are held.
func (c *ClientSession) SetTicketData(data []byte) {
	t := c.tickets
	c.mu.Lock()
	t.data, t.settled, t.holding = bytes.Clone(data), true, false
	held := t.held
	t.held = nil
	c.unlock(flushNone)
	for _, h := range held {
		t.store(h.key, h.cs, data)
	}
}

// Put takes a new ticket from TLS, or nil to forget what was loaded.
func (t *ticketCache) Put(key string, cs *tls.ClientSessionState) {
	s := &t.c.Session
	s.mu.Lock()
	data := t.data
	if cs != nil && t.holding {
		t.held = append(t.held, heldTicket{key, cs})
		if len(t.held) <= maxHeldTickets {
			s.unlock(flushNone)
			return
		}
		key, cs = t.held[0].key, t.held[0].cs
		t.held = t.held[1:]
	}
	s.unlock(flushNone)
	t.store(key, cs, data)
}

// store gives a ticket to the program, with what the protocol above says.
func (t *ticketCache) store(key string, cs *tls.ClientSessionState, data []byte) {
	if cs != nil && data != nil {
		ticket, state, err := cs.ResumptionState()
		if err != nil || state == nil {
			return
		}
		state.Extra = withData(state.Extra, data)
		if cs, err = tls.NewResumptionState(ticket, state); err != nil {
			return
		}
	}
	if t.user != nil { // if it panics there is one ticket less
		_ = call(func() error { t.user.Put(key, cs); return nil })
	}
	t.tell(cs)
}
