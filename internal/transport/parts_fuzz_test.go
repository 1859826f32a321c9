package transport

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// IntN makes the fuzzer's input the choices of a model.
func (f *fuzzer) IntN(n int) int {
	v := int(f.byte())
	if n > 256 {
		v |= int(f.byte()) << 8
	}
	return v % n
}

// FuzzSchedule is TestScheduleModel with the fuzzer's choices.
func FuzzSchedule(f *testing.F) {
	f.Add([]byte{0, 0, 0, 80, 0, 200, 80, 1, 255, 12, 1, 37, 0, 20, 2, 30, 50, 1, 4, 1, 20, 2})
	f.Add([]byte{3, 3, 3, 60, 2, 9, 9, 60, 1, 9, 9, 45, 0, 5, 1, 45, 1, 3, 0, 88, 1, 200, 3, 25, 2, 38, 0, 1, 99, 0, 1, 29, 2, 36})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1000 {
			return
		}
		in := &fuzzer{b}
		m := newScheduleModel(t, in)
		for len(in.b) > 0 {
			m.step()
		}
		m.clear()
	})
}

// FuzzTokens: nothing is a token that was not sealed with the secret, and what was says exactly
// what went in, whatever that is.
func FuzzTokens(f *testing.F) {
	now := mono.Time(time.Hour)
	newTokens := func() *Tokens {
		return NewTokens([32]byte{7}, 1_700_000_000_000_000_000, func(b []byte) { clear(b) })
	}
	good := newTokens()
	addr := netip.MustParseAddrPort("192.0.2.1:5000")
	id, other := wire.MakeConnectionID([]byte("original")), wire.MakeConnectionID([]byte("12345678901234567890"))
	f.Add(good.New(now, wire.Version2, addr.Addr()), true)
	f.Add(good.retry(now, wire.Version1, addr, id, other), true)
	opened, _ := good.aead.Open(nil, make([]byte, 12), good.retry(now, wire.Version1, addr, id, other)[12:], nil)
	f.Add(opened, false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		tokens := newTokens()
		if sealed {
			tok, ok := tokens.open(now, b)
			if !ok {
				return
			}
			again := tokens.seal(tok.kind, tok.version, now.Add(-tok.age), netip.AddrPortFrom(tok.addr, tok.port), tok.original, tok.chosen)
			if !bytes.Equal(again, b) { // all of the fuzzer's are made with one nonce
				t.Fatalf("%x is taken, and was never made", b)
			}
			return
		}
		token := tokens.aead.Seal(make([]byte, 12, 400), make([]byte, 12), b, nil)
		tok, ok := tokens.open(now, token)
		if !ok {
			return
		}
		issued := uint64(tokens.epoch + int64(now) - int64(tok.age))
		ip := tok.addr.As16()
		want := append([]byte{byte(tok.kind)}, binary.BigEndian.AppendUint32(nil, tok.version)...)
		want = append(binary.BigEndian.AppendUint64(want, issued), ip[:]...)
		want = binary.BigEndian.AppendUint16(want, tok.port)
		want = append(append(want, byte(tok.original.Len())), tok.original.Bytes()...)
		want = append(append(want, byte(tok.chosen.Len())), tok.chosen.Bytes()...)
		if !bytes.Equal(want, b) {
			t.Fatalf("%x is read as %x", b, want)
		}
	})
}

// FuzzQLogFrames: whatever frames a packet has, the log has as many, in JSON, and what is not
// a frame ends it without more.
func FuzzQLogFrames(f *testing.F) {
	f.Add([]byte{0x08, 4, 'd', 'a', 't', 'a'}, uint8(3))
	f.Add(wire.MakeAck(numbers(1, 2, 5, 9), 100, &wire.ECNCounts{ECT0: 3}).Append(nil), uint8(20))
	f.Add(wire.Close{App: true, Code: 1 << 40, Reason: []byte("\"\x00\xff\u2028")}.Append(nil), uint8(0))
	f.Add([]byte{0x40, 0xaf, 1, 2, 3, 4, 0x1f, 0x52, 0x34}, uint8(0))
	f.Fuzz(func(t *testing.T, payload []byte, exponent uint8) {
		var r recorder
		list := r.parse(payload, exponent%21)
		frames, err := wire.ParseFrames(payload)
		unknown := 0
		if n := len(list); n > 0 {
			if _, is := list[n-1].(qlog.UnknownFrame); is {
				unknown = 1
			}
		}
		if len(list) < len(frames) || err == nil && len(list) != len(frames) || unknown == 1 && err == nil {
			t.Fatalf("%d frames in the log, %d in the packet, %v", len(list), len(frames), err)
		}
		log := qlog.NewLog(0)
		log.Add(0, "", &qlog.Packet{Frames: list, HasFrames: true})
		records, _ := log.Take()
		for _, record := range bytes.Split(records, []byte{0x1e}) {
			if len(record) > 0 && !json.Valid(record) {
				t.Fatalf("%q is no JSON", record)
			}
		}
	})
}

