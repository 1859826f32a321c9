package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// made returns a run of packets that were opened, each in a datagram of its own, which both ends
// have seen.
func made(conns []*Conn, packets ...Packet) *Run {
	tr := &Trace{Conns: conns}
	for _, p := range packets {
		d := Datagram{At: time.Duration(len(tr.Packets)) * time.Millisecond, From: clientAddr, To: serverAddr}
		if p.Datagram != nil {
			d = *p.Datagram
		}
		if d.Data == nil {
			d.Data = make([]byte, 1200)
		}
		p.Datagram, p.Opened, p.Size = &d, true, len(d.Data)
		if len(conns) > 0 && p.Conn == nil {
			p.Conn = conns[0]
		}
		tr.Packets = append(tr.Packets, &p)
	}
	return &Run{Client: tr, Server: tr}
}

var (
	up      = &Datagram{From: clientAddr, To: serverAddr, FromClient: true}
	down    = &Datagram{From: serverAddr, To: clientAddr}
	moved   = netip.MustParseAddrPort("192.0.2.3:1001")
	upNew   = &Datagram{From: moved, To: serverAddr, FromClient: true}
	downNew = &Datagram{From: serverAddr, To: moved}
	down6   = &Datagram{From: netip.MustParseAddrPort("[::2]:443"), To: netip.MustParseAddrPort("[::1]:1")}
)

func marked(d *Datagram, ecn uint8) *Datagram {
	e := *d
	e.ECN = ecn
	return &e
}

func sized(d *Datagram, n int) *Datagram {
	e := *d
	e.Data = make([]byte, n)
	return &e
}

// verdict is a check with a run that passes it and some that do not.
type verdict struct {
	check Check
	good  *Run
	bad   []*Run
}

