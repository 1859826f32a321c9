package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Run is one run as seen at both ends: Client before the network in the client's direction,
// Server behind it. Its methods return what is not as it should be.
type Run struct {
	Client, Server *Trace
}

// Check is one thing that must hold of a run.
type Check func(*Run) error

// Handshakes checks that there were n handshakes, counted as the source connection IDs in the
// server's Initial packets.
func Handshakes(n int) Check {
	return func(r *Run) error {
		ids := map[string]bool{}
		for _, p := range r.Server.sent(false, Initial) {
			ids[p.SCID] = true
		}
		if len(ids) != n {
			return fmt.Errorf("%d handshakes, want %d", len(ids), n)
		}
		return nil
	}
}

// NoRetry checks that the client got no Retry packet.
func NoRetry(r *Run) error {
	if n := len(r.Client.sent(false, Retry)); n > 0 {
		return fmt.Errorf("%d Retry packets", n)
	}
	return nil
}

// Retried checks that a Retry was obeyed, with packet numbers that go on.
func Retried(r *Run) error {
	tokens := map[string]bool{}
	for _, p := range r.Client.sent(false, Retry) {
		tokens[p.Token] = p.Token != ""
	}
	if len(tokens) == 0 {
		return errors.New("no Retry packet")
	}
	highest, used := int64(-1), false
	for _, p := range r.Client.sent(true, Initial) {
		switch {
		case !p.Opened:
			return fmt.Errorf("%v cannot be opened", p)
		case p.Token == "":
			highest = max(highest, p.PN)
		case tokens[p.Token] && p.PN <= highest:
			return fmt.Errorf("%v has the token, but %d had none", p, highest)
		case tokens[p.Token]:
			used = true
		}
	}
	if !used {
		return errors.New("no Initial packet has the token")
	}
	return nil
}

// ClientHellos checks that the client has sent n ClientHellos at least, or one so often.
func ClientHellos(n int) Check {
	return func(r *Run) error {
		have := 0
		for _, c := range r.Client.Conns {
			have += c.HelloCopies
		}
		if have < n {
			return fmt.Errorf("%d ClientHellos, want %d or more", have, n)
		}
		return nil
	}
}

// OnlySuite checks that the clients offer one cipher suite.
func OnlySuite(suite uint16) Check {
	return func(r *Run) error {
		for _, c := range r.Client.Conns {
			for _, list := range c.Offered {
				if !slices.Equal(list, []uint16{suite}) {
					return fmt.Errorf("a ClientHello offers %#x", list)
				}
			}
			if len(c.Offered) == 0 || c.Suite != suite {
				return fmt.Errorf("%d ClientHellos, and the suite is %#x", len(c.Offered), c.Suite)
			}
		}
		return nil
	}
}

// StreamLimit checks that the server allows most bidirectional streams at first, or fewer.
func StreamLimit(most int64) Check {
	return func(r *Run) error {
		for _, c := range r.Client.Conns {
			if n, ok := streamLimit(c.serverParams, maxStreamsBidi); !ok || n > most {
				return fmt.Errorf("initial_max_streams_bidi is %d (seen: %t), want %d at most", n, ok, most)
			}
		}
		return nil
	}
}

// UniStreams checks that both ends allow that many unidirectional streams at first.
func UniStreams(client, server int64) Check {
	return func(r *Run) error {
		for _, c := range r.Client.Conns {
			theirs, heard := streamLimit(c.clientParams, maxStreamsUni)
			ours, told := streamLimit(c.serverParams, maxStreamsUni)
			if !heard || !told || theirs != client || ours != server {
				return fmt.Errorf("initial_max_streams_uni is %d and %d (seen: %t, %t), want %d and %d", theirs, ours, heard, told, client, server)
			}
		}
		return nil
	}
}

// Resumed checks that the second of two connections has no Certificate message.
func Resumed(r *Run) error {
	list := r.Client.Conns
	if len(list) != 2 || !list[0].Certificate || list[1].Certificate {
		var got []bool
		for _, c := range list {
			got = append(got, c.Certificate)
		}
		return fmt.Errorf("connections with a Certificate message: %v, want [true false]", got)
	}
	return nil
}

// Early checks that there was 0-RTT data, and most bytes of the clients' 1-RTT payload at most.
func Early(most int) Check {
	return func(r *Run) error {
		early, late := 0, 0
		for _, p := range r.Client.sent(true, ZeroRTT) {
			early += len(p.Payload)
		}
		for _, p := range r.Client.sent(true, OneRTT) {
			if p.Opened {
				late += len(p.Payload)
			}
		}
		if early == 0 || late > most {
			return fmt.Errorf("%d bytes of 0-RTT, %d of 1-RTT, want %d at most", early, late, most)
		}
		return nil
	}
}

// KeysUpdated checks that both sides have sent packets of key phase 1.
func KeysUpdated(r *Run) error {
	var n [2]int
	for _, p := range r.Client.Packets {
		if p.Type == OneRTT && p.Opened && p.Phase%2 == 1 {
			n[p.side()]++
		}
	}
	if n[0] == 0 || n[1] == 0 {
		return fmt.Errorf("the client has sent %d packets of key phase 1, the server %d", n[0], n[1])
	}
	return nil
}

