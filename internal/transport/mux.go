package transport

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// MuxConfig is what a Mux is made with.
type MuxConfig struct {
	Rand        func([]byte) // fills with random bytes; may be called by Tokens from other goroutines
	ResetSecret [32]byte     // behind our stateless reset tokens (RFC 9000 §10.3.2)
	TokenSecret [32]byte     // behind our address validation tokens
	Epoch       int64        // wall clock at mono time 0, ns since 1970

	ValidateAddress   bool          // answer every first Initial without a token with Retry
	RetryTokenTimeout time.Duration // 0 is 10 s
	RetryAbove        int           // handshakes in flight above which Retry is asked for; 0 is 1000
	RefuseAbove       int           // and above which first Initials are dropped; 0 is 10000
	DisableReset      bool          // send no stateless resets
	MaxResetsPerHost  int           // stateless resets to one host before it has to be quiet; 0 is 10
}

// Mux is an endpoint without sockets: it finds the connection that a datagram is
// for, and answers the others without keeping state (RFC 9000 §5.2).
type Mux struct {
	cfg       MuxConfig
	tokens    *Tokens
	listening bool
	erased    bool     // the secret behind reset tokens is gone
	versions  []uint32 // that new connections may begin in

	conns  map[wire.ConnectionID]*Conn
	resets resetTable
	owned  map[*Conn]*owned

	handshakes int // servers' connections whose handshake is not complete, failed ones among them
	used       usedTokens
	replies    bucket      // stateless replies but Retry
	retries    retryBudget // Retry packets
	resetHosts resetHosts
	stats      MuxStats
}

// owned is what the tables hold for one connection.
type owned struct {
	ids       []wire.ConnectionID
	tokens    []wire.ResetToken
	handshake bool
}

// MuxStats counts what became of datagrams.
type MuxStats struct {
	Routed              uint64 // to a connection
	Initials            uint64 // first packets of new connections
	VersionNegotiations uint64 // sent
	Retries             uint64 // sent
	Resets              uint64 // stateless resets sent
	Refused             uint64 // connections refused with a CONNECTION_CLOSE
	InvalidTokens       uint64 // tokens that were not ours, too old, or of another address
	RepliesSuppressed   uint64 // by the rate limit on stateless replies
	Overloaded          uint64 // first packets dropped because of too many handshakes
	BlockedPorts        uint64 // from ports that no client has, and dropped unread: among Ignored
	Ignored             uint64 // everything else
}

// Verdict is what is to be done with a datagram.
type Verdict uint8

const (
	Drop    Verdict = iota
	Deliver         // hand it to the connection's Receive
	Reply           // send the batch
	Initial         // a new connection: Accept, Refuse or drop
)

// NewMux returns an endpoint that knows no connection.
func NewMux(now mono.Time, cfg MuxConfig) *Mux {
	if cfg.RetryTokenTimeout == 0 {
		cfg.RetryTokenTimeout = 10 * time.Second
	}
	if cfg.RetryAbove == 0 {
		cfg.RetryAbove = retryAbove
	}
	if cfg.RefuseAbove == 0 {
		cfg.RefuseAbove = refuseAbove
	}
	m := &Mux{
		cfg:      cfg,
		tokens:   NewTokens(cfg.TokenSecret, cfg.Epoch, cfg.Rand),
		versions: wire.Versions(),
		conns:    make(map[wire.ConnectionID]*Conn),
		resets:   newResetTable(&cfg.ResetSecret),
		owned:    make(map[*Conn]*owned),
	}
	clear(m.cfg.TokenSecret[:]) // Tokens has made a key of it
	if cfg.MaxResetsPerHost == 0 {
		m.cfg.MaxResetsPerHost = resetsPerHost
	}
	m.replies = newBucket(now, repliesBurst, replyInterval)
	m.retries = newRetryBudget(now)
	return m
}

// SetListening says whether new connections are wanted.
func (m *Mux) SetListening(on bool) { m.listening = on }

// SetVersions says which versions new connections may begin in; nil is all that we speak.
func (m *Mux) SetVersions(list []uint32) {
	if m.versions = list; len(list) == 0 {
		m.versions = wire.Versions()
	}
}

// SetValidateAddress switches between asking every client for a Retry and
// asking only under load.
func (m *Mux) SetValidateAddress(on bool) { m.cfg.ValidateAddress = on }

// SetDisableReset switches stateless resets off or on.
func (m *Mux) SetDisableReset(off bool) { m.cfg.DisableReset = off }

// ResetsDisabled reports whether stateless resets are off.
func (m *Mux) ResetsDisabled() bool { return m.cfg.DisableReset }

// Tokens returns the maker of this endpoint's tokens, for Config.Tokens.
func (m *Mux) Tokens() *Tokens { return m.tokens }

// Stats returns the counts so far.
func (m *Mux) Stats() MuxStats { return m.stats }

