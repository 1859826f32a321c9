package trace

import (
	"encoding/hex"
	"slices"
)

// decoder is what is known in the middle of a trace.
type decoder struct {
	trace   Trace
	secrets map[string][]byte
	byID    map[firstID]*Conn
	retries map[string]*Conn // by the SCID of a Retry
	lengths []int            // of connection IDs in long headers, longest first
}

// firstID is what a client's first packets go to. After Version Negotiation it may be the same in
// another version, and what begins then is another connection.
type firstID struct {
	version uint32
	id      string
}

// keyName is who sends at which level.
type keyName struct {
	side, level int
	version     uint32
	id          string // Initial keys only
}

// The levels of encryption; 0-RTT has the packet numbers of 1-RTT.
const (
	levelInitial = iota
	levelHandshake
	levelApp
	levelEarly
)

// phases are the keys of one side's 1-RTT packets, by the number of key updates.
type phases []*keys

// side returns 0 for what a client sends, 1 for a server.
func (p *Packet) side() int {
	if p.FromClient {
		return 0
	}
	return 1
}

// split finds the packets of a datagram by what is not protected.
func (d *decoder) split(g *Datagram) {
	for b := g.Data; len(b) > 0; {
		p := &Packet{Datagram: g, Type: OneRTT, PN: -1}
		if b[0]&0x80 == 0 {
			if b[0]&0x40 != 0 {
				p.Size = len(b)
				p.Payload = b
				d.trace.Packets = append(d.trace.Packets, p)
			}
			return
		}
		r := &reader{b: b[1:]}
		p.Version = uint32(r.number(4))
		p.DCID = string(r.bytes(r.number(1)))
		p.SCID = string(r.bytes(r.number(1)))
		dialect, known := dialects[p.Version]
		switch p.Type = dialect.types[b[0]>>4&3]; {
		case p.Version == 0:
			p.Type = VersionNegotiation
			for len(r.b) >= 4 {
				p.Versions = append(p.Versions, uint32(r.number(4)))
			}
			r.b = nil
		case !known:
			p.Type = Unknown
			r.b = nil
		case p.Type == Retry:
			if p.Token = ""; len(r.b) >= 16 {
				p.Token = string(r.bytes(int64(len(r.b) - 16)))
			}
			r.b = nil
		default:
			if p.Type == Initial {
				p.Token = string(r.bytes(r.varint()))
			}
			size := r.varint()
			p.PN = int64(len(b) - len(r.b)) // where the number stands, until it is opened
			r.bytes(size)
		}
		if r.failed {
			return
		}
		p.Size = len(b) - len(r.b)
		p.Payload = b[:p.Size]
		d.note(p.DCID)
		d.note(p.SCID)
		d.trace.Packets = append(d.trace.Packets, p)
		b = r.b
	}
}

// note remembers how long connection IDs are.
func (d *decoder) note(id string) {
	if !slices.Contains(d.lengths, len(id)) && len(id) <= 20 {
		d.lengths = append(d.lengths, len(id))
		slices.SortFunc(d.lengths, func(a, b int) int { return b - a })
	}
}

// initial opens an Initial, or notes a Retry.
func (d *decoder) initial(p *Packet) {
	if p.Type == Retry {
		if c := d.latest(p); c != nil {
			p.Conn = c
			d.retries[p.SCID] = c
		}
		return
	}
	first := firstID{p.Version, p.DCID}
	if p.FromClient && (len(p.DCID) >= 8 || d.retries[p.DCID] != nil) && d.byID[first] == nil {
		k := initialKeys(p.Version, p.DCID)
		if d.open(p, k[0], -1) {
			c := d.retries[p.DCID]
			if c == nil {
				c = d.connect(p)
			}
			c.initialDCIDs = append(c.initialDCIDs, p.DCID)
			d.byID[first] = c
			d.take(p, c)
			return
		}
	}
	for i := len(d.trace.Conns) - 1; i >= 0; i-- {
		c := d.trace.Conns[i]
		for _, id := range c.initialDCIDs {
			k := c.initialKeys(p, id)
			if d.open(p, k, c.largest[p.side()][levelInitial]) {
				d.take(p, c)
				return
			}
		}
	}
}

func (d *decoder) connect(p *Packet) *Conn {
	c := &Conn{Number: len(d.trace.Conns), Client: p.From}
	c.ids = [2]map[string]bool{{}, {}}
	c.keys = map[keyName]*keys{}
	c.largest = [2][3]int64{{-1, -1, -1}, {-1, -1, -1}}
	d.trace.Conns = append(d.trace.Conns, c)
	return c
}