// judge wants that a check lets through what is right and finds what is wrong.
func judge(t *testing.T, list map[string]verdict) {
	for name, c := range list {
		if err := c.check(c.good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, r := range c.bad {
			if err := c.check(r); err == nil {
				t.Errorf("%s: bad run %d passes", name, i)
			}
		}
	}
}

func TestChecks(t *testing.T) {
	report := Frame{Type: frameAckECN}
	hello := func(suites ...uint16) []*Conn { return []*Conn{{Offered: [][]uint16{suites}, Suite: chacha20Poly1305}} }
	limit := func(n byte) []*Conn { return []*Conn{{serverParams: []byte{maxStreamsBidi, 1, n}}} }
	uni := func(client, server byte) []*Conn {
		return []*Conn{{clientParams: []byte{maxStreamsUni, 1, client}, serverParams: []byte{maxStreamsUni, 1, server}}}
	}
	judge(t, map[string]verdict{
		"handshakes": {Handshakes(2),
			made(nil, Packet{Datagram: down, SCID: "a"}, Packet{Datagram: down, SCID: "b"}, Packet{Datagram: up, SCID: "c"}),
			[]*Run{made(nil, Packet{Datagram: down, SCID: "a"}), made(nil)}},
		"version 1": {OnlyVersion1,
			made(nil, Packet{Datagram: down, Version: Version1}, Packet{Datagram: up, Version: Version2}),
			[]*Run{made(nil, Packet{Datagram: down, Version: Version1}, Packet{Datagram: down, Version: Version2}), made(nil)}},
		"version 2": {Upgraded,
			made(nil, Packet{Datagram: up, Version: Version1}, Packet{Datagram: down, Version: Version2}, Packet{Datagram: up, Type: Handshake, Version: Version2}, Packet{Datagram: down, Type: Handshake, Version: Version2}),
			[]*Run{
				made(nil, Packet{Datagram: up, Version: Version2}, Packet{Datagram: down, Version: Version2}, Packet{Datagram: up, Type: Handshake, Version: Version2}, Packet{Datagram: down, Type: Handshake, Version: Version2}),
				made(nil, Packet{Datagram: up, Version: Version1}, Packet{Datagram: down, Version: Version2}, Packet{Datagram: up, Type: Handshake, Version: Version1}, Packet{Datagram: down, Type: Handshake, Version: Version2}),
			}},
		"version 2 alone": {Only(Version2),
			made(nil, Packet{Datagram: up, Version: Version2}, Packet{Datagram: down, Version: Version2}, Packet{Datagram: up, Type: OneRTT}),
			[]*Run{
				made(nil, Packet{Datagram: up, Version: Version1}, Packet{Datagram: down, Version: Version2}),
				made(nil, Packet{Datagram: up, Version: Version2}, Packet{Datagram: down, Type: VersionNegotiation}, Packet{Datagram: up, Version: Version2}, Packet{Datagram: down, Version: Version2}),
				made([]*Conn{{serverParams: information(Version1)}}, Packet{Datagram: up, Version: Version2}, Packet{Datagram: down, Version: Version2}),
				made(nil),
			}},
		"Version Negotiation": {Negotiated(Version1),
			negotiated(Version1, "s", Version1),
			[]*Run{
				negotiated(Version2, "s", Version1), // the client goes on in another one
				negotiated(Version1, "s", Version2), // the packet does not list it
				negotiated(Version1, "s", Version1, Version2),
				negotiated(Version1, "x", Version1), // an answer to somebody else
				made(nil, Packet{Datagram: up, Version: Version1}, Packet{Datagram: down, Version: Version1}),
				made(nil),
			}},
		"no Retry": {NoRetry, made(nil, Packet{Datagram: down}), []*Run{made(nil, Packet{Datagram: down, Type: Retry})}},
		"Retry": {Retried,
			made(nil, Packet{Datagram: up, PN: 3}, Packet{Datagram: down, Type: Retry, Token: "t"}, Packet{Datagram: up, PN: 4, Token: "t"}),
			[]*Run{
				made(nil, Packet{Datagram: up, PN: 3}, Packet{Datagram: down, Type: Retry, Token: "t"}, Packet{Datagram: up, PN: 3, Token: "t"}),
				made(nil, Packet{Datagram: up, PN: 3}, Packet{Datagram: down, Type: Retry, Token: "t"}, Packet{Datagram: up, PN: 4, Token: "u"}),
				made(nil, Packet{Datagram: up, PN: 3}),
			}},
		"ClientHellos":           {ClientHellos(2), made([]*Conn{{HelloCopies: 2}}), []*Run{made([]*Conn{{HelloCopies: 1}}), made(nil)}},
		"suite":                  {OnlySuite(chacha20Poly1305), made(hello(chacha20Poly1305)), []*Run{made(hello(chacha20Poly1305, aes128GCM)), made(hello(aes128GCM)), made([]*Conn{{}})}},
		"unidirectional streams": {UniStreams(3, 16), made(uni(3, 16)), []*Run{made(uni(2, 16)), made(uni(3, 17)), made([]*Conn{{}})}},
		"stream limit":           {StreamLimit(50), made(limit(50)), []*Run{made(limit(51)), made([]*Conn{{}})}},
		"resumption":             {Resumed, made([]*Conn{{Certificate: true}, {}}), []*Run{made([]*Conn{{Certificate: true}, {Certificate: true}}), made([]*Conn{{Certificate: true}})}},
		"0-RTT": {Early(10),
			made(nil, Packet{Datagram: up, Type: ZeroRTT, Payload: []byte("x")}, Packet{Datagram: up, Type: OneRTT, Payload: make([]byte, 10)}),
			[]*Run{
				made(nil, Packet{Datagram: up, Type: OneRTT, Payload: make([]byte, 10)}),
				made(nil, Packet{Datagram: up, Type: ZeroRTT, Payload: []byte("x")}, Packet{Datagram: up, Type: OneRTT, Payload: make([]byte, 11)}),
			}},
		"key update": {KeysUpdated,
			made(nil, Packet{Datagram: up, Type: OneRTT, Phase: 1}, Packet{Datagram: down, Type: OneRTT, Phase: 1}),
			[]*Run{made(nil, Packet{Datagram: up, Type: OneRTT, Phase: 1}, Packet{Datagram: down, Type: OneRTT})}},
		"ECN": {Marked,
			made(nil, Packet{Datagram: marked(up, 2), Frames: []Frame{report}}, Packet{Datagram: marked(down, 1), Frames: []Frame{report}}),
			[]*Run{
				made(nil, Packet{Datagram: marked(up, 2), Frames: []Frame{report}}, Packet{Datagram: marked(down, 2)}),
				made(nil, Packet{Datagram: marked(up, 2), Frames: []Frame{report}}, Packet{Datagram: down, Frames: []Frame{report}}),
				made(nil, Packet{Datagram: marked(up, 2), Frames: []Frame{report}}, Packet{Datagram: marked(down, 1), Frames: []Frame{report}}, Packet{Datagram: marked(down, 3)}),
			}},
		"long chain": {LongChain(7500),
			made(nil, Packet{Datagram: down, Type: Handshake, Frames: []Frame{{Type: frameCrypto, Offset: 7500}}}),
			[]*Run{made(nil, Packet{Datagram: down, Type: Handshake, Frames: []Frame{{Type: frameCrypto, Offset: 7499}}})}},
		"IPv6": {OnlyIPv6, made(nil, Packet{Datagram: down6}), []*Run{made(nil, Packet{Datagram: down6}, Packet{Datagram: down}), made(nil)}},
	})
}

// information returns parameters of a server that says that it has chosen a version.
func information(chosen uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{versionInformation, 4}, chosen)
}

