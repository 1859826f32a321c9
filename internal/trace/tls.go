package trace

import "math"

// The TLS messages and extensions that are read.
const (
	clientHello         = 1
	serverHello         = 2
	encryptedExtensions = 8
	certificate         = 11

	protocols      = 0x10 // ALPN
	quicParameters = 0x39

	maxStreamsBidi     = 0x08
	maxStreamsUni      = 0x09
	preferredAddress   = 0x0d
	versionInformation = 0x11
)

// hello reads what has become whole of a handshake.
func (c *Conn) hello(side, level int, d *decoder) {
	m := c.crypto[side][level].messages()
	switch {
	case side == 0 && level == levelInitial:
		if h, ok := m[clientHello]; ok && c.Random == "" {
			c.clientHello(h)
		}
	case side == 1 && level == levelInitial:
		if h, ok := m[serverHello]; ok && c.Suite == 0 {
			r := &reader{b: h}
			r.bytes(2 + 32)
			r.bytes(r.number(1))
			c.Suite = uint16(r.number(2))
		}
	case side == 1 && level == levelHandshake:
		if _, ok := m[certificate]; ok {
			c.Certificate = true
		}
		if ee, ok := m[encryptedExtensions]; ok && c.serverParams == nil {
			c.serverParams = extension(ee, quicParameters)
			if p := parameter(c.serverParams, preferredAddress); len(p) > 4+2+16+2 {
				r := &reader{b: p[4+2+16+2:]}
				id := string(r.bytes(r.number(1)))
				c.ids[1][id] = true
				d.note(id)
			}
		}
	}
}

func (c *Conn) clientHello(h []byte) {
	r := &reader{b: h}
	r.bytes(2)
	c.Random = string(r.bytes(32))
	r.bytes(r.number(1))
	suites := &reader{b: r.bytes(r.number(2))}
	var list []uint16
	for len(suites.b) > 1 {
		list = append(list, uint16(suites.number(2)))
	}
	c.Offered = append(c.Offered, list)
	r.bytes(r.number(1))
	names := &reader{b: extension(r.b, protocols)}
	names.bytes(2)
	for len(names.b) > 0 && !names.failed {
		c.Protocols = append(c.Protocols, string(names.bytes(names.number(1))))
	}
	c.clientParams = extension(r.b, quicParameters)
}

// extension returns the value of one extension of a list.
func extension(list []byte, id int64) []byte {
	r := &reader{b: list}
	r = &reader{b: r.bytes(r.number(2))}
	for len(r.b) > 0 && !r.failed {
		t := r.number(2)
		if v := r.bytes(r.number(2)); t == id {
			return v
		}
	}
	return nil
}

// parameter returns the value of one of an end's transport parameters.
func parameter(params []byte, id int64) []byte {
	r := &reader{b: params}
	for len(r.b) > 0 && !r.failed {
		t := r.varint()
		if v := r.bytes(r.varint()); t == id {
			return v
		}
	}
	return nil
}

// streamLimit returns how many streams of a kind an end's parameters allow at first; false if
// they were not seen.
func streamLimit(params []byte, kind int64) (int64, bool) {
	if params == nil {
		return math.MaxInt64, false
	}
	r := &reader{b: parameter(params, kind)}
	if len(r.b) == 0 {
		return 0, true
	}
	return r.varint(), true
}

// version returns the one that the connection's 1-RTT packets are protected by: that of
// the Handshake packets, which its server has chosen.
func (c *Conn) version() uint32 {
	if c.chosen == 0 {
		return Version1
	}
	return c.chosen
}
