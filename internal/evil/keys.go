package evil

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Role is which end of the connection the evil peer plays.
type Role bool

// The two roles.
const (
	Client Role = false
	Server Role = true
)

func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}

// Suite is TLS_AES_128_GCM_SHA256, which Initial packets use, and scripted
// handshakes throughout.
const Suite uint16 = 0x1301

// Keys are the keys of both directions at every level. The zero Keys have none;
// they must not be copied once they have.
type Keys struct {
	OneRTT  *protect.OneRTT // with the key phases; made by the first Read or Write if nil
	Version uint32          // that keys are installed for from now on, and packets sealed in; 0 is version 1

	levels map[uint32]*levels
}

// levels are the keys of one version's long headers.
type levels struct {
	openers [wire.OneRTT]*protect.Opener
	sealers [wire.OneRTT]*protect.Sealer
}

func (k *Keys) version() uint32 {
	if k.Version == 0 {
		return wire.Version1
	}
	return k.Version
}

// of returns the keys of a version: those of the one in use for one that has none.
func (k *Keys) of(version uint32) *levels {
	if k.levels == nil {
		k.levels = make(map[uint32]*levels)
	}
	l := k.levels[version]
	if l == nil && version != k.version() {
		return k.of(k.version())
	}
	if l == nil {
		l = new(levels)
		k.levels[version] = l
	}
	return l
}

// Initial derives the Initial keys of a peer in this role (RFC 9001 §5.2).
func (k *Keys) Initial(dcid []byte, role Role) {
	read, write := protect.InitialSecrets(k.version(), dcid)
	if role == Client {
		read, write = write, read
	}
	k.Read(wire.Initial, Suite, read)
	k.Write(wire.Initial, Suite, write)
}

// Scripted installs the secrets of a scripted handshake for packets of the given types: all
// but Initial if there are none.
func (k *Keys) Scripted(role Role, types ...wire.PacketType) {
	if len(types) == 0 {
		types = []wire.PacketType{wire.ZeroRTT, wire.Handshake, wire.OneRTT}
	}
	for _, typ := range types {
		k.Read(typ, Suite, Secret(typ, role == Server))
		k.Write(typ, Suite, Secret(typ, role == Client))
	}
}

// Read installs the secret that opens the packets of a type.
func (k *Keys) Read(typ wire.PacketType, suite uint16, secret []byte) {
	var err error
	if typ == wire.OneRTT {
		err = k.oneRTT().SetRead(k.version(), suite, secret)
	} else {
		k.of(k.version()).openers[typ], err = protect.NewOpener(k.version(), suite, secret)
	}
	must(err)
}

// Write installs the secret that seals the packets of a type.
func (k *Keys) Write(typ wire.PacketType, suite uint16, secret []byte) {
	var err error
	if typ == wire.OneRTT {
		err = k.oneRTT().SetWrite(k.version(), suite, secret)
	} else {
		k.of(k.version()).sealers[typ], err = protect.NewSealer(k.version(), suite, secret)
	}
	must(err)
}

func (k *Keys) oneRTT() *protect.OneRTT {
	if k.OneRTT == nil {
		k.OneRTT = new(protect.OneRTT)
	}
	return k.OneRTT
}

// CanRead reports whether packets of a type can be opened.
func (k *Keys) CanRead(typ wire.PacketType) bool {
	if typ == wire.OneRTT {
		return k.OneRTT != nil && k.OneRTT.CanRead()
	}
	return k.of(k.version()).openers[typ] != nil
}

// CanWrite reports whether packets of a type can be sealed.
func (k *Keys) CanWrite(typ wire.PacketType) bool {
	if typ == wire.OneRTT {
		return k.OneRTT != nil && k.OneRTT.CanWrite()
	}
	return k.of(k.version()).sealers[typ] != nil
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("BUG: keys of an evil peer: %v", err))
	}
}

// Received is a packet that the other end sent.
type Received struct {
	Version    uint32 // of a long header
	Type       wire.PacketType
	DCID, SCID wire.ConnectionID
	Token      []byte
	PN         int64
	First      byte // without protection
	Payload    []byte
	Frames     []wire.Frame
}

// Open opens the packet at the front of b, in place, and returns its length. idLen
// is how long the peer's connection ID is, for a short header does not say; largest
// is the largest packet number seen in a packet's space. What the other end sends
// must be in order: the error says what is not.
func (k *Keys) Open(now mono.Time, b []byte, idLen int, largest func(wire.PacketType) int64) (p Received, n int, err error) {
	var o protect.Opened
	if b[0]&0x80 == 0 {
		if len(b) < 1+idLen {
			return p, 0, fmt.Errorf("a short packet of %d bytes, shorter than the ID", len(b))
		}
		p.Type, n = wire.OneRTT, len(b)
		p.DCID = wire.MakeConnectionID(b[1 : 1+idLen])
		if !k.CanRead(wire.OneRTT) {
			return p, n, fmt.Errorf("a 1-RTT packet before its keys")
		}
		var r protect.OpenResult
		o, r = k.OneRTT.Open(now, b, 1+idLen, largest(wire.OneRTT))
		if r != protect.OpenOK && r != protect.OpenUpdated {
			return p, n, fmt.Errorf("a 1-RTT packet that does not open: %v", r)
		}
	} else {
		h, ok := wire.ParseLong(b)
		if !ok {
			return p, 0, fmt.Errorf("a datagram with %d bytes that are no packet: %x", len(b), b)
		}
		p.Version, p.Type, p.DCID, p.SCID, p.Token, n = h.Version, h.Type, h.DCID, h.SCID, h.Token, h.End
		if h.Type >= wire.OneRTT || k.of(h.Version).openers[h.Type] == nil {
			return p, n, fmt.Errorf("a packet without keys for it: %v", h.Type)
		}
		if o, ok = k.of(h.Version).openers[h.Type].Open(b[:n], h.PNOffset, largest(h.Type)); !ok {
			return p, n, fmt.Errorf("a packet that does not open: %v", h.Type)
		}
	}
	p.PN, p.First, p.Payload = o.PN, o.First, o.Payload
	p.Frames, err = wire.ParseFrames(o.Payload)
	if err == nil && len(p.Frames) == 0 {
		err = fmt.Errorf("no frames")
	}
	if err != nil {
		return p, n, fmt.Errorf("a packet with frames %v, %w", p.Frames, err)
	}
	for _, f := range p.Frames {
		if !f.Type().Permitted(p.Type) {
			return p, n, fmt.Errorf("%v in a packet of type %v", f, p.Type)
		}
	}
	return p, n, nil
}
