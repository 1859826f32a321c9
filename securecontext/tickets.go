package securecontext

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
)

// tickets reads TicketKeys and SessionIDContext.
func (c *Context) tickets(o *Options) error {
	c.partition = o.SessionIDContext
	if len(o.TicketKeys) > 0 {
		c.ticketKeys = c.PartitionTicketKeys(o.TicketKeys)
	} else {
		// Where crypto/tls made keys of its own, those of a listener would be good for
		// every context that it can choose.
		c.ticketKeys = make([][32]byte, 1)
		_, _ = rand.Read(c.ticketKeys[0][:]) // it never fails
	}
	if len(o.TicketKeys) > 0 || c.partition != "" {
		c.keyed = true
		c.base.SetSessionTicketKeys(c.ticketKeys)
	}
	return nil
}

// SetTicketKeys gives t, which is made of c for a session of a listener with another context, the keys of c.
// It reports false, and leaves t, where the listener's keys serve for c too: c has neither TicketKeys nor a
// SessionIDContext, and the listener's context, which may be nil, has no SessionIDContext. It is for package quic: the
// keys of a Context do not change.
func (c *Context) SetTicketKeys(t *tls.Config, listener *Context) bool {
	if !c.keyed && (listener == nil || listener.partition == "") {
		return false
	}
	t.SetSessionTicketKeys(c.ticketKeys)
	return true
}

// PartitionTicketKeys returns what ticket keys become under Options.SessionIDContext:
// as many others, or the same without one.
func (c *Context) PartitionTicketKeys(keys [][32]byte) [][32]byte {
	if c.partition == "" {
		return keys
	}
	list := make([][32]byte, 0, len(keys))
	for _, key := range keys {
		mac := hmac.New(sha256.New, key[:])
		mac.Write([]byte("cinnabar session id context\x00" + c.partition))
		list = append(list, [32]byte(mac.Sum(nil)))
	}
	return list
}