// Marked checks that each side marks packets as ECN-capable and reports the other's marks, and
// that none are congested.
func Marked(r *Run) error {
	for _, side := range []struct {
		name   string
		trace  *Trace
		client bool
	}{{"client", r.Client, true}, {"server", r.Server, false}} {
		capable, congested, reports := 0, 0, 0
		for _, p := range side.trace.Packets {
			if p.FromClient != side.client {
				continue
			}
			switch p.ECN {
			case 1, 2:
				capable++
			case 3:
				congested++
			}
			for _, f := range p.Frames {
				if f.Type == frameAckECN {
					reports++
				}
			}
		}
		if capable == 0 || congested > 0 || reports == 0 {
			return fmt.Errorf("the %s has sent %d ECN-capable packets, %d congested ones, and %d ACK_ECN frames", side.name, capable, congested, reports)
		}
	}
	return nil
}

// LongChain checks that the server's Handshake CRYPTO stream comes to an offset.
func LongChain(offset int64) Check {
	return func(r *Run) error {
		most := int64(0)
		for _, p := range r.Server.sent(false, Handshake) {
			for _, f := range p.Frames {
				if f.Type == frameCrypto {
					most = max(most, f.Offset)
				}
			}
		}
		if most < offset {
			return fmt.Errorf("the server's Handshake CRYPTO frames reach offset %d, want %d", most, offset)
		}
		return nil
	}
}

// OnlyIPv6 checks that the server has sent nothing over IPv4.
func OnlyIPv6(r *Run) error {
	for _, p := range r.Server.Packets {
		if !p.FromClient && p.To.Addr().Is4() {
			return fmt.Errorf("%v", p)
		}
	}
	if len(r.Server.Packets) == 0 {
		return errors.New("no packet")
	}
	return nil
}

// path is one pair of addresses.
type path struct{ client, server netip.AddrPort }

func (p *Packet) path() path {
	if p.FromClient {
		return path{p.From, p.To}
	}
	return path{p.To, p.From}
}

// Validated checks that the server has met n paths or more, began with a PATH_CHALLENGE on each
// but the first, and got an answer to one of each path: a challenge may be lost as all else. And it checks that
// the client has answered: see unanswered.
func Validated(n int) Check {
	return func(r *Run) error {
		first := map[path]*Packet{}     // the server's, on each path
		challenged := map[string]path{} // where each challenge went
		answered := map[path]bool{}     // where one came back from
		for _, p := range r.Server.Packets {
			if p.FromClient {
				for _, f := range p.Frames {
					if f.Type == framePathResponse {
						answered[challenged[string(f.Data)]] = true
					}
				}
				continue
			}
			i := slices.IndexFunc(p.Frames, func(f Frame) bool { return f.Type == framePathChallenge })
			if i >= 0 {
				challenged[string(p.Frames[i].Data)] = p.path()
			}
			if first[p.path()] != nil {
				continue
			}
			if len(first) > 0 && i < 0 {
				return fmt.Errorf("%v is the first on its path and has no PATH_CHALLENGE", p)
			}
			if len(first) == 0 {
				answered[p.path()] = true // by the handshake
			}
			first[p.path()] = p
		}
		if len(first) < n {
			return fmt.Errorf("%d paths, want %d or more", len(first), n)
		}
		for at, p := range first {
			if !answered[at] {
				return fmt.Errorf("the challenge of %v has no answer, nor has another on its path", p)
			}
		}
		return r.unanswered()
	}
}

// What a client has to do with challenges.
const (
	mostWaiting = 16          // of those that it has not answered, it may drop the oldest
	lastSecond  = time.Second // of a connection, in which it need not have answered yet
)

// unanswered returns an error if the client has left a challenge without an answer (RFC 9000 §8.2.2). Whatever
// challenge the client's trace shows to have reached it, on whatever path, its value must be in a PATH_RESPONSE that
// the client has sent; whether that arrives is the network's matter. There are two exceptions. Where one more
// comes than may wait, one of those that wait may stay without. And of those that come in the last second before the
// client's last packet none needs to have one.
func (r *Run) unanswered() error {
	type challenge struct {
		value string
		in    *Packet
	}
	var waiting []challenge    // in the order in which they came
	known := map[string]bool{} // a copy counts once
	excused, last := 0, time.Duration(0)
	for _, p := range r.Client.Packets {
		if p.FromClient {
			last = p.At
		}
		for _, f := range p.Frames {
			switch v := string(f.Data); {
			case f.Type == framePathChallenge && !p.FromClient && !known[v]:
				if known[v] = true; len(waiting)-excused >= mostWaiting {
					excused++
				}
				waiting = append(waiting, challenge{v, p})
			case f.Type == framePathResponse && p.FromClient:
				waiting = slices.DeleteFunc(waiting, func(c challenge) bool { return c.value == v })
				excused = min(excused, len(waiting))
			}
		}
	}
	waiting = slices.DeleteFunc(waiting, func(c challenge) bool { return c.in.At+lastSecond > last })
	if len(waiting) > excused {
		return fmt.Errorf("the client has left %d challenges without an answer, and may so leave %d: the first is %x, in %v", len(waiting), excused, waiting[0].value, waiting[0].in)
	}
	return nil
}