// Conns returns how many connections have an entry.
func (m *Mux) Conns() int { return len(m.owned) }

// Handshakes returns how many servers' handshakes are not complete.
func (m *Mux) Handshakes() int { return m.handshakes }

// ResetToken returns the stateless reset token of one of our connection IDs:
// a pure function of it and the secret, so that it outlives the connection. Who shares the
// secret must send packets of a connection where it is (RFC 9000 §21.11).
func (m *Mux) ResetToken(cid wire.ConnectionID) (token wire.ResetToken) {
	if m.erased { // a token of no secret would be anybody's
		m.cfg.Rand(token[:])
		return token
	}
	mac := hmac.New(sha256.New, m.cfg.ResetSecret[:])
	mac.Write(cid.Bytes())
	return wire.ResetToken(mac.Sum(nil)[:16])
}

// Erase overwrites the secret behind the reset tokens, when every connection that has this Mux for its
// Config.ResetToken is over: tokens are of no use then. What aead and cipher of Tokens and of the table
// of peers' tokens hold is in the hands of crypto/aes and the collector.
func (m *Mux) Erase() {
	clear(m.cfg.ResetSecret[:])
	m.erased = true
}

// Route finds out what to do with a datagram. With Reply the answer is in reply,
// which must be empty.
func (m *Mux) Route(now mono.Time, d *dgram.Datagram, reply *dgram.Batch) (*Conn, Verdict) {
	inv, ok := wire.ParseInvariant(d.Data, connIDLen)
	blocked := reflects(d.Path.Remote.Port())
	if ok && len(inv.DCID) <= wire.MaxConnectionIDLen {
		if c := m.conns[wire.MakeConnectionID(inv.DCID)]; c != nil && !(blocked && c.server) {
			m.stats.Routed++
			return c, Deliver
		}
	}
	if c := m.resetFor(d.Data); c != nil {
		m.stats.Routed++
		return c, Deliver
	}
	v := Drop
	switch {
	case !ok:
	case blocked:
		m.stats.BlockedPorts++
	case !inv.Long:
		v = m.reset(now, d, &inv, reply)
	case inv.Version == 0:
	case !slices.Contains(m.versions, inv.Version):
		v = m.negotiate(now, d, &inv, reply)
	default:
		v = m.initial(now, d, reply)
	}
	if v == Drop {
		m.stats.Ignored++
	}
	return nil, v
}

// resetFor returns the connection whose stateless reset the datagram is.
func (m *Mux) resetFor(b []byte) *Conn {
	if len(b) < 5+16 {
		return nil
	}
	return m.resets.find(b[len(b)-16:])
}

// initial looks at the first packet of a connection nobody knows.
func (m *Mux) initial(now mono.Time, d *dgram.Datagram, reply *dgram.Batch) Verdict {
	p, ok := wire.ParseLong(d.Data)
	if !ok || p.Type != wire.Initial || !m.listening ||
		len(d.Data) < wire.MinInitialSize || p.DCID.Len() < 8 {
		return Drop
	}
	if m.handshakes >= m.cfg.RefuseAbove {
		m.stats.Overloaded++
		return Drop
	}
	h := p // on the heap, for what follows: what is dropped is spared that
	switch m.judge(now, d, &h) {
	case tokenForged:
		m.stats.InvalidTokens++
		if m.close(now, d, &h, wire.InvalidToken, reply) {
			return Reply
		}
		return Drop
	case tokenMissing:
		if len(h.Token) > 0 {
			m.stats.InvalidTokens++
		}
		if m.cfg.ValidateAddress || m.handshakes >= m.cfg.RetryAbove {
			return m.retry(now, d, &h, reply)
		}
	}
	m.stats.Initials++
	return Initial
}

type tokenVerdict uint8

const (
	tokenMissing tokenVerdict = iota
	tokenGood
	tokenForged // a Retry token that cannot be right (RFC 9000 §8.1.2)
)

// judge looks at the token of a first Initial. A NEW_TOKEN token that does not
// serve counts as none (RFC 9000 §8.1.3).
func (m *Mux) judge(now mono.Time, d *dgram.Datagram, h *wire.LongHeader) tokenVerdict {
	if len(h.Token) == 0 {
		return tokenMissing
	}
	t, ok := m.tokens.open(now, h.Token)
	remote, port := d.Path.Remote.Addr().WithZone(""), d.Path.Remote.Port() // tokens have no zones
	switch {
	case !ok:
		return tokenMissing
	case t.kind == tokenRetry:
		if t.version != h.Version || t.addr != remote || t.port != port || t.chosen != h.DCID || !fresh(t.age, m.cfg.RetryTokenTimeout) {
			return tokenForged
		}
		return tokenGood
	case t.version != h.Version || t.addr != remote || !fresh(t.age, tokenLifetime) || m.used.seen(now, h.Token):
		return tokenMissing
	}
	return tokenGood
}

