package trace

import (
	"fmt"
	"net/netip"
	"time"
)

// Datagram is one UDP payload as it was seen at one end of the network.
type Datagram struct {
	At         time.Duration // since the beginning
	From, To   netip.AddrPort
	FromClient bool // which of the two ends has sent it
	ECN        uint8
	Data       []byte
}

// Type says what a packet is.
type Type uint8

// The types of packets.
const (
	Initial Type = iota
	ZeroRTT
	Handshake
	Retry
	VersionNegotiation
	OneRTT
	Unknown // a long header of a version that is not known
)

// String returns the name of the type.
func (t Type) String() string {
	return [...]string{"Initial", "0-RTT", "Handshake", "Retry", "Version Negotiation", "1-RTT", "unknown"}[t]
}

// The versions of QUIC that are known.
const (
	Version1 uint32 = 0x00000001
	Version2 uint32 = 0x6b3343cf
)

// Packet is one packet of a datagram. What is protected is there if Opened.
type Packet struct {
	*Datagram
	Type    Type
	Version uint32 // 0 for 1-RTT
	DCID    string // bytes; of 1-RTT packets only once opened
	SCID    string // bytes; long headers only
	Token   string // Initial and Retry
	Size    int    // bytes, with its header

	Versions []uint32 // that a Version Negotiation packet lists

	Conn    *Conn // nil if it belongs to none that is known
	Opened  bool
	PN      int64
	Phase   int // key updates before it
	Payload []byte
	Frames  []Frame
}

// Conn is one connection of a trace.
type Conn struct {
	Number      int // from 0, in the order of their first packets
	Client      netip.AddrPort
	Random      string     // of the ClientHello
	Suite       uint16     // 0 before the ServerHello
	Offered     [][]uint16 // cipher suites of each ClientHello
	Protocols   []string   // that the ClientHello offers
	HelloCopies int        // CRYPTO frames that begin a ClientHello, those sent again too
	Certificate bool       // the server has sent one

	chosen       uint32             // the version of the Handshake packets
	clientParams []byte             // transport parameters, as in the TLS extension
	serverParams []byte             // likewise
	ids          [2]map[string]bool // connection IDs that the client, and the server, takes packets with
	initialDCIDs []string           // that Initial keys come from: the first, and the one after a Retry
	crypto       [2][3]stream
	keys         map[keyName]*keys
	largest      [2][3]int64
	phases       [2]phases
}

// Trace is what was seen at one end.
type Trace struct {
	Packets []*Packet
	Conns   []*Conn
}

// Decode takes datagrams apart, which are in the order in which they were seen, with the
// lines of an NSS key log. What cannot be opened stays closed.
func Decode(list []Datagram, keyLog []byte) *Trace {
	d := &decoder{secrets: parseKeyLog(keyLog), byID: map[firstID]*Conn{}, retries: map[string]*Conn{}}
	for i := range list {
		d.split(&list[i])
	}
	for _, p := range d.trace.Packets {
		if p.Type == Initial || p.Type == Retry {
			d.initial(p)
		}
	}
	for _, p := range d.trace.Packets {
		if p.Type == Handshake {
			d.protected(p)
		}
	}
	for _, p := range d.trace.Packets {
		if p.Type == OneRTT || p.Type == ZeroRTT {
			d.protected(p)
		}
	}
	return &d.trace
}

// sent returns the packets of one type that an end has sent.
func (t *Trace) sent(client bool, typ Type) []*Packet {
	var list []*Packet
	for _, p := range t.Packets {
		if p.FromClient == client && p.Type == typ {
			list = append(list, p)
		}
	}
	return list
}

// String says what a packet is, for errors.
func (p *Packet) String() string {
	return fmt.Sprintf("%v %v from %v to %v at %v", p.Type, p.PN, p.From, p.To, p.At)
}