// negotiated returns a run that begins in version 2, where Version Negotiation comes from an ID and
// lists versions, and that goes on in one.
func negotiated(to uint32, from string, listed ...uint32) *Run {
	return made([]*Conn{{serverParams: information(to)}},
		Packet{Datagram: up, Version: Version2, DCID: "s", SCID: "c"},
		Packet{Datagram: down, Type: VersionNegotiation, DCID: "c", SCID: from, Versions: listed},
		Packet{Datagram: up, Version: to, DCID: "s", SCID: "c"}, Packet{Datagram: down, Version: to},
		Packet{Datagram: up, Type: Handshake, Version: to}, Packet{Datagram: down, Type: Handshake, Version: to})
}

func TestChecksOfPaths(t *testing.T) {
	challenge := Frame{Type: framePathChallenge, Data: []byte("12345678")}
	lost := Frame{Type: framePathChallenge, Data: []byte("87654321")}
	response := Frame{Type: framePathResponse, Data: []byte("12345678")}
	report := Frame{Type: frameAckECN}
	judge(t, map[string]verdict{
		"paths": {Validated(2),
			made(nil, Packet{Datagram: down}, Packet{Datagram: downNew, Frames: []Frame{report, challenge}}, Packet{Datagram: upNew, Frames: []Frame{response}}),
			[]*Run{
				made(nil, Packet{Datagram: down}, Packet{Datagram: downNew}, Packet{Datagram: downNew, Frames: []Frame{challenge}}, Packet{Datagram: upNew, Frames: []Frame{response}}),
				made(nil, Packet{Datagram: down}, Packet{Datagram: downNew, Frames: []Frame{challenge}}),
				made(nil, Packet{Datagram: down}),
			}},
		"paths with loss": {Validated(2),
			made(nil, Packet{Datagram: down}, Packet{Datagram: downNew, Frames: []Frame{lost}}, Packet{Datagram: downNew, Frames: []Frame{challenge}}, Packet{Datagram: upNew, Frames: []Frame{response}}),
			[]*Run{
				made(nil, Packet{Datagram: down}, Packet{Datagram: downNew, Frames: []Frame{lost}}, Packet{Datagram: down, Frames: []Frame{challenge}}, Packet{Datagram: upNew, Frames: []Frame{response}}),
			}},
		"addresses": {Addresses(2), made(nil, Packet{Datagram: up}, Packet{Datagram: upNew}), []*Run{made(nil, Packet{Datagram: up}, Packet{Datagram: up})}},
		"fresh IDs": {FreshIDs,
			made(nil, Packet{Datagram: up, DCID: "a"}, Packet{Datagram: upNew, DCID: "b"}, Packet{Datagram: up, DCID: "a"}),
			[]*Run{made(nil, Packet{Datagram: up, DCID: "a"}, Packet{Datagram: upNew, DCID: "a"}), made(nil, Packet{Datagram: up, DCID: "a"})}},
		"amplification": {Bounded,
			made([]*Conn{{}}, Packet{Datagram: up}, Packet{Datagram: sized(down, 3600)}, Packet{Datagram: up, Type: Handshake}, Packet{Datagram: sized(down, 9000)}),
			[]*Run{made([]*Conn{{}}, Packet{Datagram: up}, Packet{Datagram: sized(down, 3601)})}},
		"amplification of a path": {Bounded,
			made([]*Conn{{}},
				Packet{Datagram: sized(upNew, 40), Type: OneRTT}, Packet{Datagram: sized(downNew, 120), Type: OneRTT, Frames: []Frame{challenge}},
				Packet{Datagram: sized(upNew, 40), Type: OneRTT, Frames: []Frame{response}}, Packet{Datagram: sized(downNew, 9000), Type: OneRTT}),
			[]*Run{made([]*Conn{{}},
				Packet{Datagram: sized(upNew, 40), Type: OneRTT}, Packet{Datagram: sized(downNew, 121), Type: OneRTT, Frames: []Frame{challenge}})}},
	})
}

