package securecontext

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// tickets reads TicketKeys and SessionIDContext.
func (c *Context) tickets(o *Options) error {
	c.partition = o.SessionIDContext
	keys := o.TicketKeys
	if len(keys) == 0 && c.partition != "" {
		// Where crypto/tls made keys of its own, those of a listener would be good for
		// every context that it can choose.
		var key [32]byte
		_, _ = rand.Read(key[:]) // it never fails
		keys = [][32]byte{key}
	}
	if len(keys) > 0 {
		c.base.SetSessionTicketKeys(c.PartitionTicketKeys(keys))
	}
	return nil
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