// initialKeys returns the keys of a packet's side and version from one of the connection's IDs.
func (c *Conn) initialKeys(p *Packet, id string) *keys {
	name := keyName{p.side(), levelInitial, p.Version, id}
	if c.keys[name] == nil {
		c.keys[name] = initialKeys(p.Version, id)[p.side()]
	}
	return c.keys[name]
}

// latest returns the newest connection of a packet's client.
func (d *decoder) latest(p *Packet) *Conn {
	client := p.From
	if !p.FromClient {
		client = p.To
	}
	for i := len(d.trace.Conns) - 1; i >= 0; i-- {
		if d.trace.Conns[i].Client == client {
			return d.trace.Conns[i]
		}
	}
	return nil
}

// open opens a long packet with the given keys, if that is what protects it.
func (d *decoder) open(p *Packet, k *keys, largest int64) bool {
	_, pn, payload, ok := k.open(p.Payload, int(p.PN), largest)
	if !ok {
		return false
	}
	p.PN, p.Payload, p.Opened = pn, payload, true
	return true
}

// take reads an opened packet of a connection.
func (d *decoder) take(p *Packet, c *Conn) {
	p.Conn = c
	side, level := p.side(), levelApp
	switch p.Type {
	case Initial:
		level = levelInitial
	case Handshake:
		level = levelHandshake
		c.chosen = p.Version
	}
	c.largest[side][level] = max(c.largest[side][level], p.PN)
	p.Frames, _ = parseFrames(p.Payload)
	if p.Type == Initial || p.Type == Handshake {
		c.ids[side][p.SCID] = true
	}
	for _, f := range p.Frames {
		switch f.Type {
		case frameNewID:
			c.ids[side][string(f.Data)] = true
			d.note(string(f.Data))
		case frameCrypto:
			if side == 0 && level == levelInitial && f.Offset == 0 && len(f.Data) > 0 && f.Data[0] == clientHello {
				c.HelloCopies++
			}
			c.crypto[side][level].add(f.Offset, f.Data)
			c.hello(side, level, d)
		}
	}
}

// protected opens a packet with keys from the key log.
func (d *decoder) protected(p *Packet) {
	for i := len(d.trace.Conns) - 1; i >= 0; i-- {
		c := d.trace.Conns[i]
		switch p.Type {
		case OneRTT:
			d.short(p, c)
		case Handshake:
			d.long(p, c, levelHandshake, "HANDSHAKE_TRAFFIC_SECRET")
		case ZeroRTT:
			d.long(p, c, levelEarly, "EARLY_TRAFFIC_SECRET")
		}
		if p.Opened {
			return
		}
	}
	p.Payload = nil
}

func (d *decoder) long(p *Packet, c *Conn, level int, label string) {
	k := d.keys(c, keyName{side: p.side(), level: level, version: p.Version}, label)
	if k == nil || len(p.DCID) > 0 && level == levelHandshake && !c.ids[1-p.side()][p.DCID] {
		return
	}
	if d.open(p, k, c.largest[p.side()][min(level, levelApp)]) {
		d.take(p, c)
	}
}

// keys returns the keys of a secret in the log, nil if there is none.
func (d *decoder) keys(c *Conn, name keyName, label string) *keys {
	if k := c.keys[name]; k != nil || c.Suite == 0 {
		return k
	}
	secret := d.secrets[[2]string{"CLIENT_", "SERVER_"}[name.side]+label+" "+hex.EncodeToString([]byte(c.Random))]
	if secret == nil {
		return nil
	}
	k := newKeys(name.version, c.Suite, secret)
	c.keys[name] = k
	return k
}

// short opens a 1-RTT packet with the keys of the newest key phase, the one after, or
// the one before.
func (d *decoder) short(p *Packet, c *Conn) {
	side := p.side()
	for _, n := range d.lengths {
		if len(p.Payload) < 1+n || n > 0 && !c.ids[1-side][string(p.Payload[1:1+n])] || n == 0 && !c.ids[1-side][""] {
			continue
		}
		if c.phases[side] == nil {
			k := d.keys(c, keyName{side: side, level: levelApp, version: c.version()}, "TRAFFIC_SECRET_0")
			if k == nil {
				return
			}
			c.phases[side] = phases{k}
		}
		list := c.phases[side]
		for phase := len(list); phase >= max(0, len(list)-2); phase-- {
			k := list[len(list)-1]
			if phase < len(list) {
				k = list[phase]
			} else {
				k = k.next()
			}
			first, pn, payload, ok := k.open(p.Payload, 1+n, c.largest[side][levelApp])
			if !ok || int(first>>2&1) != phase&1 {
				continue
			}
			if phase == len(list) {
				c.phases[side] = append(list, k)
			}
			p.DCID, p.PN, p.Payload, p.Opened, p.Phase = string(p.Payload[1:1+n]), pn, payload, true, phase
			d.take(p, c)
			return
		}
	}
}