// Addresses checks that the server has heard from n client addresses or more.
func Addresses(n int) Check {
	return func(r *Run) error {
		seen := map[netip.Addr]bool{}
		for _, p := range r.Server.Packets {
			if p.FromClient {
				seen[p.From.Addr()] = true
			}
		}
		if len(seen) < n {
			return fmt.Errorf("%d addresses, want %d or more", len(seen), n)
		}
		return nil
	}
}

// FreshIDs checks that the client begins each path with a connection ID that it has used on no
// other, and that there are two paths or more.
func FreshIDs(r *Run) error {
	used := map[string]path{}
	paths := map[path]bool{}
	for _, p := range r.Client.Packets {
		if !p.FromClient || !p.Opened {
			continue
		}
		at, known := used[p.DCID]
		if !paths[p.path()] && known && at != p.path() {
			return fmt.Errorf("%v is the first on its path and goes to the ID %x, as those on %v", p, p.DCID, at)
		}
		paths[p.path()] = true
		if !known {
			used[p.DCID] = p.path()
		}
	}
	if len(paths) < 2 {
		return fmt.Errorf("%d paths, want 2 or more", len(paths))
	}
	return nil
}

// account is what has gone between a server and one address of a connection's client.
type account struct {
	in, out   int
	validated bool
}

// Amplification returns the largest ratio of bytes from the server to bytes from the client at
// an address that had not shown yet that it gets packets: by a Handshake packet, a token, or the
// answer to a PATH_CHALLENGE that went there (RFC 9000 §8).
func (r *Run) Amplification() (worst float64) {
	type place struct {
		conn   *Conn
		client netip.AddrPort
	}
	accounts := map[place]*account{}
	challenged := map[string]*account{}
	at := func(c *Conn, client netip.AddrPort) *account {
		p, unknown := place{c, client}, place{nil, client}
		switch {
		case accounts[p] != nil:
		case c != nil && accounts[unknown] != nil: // what came before, damaged, was the connection's
			accounts[p] = accounts[unknown]
			delete(accounts, unknown)
		default:
			accounts[p] = new(account)
		}
		return accounts[p]
	}
	current := map[netip.AddrPort]*Conn{} // the newest connection at an address: whose packets are those that nobody can open
	for _, g := range r.Server.datagrams() {
		d, client := g[0].Datagram, g[0].path().client
		i := slices.IndexFunc(g, func(p *Packet) bool { return p.Conn != nil })
		if i >= 0 {
			current[client] = g[i].Conn
		}
		a := at(current[client], client)
		if !d.FromClient {
			a.out += len(d.Data)
			if !a.validated {
				worst = max(worst, float64(a.out)/float64(max(a.in, 1)))
			}
			for _, p := range g {
				for _, f := range p.Frames {
					if f.Type == framePathChallenge {
						challenged[string(f.Data)] = a
					}
				}
			}
			continue
		}
		a.in += len(d.Data)
		for _, p := range g {
			a.validated = a.validated || p.Opened && (p.Type == Handshake || p.Token != "")
			for _, f := range p.Frames {
				if b := challenged[string(f.Data)]; b != nil && f.Type == framePathResponse {
					b.validated = true
				}
			}
		}
	}
	return worst
}

// datagrams returns the packets of each datagram.
func (t *Trace) datagrams() [][]*Packet {
	var list [][]*Packet
	for _, p := range t.Packets {
		if n := len(list); n > 0 && list[n-1][0].Datagram == p.Datagram {
			list[n-1] = append(list[n-1], p)
			continue
		}
		list = append(list, []*Packet{p})
	}
	return list
}

// maxAmplification is how many bytes may go to an address for each that came from it.
const maxAmplification = 3.0

// Bounded checks that no address got more than three times what came from it.
func Bounded(r *Run) error {
	if a := r.Amplification(); a > maxAmplification {
		return fmt.Errorf("%.3f bytes sent for each that came from an address without validation, want %.2f at most", a, maxAmplification)
	}
	return nil
}

// resetSize is the largest stateless reset that anybody sends here: one looks like a 1-RTT
// packet that nobody can open.
const resetSize = 43

// Opened checks that the run was understood: that all packets which an end has sent can be
// opened.
func Opened(r *Run) error {
	for _, side := range []struct {
		trace  *Trace
		client bool
	}{{r.Client, true}, {r.Server, false}} {
		for _, p := range side.trace.Packets {
			switch p.Type {
			case Initial, Handshake, ZeroRTT, OneRTT:
				if p.FromClient == side.client && !p.Opened && (p.Type != OneRTT || p.Size > resetSize) {
					return fmt.Errorf("%v, %d bytes, cannot be opened", p, p.Size)
				}
			}
		}
	}
	return nil
}

// All joins checks.
func All(list ...Check) Check {
	return func(r *Run) error {
		var errs []error
		for _, check := range list {
			errs = append(errs, check(r))
		}
		return errors.Join(errs...)
	}
}