// FuzzDatagramQueue: what goes in comes out, in order, from no more memory than there has to be.
func FuzzDatagramQueue(f *testing.F) {
	f.Add([]byte{0, 10, 0, 200, 2, 0, 1, 3, 0, 255, 2, 0, 2, 0, 2, 0, 3, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		type entry struct {
			p     []byte
			early bool
		}
		var q datagramQueue
		var want []entry
		pool, bytesIn := new(stream.List), 0
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			n := int(ops[i+1])
			switch ops[i] % 4 {
			case 0, 1:
				p := bytes.Repeat([]byte{byte(i)}, n*n*int(ops[i]%4)+n)
				takes := len(want) < maxQueuedDatagrams && bytesIn+len(p) <= maxQueuedBytes
				if q.takes(len(p)) != takes {
					t.Fatalf("%d datagrams of %d bytes: room for %d more bytes: %v", len(want), bytesIn, len(p), !takes)
				}
				if takes {
					q.push(pool, p, n&1 != 0)
					want, bytesIn = append(want, entry{p, n&1 != 0}), bytesIn+len(p)
				}
			case 2:
				if len(want) > 0 {
					q.drop(pool)
					want, bytesIn = want[1:], bytesIn-len(want[0].p)
				}
			case 3:
				if n < 10 {
					q.release(pool)
					want, bytesIn = nil, 0
				}
			}
			if q.count != len(want) || q.bytes != bytesIn || (len(want) == 0) != (pool.Outstanding() == 0) {
				t.Fatalf("%d datagrams of %d bytes in %d chunks, want %d of %d", q.count, q.bytes, pool.Outstanding(), len(want), bytesIn)
			}
			if len(want) == 0 {
				continue
			}
			if p, early := q.peek(); !bytes.Equal(p, want[0].p) || early != want[0].early {
				t.Fatalf("the oldest has %d bytes, early %v, want %d, %v", len(p), early, len(want[0].p), want[0].early)
			}
		}
		q.release(pool)
	})
}

// FuzzReplies: what limits stateless answers lets through a burst and the rate, and no host more
// than its share; a token serves once in its life.
func FuzzReplies(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 3, 4, 0, 0, 1, 5, 1, 5, 1, 5, 2, 9, 2, 9, 3, 255, 1, 5, 4, 30, 2, 9})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const burst, every, share = 4, 10 * time.Millisecond, 2
		start := mono.Time(time.Hour)
		now, granted, quiet := start, 0, start
		b := newBucket(start, burst, every)
		var hosts resetHosts
		sent, last := map[byte]int{}, map[byte]mono.Time{}
		var used usedTokens
		when := map[byte]mono.Time{}
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			n := ops[i+1]
			switch ops[i] % 5 {
			case 0:
				ok := b.take(now)
				if !ok && now.Sub(quiet) >= every {
					t.Fatalf("refused after %v without a request", now.Sub(quiet))
				}
				if ok {
					granted++
				}
				if quiet = now; granted > burst+int(now.Sub(start)/every) {
					t.Fatalf("%d answers in %v", granted, now.Sub(start))
				}
			case 1:
				if at, ok := last[n]; !ok || now.Sub(at) >= resetQuiet {
					sent[n] = 0
				}
				ok := hosts.take(now, netip.AddrFrom4([4]byte{10, 0, 0, n}), share)
				if ok != (sent[n] < share) {
					t.Fatalf("host %d has had %d answers, one more: %v", n, sent[n], ok)
				}
				if last[n] = now; ok {
					sent[n]++
				}
			case 2: // after two lives nobody remembers, and the token's age tells
				at, ok := when[n]
				if seen := used.seen(now, []byte{n}); ok && now.Sub(at) <= tokenLifetime && !seen || !ok && seen {
					t.Fatalf("token %d was used: %v, is known: %v", n, ok, seen)
				}
				if !ok {
					used.add(now, []byte{n})
					when[n] = now
				}
			case 3:
				now = now.Add(time.Duration(n) * time.Millisecond)
			case 4:
				now = now.Add(time.Duration(n) * time.Minute)
			}
		}
	})
}

// FuzzMuxTables: whatever connections say of their IDs and reset tokens, in any order, even the
// same as each other, the tables lead to the one that owns what it says, and to none that is gone.
func FuzzMuxTables(f *testing.F) {
	f.Add([]byte{0, 0, 2, 1, 3, 17, 1, 0, 2, 17, 4, 1, 5, 1, 6, 0, 8, 1, 7, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		r := newMuxRig(t, nil)
		m := &muxModel{muxRig: r, ids: map[wire.ConnectionID]*Conn{}, tokens: map[wire.ResetToken]*Conn{}, open: map[*Conn]bool{}}
		for i := 0; i+1 < min(len(ops), 400); i += 2 {
			m.op(ops[i]%9, ops[i+1])
			m.check()
		}
		for _, c := range m.conns {
			m.remove(c)
		}
		m.check()
		if len(r.mux.conns)+len(r.mux.resets.conns)+len(r.mux.owned)+r.mux.Handshakes() > 0 {
			t.Fatalf("%d IDs, %d tokens, %d connections and %d handshakes are left", len(r.mux.conns), len(r.mux.resets.conns), len(r.mux.owned), r.mux.Handshakes())
		}
	})
}