// at returns a datagram at a time.
func at(d *Datagram, when time.Duration) *Datagram {
	e := *d
	e.At = when
	return &e
}

// A client answers every challenge that reaches it, but for those that are one too many, or come at the end.
func TestUnanswered(t *testing.T) {
	const s = time.Second
	frame := func(typ uint64, v int) Frame {
		return Frame{Type: typ, Data: binary.BigEndian.AppendUint64(nil, uint64(v))}
	}
	asks := func(when time.Duration, values ...int) (list []Packet) {
		for _, v := range values {
			list = append(list, Packet{Datagram: at(downNew, when), Type: OneRTT, Frames: []Frame{frame(framePathChallenge, v)}})
		}
		return list
	}
	answers := func(when time.Duration, values ...int) []Packet {
		p := Packet{Datagram: at(upNew, when), Type: OneRTT}
		for _, v := range values {
			p.Frames = append(p.Frames, frame(framePathResponse, v))
		}
		return []Packet{p}
	}
	var many []int // one more than may wait
	for v := range mostWaiting + 1 {
		many = append(many, v)
	}
	for name, c := range map[string]struct {
		good    bool
		packets [][]Packet
	}{
		"all":                    {true, [][]Packet{asks(0, 1, 2), answers(0, 2, 1), answers(9 * s)}},
		"late":                   {true, [][]Packet{asks(0, 1), answers(5*s, 1), answers(9 * s)}},
		"one not":                {false, [][]Packet{asks(0, 1, 2), answers(0, 2), answers(9 * s)}},
		"another value":          {false, [][]Packet{asks(0, 1), answers(0, 2), answers(9 * s)}},
		"twice":                  {true, [][]Packet{asks(0, 1), answers(0, 1), asks(s, 1), answers(9 * s)}},
		"in the last second":     {true, [][]Packet{asks(8*s+1, 1), answers(9 * s)}},
		"a second before":        {false, [][]Packet{asks(8*s, 1), answers(9 * s)}},
		"one too many":           {true, [][]Packet{asks(0, many...), answers(0, many[1:]...), answers(9 * s)}},
		"two of one too many":    {false, [][]Packet{asks(0, many...), answers(0, many[2:]...), answers(9 * s)}},
		"one of as many as wait": {false, [][]Packet{asks(0, many[1:]...), answers(0, many[2:]...), answers(9 * s)}},
		"one, and one later":     {false, [][]Packet{asks(0, many...), answers(0, many...), asks(s, 99), answers(9 * s)}},
		"many, but in turns":     {true, [][]Packet{asks(0, many[1:]...), answers(0, many[1]), asks(0, 99), answers(0, many[2:]...), answers(0, 99), answers(9 * s)}},
		"one of many in turns":   {false, [][]Packet{asks(0, many[1:]...), answers(0, many[1]), asks(0, 99), answers(0, many[2:]...), answers(9 * s)}},
	} {
		if err := made(nil, slices.Concat(c.packets...)...).unanswered(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What one end has sent and the other has not seen is lost, and nobody's fault.
	server := made(nil, slices.Concat([]Packet{{Datagram: down}}, asks(0, 1, 2), answers(0, 2), answers(9*s))...).Server
	for name, c := range map[string]struct {
		good   bool
		client [][]Packet
	}{
		"the challenge is lost": {true, [][]Packet{asks(0, 2), answers(0, 2), answers(9 * s)}},
		"the answer is lost":    {true, [][]Packet{asks(0, 1, 2), answers(0, 1), answers(0, 2), answers(9 * s)}},
		"there is none":         {false, [][]Packet{asks(0, 1, 2), answers(0, 2), answers(9 * s)}},
	} {
		if err := Validated(2)(&Run{Client: made(nil, slices.Concat(c.client...)...).Client, Server: server}); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be opened is found, but for what looks like a stateless reset.
func TestOpened(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		size int
		ok   bool
	}{{OneRTT, 43, true}, {OneRTT, 44, false}, {Handshake, 43, false}, {Unknown, 1200, true}} {
		r := made(nil, Packet{Datagram: sized(down, c.size), Type: c.typ})
		r.Server.Packets[0].Opened = false
		if err := Opened(r); (err == nil) != c.ok {
			t.Errorf("%v, %d bytes: %v", c.typ, c.size, err)
		}
	}
	if err := All(Opened, NoRetry)(made(nil, Packet{Datagram: down, Type: Retry})); err == nil {
		t.Error("All passes though one check does not")
	}
}