func fresh(age, most time.Duration) bool { return age >= -time.Minute && age <= most }

// Proven reports whether a datagram that Route called Initial has a token which
// shows that its sender owns the address it comes from.
func (m *Mux) Proven(now mono.Time, d *dgram.Datagram) bool {
	h, ok := wire.ParseLong(d.Data)
	return ok && h.Type == wire.Initial && m.judge(now, d, &h) == tokenGood
}

// Challenge writes a Retry for a datagram that Route called Initial and that is not
// Proven, and reports whether there is one to send.
func (m *Mux) Challenge(now mono.Time, d *dgram.Datagram, reply *dgram.Batch) bool {
	h, ok := wire.ParseLong(d.Data)
	return ok && h.Type == wire.Initial && m.retry(now, d, &h, reply) == Reply
}

// Accept makes the connection for a datagram that Route called Initial. The
// caller hands the datagram to its Receive next.
func (m *Mux) Accept(now mono.Time, d *dgram.Datagram, cfg *Config) *Conn {
	h, ok := wire.ParseLong(d.Data)
	if !ok {
		panic("BUG: Accept of a datagram that is no Initial")
	}
	o := Opening{Path: d.Path, Version: h.Version, DCID: h.DCID, SCID: h.SCID, OriginalDCID: h.DCID}
	if t, ok := m.tokens.open(now, h.Token); ok {
		o.Validated = m.judge(now, d, &h) == tokenGood
		if t.kind == tokenRetry {
			o.Retried, o.OriginalDCID = true, t.original
		} else if o.Validated {
			m.used.add(now, h.Token)
		}
	}
	c := NewServer(now, o, cfg)
	m.handshakes++
	// The rest of the client's first flight may be in the same batch of
	// datagrams: it finds its way from now on.
	m.conns[h.DCID] = c
	m.owned[c] = &owned{handshake: true, ids: []wire.ConnectionID{h.DCID}}
	return c
}

// Connect makes a client's connection.
func (m *Mux) Connect(now mono.Time, path dgram.Path, cfg *Config) *Conn {
	c := NewClient(now, path, cfg)
	m.owned[c] = &owned{}
	return c
}

// Owned returns the connection IDs and reset tokens that are routed to a connection.
func (m *Mux) Owned(c *Conn) ([]wire.ConnectionID, []wire.ResetToken) {
	o := m.owned[c]
	if o == nil {
		return nil, nil
	}
	return append([]wire.ConnectionID(nil), o.ids...), append([]wire.ResetToken(nil), o.tokens...)
}

// Adopt routes to a connection that another Mux made, when it moves to another
// socket. Both route to it until Remove.
func (m *Mux) Adopt(c *Conn, ids []wire.ConnectionID, tokens []wire.ResetToken) {
	if m.owned[c] == nil {
		m.owned[c] = &owned{}
	}
	for _, id := range ids {
		m.Apply(c, &Event{Kind: EventIssued, Detail: &Detail{CID: id}})
	}
	for _, t := range tokens {
		m.Apply(c, &Event{Kind: EventTokenKnown, Detail: &Detail{Token: t}})
	}
}

// Apply keeps the tables in step with a connection's events.
func (m *Mux) Apply(c *Conn, e *Event) {
	o := m.owned[c]
	if o == nil {
		return
	}
	switch e.Kind {
	case EventIssued:
		if m.conns[e.CID] == nil {
			m.conns[e.CID] = c
			o.ids = append(o.ids, e.CID)
		}
	case EventRetired:
		if m.conns[e.CID] == c {
			delete(m.conns, e.CID)
			o.ids = without(o.ids, e.CID)
		}
	case EventTokenKnown:
		m.resets.add(e.Token, c)
		if !slices.ContainsFunc(o.tokens, e.Token.Equal) { // it may come back to where it was
			o.tokens = append(o.tokens, e.Token)
		}
	case EventTokenForgotten:
		m.resets.drop(e.Token, c)
		o.tokens = slices.DeleteFunc(o.tokens, e.Token.Equal)
	case EventSecure:
		m.settled(o) // one that fails counts until it is gone: it takes up as much
	case EventGone:
		m.Remove(c)
	}
}

// settled counts a handshake as over.
func (m *Mux) settled(o *owned) {
	if o.handshake {
		o.handshake = false
		m.handshakes--
	}
}

// Remove forgets a connection.
func (m *Mux) Remove(c *Conn) {
	o := m.owned[c]
	if o == nil {
		return
	}
	m.settled(o)
	for _, id := range o.ids {
		delete(m.conns, id)
	}
	for _, t := range o.tokens {
		m.resets.drop(t, c)
	}
	delete(m.owned, c)
}

func without(list []wire.ConnectionID, v wire.ConnectionID) []wire.ConnectionID {
	for i := range list {
		if list[i] == v {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