// muxModel is what the tables of a Mux should say.
type muxModel struct {
	*muxRig
	conns  []*Conn
	open   map[*Conn]bool // value: the handshake is not over
	ids    map[wire.ConnectionID]*Conn
	tokens map[wire.ResetToken]*Conn
}

// op does something about the n-th connection, and an ID or token of sixteen.
func (m *muxModel) op(op, n byte) {
	id, token := wire.MakeConnectionID([]byte{n >> 4, 2, 3, 4, 5, 6, 7, 8}), wire.ResetToken{n >> 4, 1}
	switch op {
	case 0:
		if len(m.conns) < 8 {
			c := m.mux.Connect(m.now, m.path, m.cfg)
			m.conns, m.open[c] = append(m.conns, c), false
			m.drain(c)
		}
		return
	case 1:
		m.accept(id)
		return
	}
	if len(m.conns) == 0 {
		return
	}
	c := m.conns[int(n&15)%len(m.conns)]
	_, open := m.open[c]
	switch op {
	case 2:
		m.mux.Apply(c, &Event{Kind: EventIssued, Detail: &Detail{CID: id}})
		if open && m.ids[id] == nil {
			m.ids[id] = c
		}
	case 3:
		m.mux.Apply(c, &Event{Kind: EventRetired, Detail: &Detail{CID: id}})
		if open && m.ids[id] == c {
			delete(m.ids, id)
		}
	case 4:
		m.mux.Apply(c, &Event{Kind: EventTokenKnown, Detail: &Detail{Token: token}})
		if open {
			m.tokens[token] = c
		}
	case 5:
		m.mux.Apply(c, &Event{Kind: EventTokenForgotten, Detail: &Detail{Token: token}})
		if open && m.tokens[token] == c {
			delete(m.tokens, token)
		}
	case 6:
		m.mux.Apply(c, &Event{Kind: EventSecure})
		if open {
			m.open[c] = false
		}
	case 7:
		m.remove(c)
	case 8: // it moves away and comes back
		ids, tokens := m.mux.Owned(c)
		m.mux.Adopt(c, ids, tokens)
		if !open {
			m.open[c] = false
		}
		for _, token := range tokens {
			m.tokens[token] = c
		}
	}
}

// accept makes a connection of a first packet, if the ID that it is sent to is nobody's.
func (m *muxModel) accept(id wire.ConnectionID) {
	m.dcid = id
	d := m.initial(nil, 1200)
	if m.ids[id] != nil {
		m.want("an ID in use", d, Deliver)
		return
	}
	if len(m.conns) == 8 {
		return
	}
	m.want("a first packet", d, Initial)
	c := m.mux.Accept(m.now, d, m.cfg)
	m.conns, m.open[c], m.ids[id] = append(m.conns, c), true, c
	m.drain(c)
}

// drain takes the IDs that a new connection has given itself.
func (m *muxModel) drain(c *Conn) {
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		if m.mux.Apply(c, &e); e.Kind == EventIssued {
			m.ids[e.CID] = c
		}
	}
}

func (m *muxModel) remove(c *Conn) {
	m.mux.Apply(c, &Event{Kind: EventGone})
	delete(m.open, c)
	for id, owner := range m.ids {
		if owner == c {
			delete(m.ids, id)
		}
	}
	for token, owner := range m.tokens {
		if owner == c {
			delete(m.tokens, token)
		}
	}
}

func (m *muxModel) check() {
	handshakes := 0
	for _, unfinished := range m.open {
		if unfinished {
			handshakes++
		}
	}
	if m.mux.Conns() != len(m.open) || m.mux.Handshakes() != handshakes || len(m.mux.conns) != len(m.ids) || len(m.mux.resets.conns) != len(m.tokens) {
		m.t.Fatalf("%d connections, %d handshakes, %d IDs, %d tokens; want %d, %d, %d, %d", m.mux.Conns(), m.mux.Handshakes(),
			len(m.mux.conns), len(m.mux.resets.conns), len(m.open), handshakes, len(m.ids), len(m.tokens))
	}
	for id, c := range m.ids {
		if got := m.want("a packet", m.short(id, 60), Deliver); got != c {
			m.t.Fatalf("%v leads to %p, want %p", id, got, c)
		}
	}
	for token, c := range m.tokens {
		d := m.short(wire.MakeConnectionID([]byte("nobody's")), 60)
		copy(d.Data[44:], token[:])
		if got, v := m.mux.Route(m.now, d, dgram.NewBatch(make([]byte, 0, 2000))); v != Deliver || got != c {
			m.t.Fatalf("a reset with %x leads to %p, %v; want %p", token, got, v, c)
		}
	}
}
