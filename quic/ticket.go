package quic

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What we put into a TLS session's Extra: a server into its ticket what 0-RTT with
// it depends on, a client beside the ticket what it must remember, and sometimes whom it
// has talked to.
var (
	serverExtra = []byte("cinnabar server 2\x00")
	clientExtra = []byte("cinnabar client 1\x00")
	chainExtra  = []byte("cinnabar chain 1\x00")
	// versionExtra is in both, with the number of a version that is not version 1.
	versionExtra = []byte("cinnabar version\x00")
)

// ReplayRegister sees to it that a ticket gives 0-RTT only once: without it,
// somebody who records a client's first flight could make the server act on it
// again (RFC 9001 §9.2). Servers that share ticket keys must share a register.
type ReplayRegister interface {
	// Use reports whether the ticket with this id of 16 bytes, issued at that time,
	// was not used before; from now on it was. It is called concurrently.
	Use(id []byte, issued time.Time) bool
}

// defaultReplays is how many tickets a register remembers unless told.
const defaultReplays = 1 << 16

// NewReplayRegister returns a register in memory for at most n tickets, 0 for
// 65,536. When it is full it forgets them all, and refuses every ticket that was
// issued before; it begins so too.
func NewReplayRegister(n int) ReplayRegister {
	if n <= 0 {
		n = defaultReplays
	}
	return &replayRegister{used: make(map[[16]byte]struct{}), most: n, since: time.Now()}
}

type replayRegister struct {
	mu    sync.Mutex
	used  map[[16]byte]struct{}
	most  int
	since time.Time // no ticket from before
}

func (g *replayRegister) Use(id []byte, issued time.Time) bool {
	if len(id) != 16 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if issued.Before(g.since) {
		return false
	}
	if _, ok := g.used[[16]byte(id)]; ok {
		return false
	}
	if len(g.used) >= g.most {
		g.since = time.Now()
		clear(g.used)
		return false
	}
	g.used[[16]byte(id)] = struct{}{}
	return true
}

// sendTicket gives the client the means to resume, once a session.
func (r *tlsRunner) sendTicket() {
	s, l := r.s, r.s.server.listener
	s.mu.Lock()
	version := s.conn.Version()
	s.unlock(flushNone)
	config := cmp.Or(r.chosen, l.opts.TLS)
	wraps := config != nil && config.WrapSession != nil // the program makes tickets, of what it likes
	if version != wire.Version1 && r.chosen != nil || !wraps && certificateBytes(r.state) > maxTicketCertificates {
		return
	}
	o := tls.QUICSessionTicketOptions{EarlyData: !l.opts.DisableEarlyData}
	if o.EarlyData {
		o.Extra = withData([][]byte{l.ticketExtra(time.Now())}, l.opts.TicketData)
	}
	o.Extra = withVersion(o.Extra, version)
	if err := r.conn.SendSessionTicket(o); err != nil {
		return // the session works without
	}
	r.collect()
}

// maxTicketCertificates is how many bytes of a client's certificates a ticket may hold: with more the ClientHello
// that it comes back in could be longer than a server takes.
const maxTicketCertificates = 8 << 10

// certificateBytes returns how many bytes about a client's certificates crypto/tls puts into a ticket of a server. Chains begin
// with the client's own, which is in there once.
func certificateBytes(state *tls.ConnectionState) int {
	n := rawBytes(state.PeerCertificates) + len(state.OCSPResponse)
	for _, chain := range state.VerifiedChains {
		n += rawBytes(chain[1:])
	}
	for _, s := range state.SignedCertificateTimestamps {
		n += len(s)
	}
	return n
}

func rawBytes(list []*x509.Certificate) (n int) {
	for _, c := range list {
		n += len(c.Raw)
	}
	return n
}

// ticketExtra returns what a server has to find in a ticket to take 0-RTT with it.
func (l *listener) ticketExtra(at time.Time) []byte {
	b := append([]byte(nil), serverExtra...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	var id [16]byte
	random(id[:])
	b = append(b, id[:]...)
	b = append(b, l.issuer[:]...)
	p := l.config.Params
	p.PreferredAddress = nil // it means this session's client only
	return p.Append(b)
}

// takesEarly reports whether the server takes 0-RTT with a ticket: if our register knows
// of it, our limits are no lower than then (RFC 9000 §7.4.1), the protocol above agrees, and it
// was not used before.
func (l *listener) takesEarly(extra [][]byte) bool {
	b, ok := findExtra(extra, serverExtra)
	if l.opts.DisableEarlyData || !ok || len(b) < 40 || [16]byte(b[24:40]) != l.issuer {
		return false
	}
	issued := time.Unix(0, int64(binary.BigEndian.Uint64(b)))
	old, err := wire.ParseParameters(b[40:], true)
	if err != nil || lower(&l.config.Params, &old) || !l.takesData(extra) {
		return false
	}
	return l.replay.Use(b[8:24], issued)
}

// lower reports whether p has a limit below old's that 0-RTT depends on.
func lower(p, old *wire.Parameters) bool {
	return p.MaxData < old.MaxData ||
		p.MaxStreamDataBidiLocal < old.MaxStreamDataBidiLocal ||
		p.MaxStreamDataBidiRemote < old.MaxStreamDataBidiRemote ||
		p.MaxStreamDataUni < old.MaxStreamDataUni ||
		p.MaxStreamsBidi < old.MaxStreamsBidi ||
		p.MaxStreamsUni < old.MaxStreamsUni ||
		p.ActiveCIDLimit < old.ActiveCIDLimit ||
		p.MaxDatagramFrame < old.MaxDatagramFrame || // RFC 9221 §3
		p.DisableActiveMigration && !old.DisableActiveMigration
}

// onResume decides about 0-RTT when TLS has found a session to resume.
func (r *tlsRunner) onResume(state *tls.SessionState) {
	if v := r.s.server; v != nil {
		fresh := false
		if state.EarlyData {
			fresh, _ = guarded(r, func() (bool, error) { return v.listener.takesEarly(state.Extra), nil })
			if !fresh {
				r.s.socket.refusedEarly.Add(1)
			}
		}
		state.EarlyData = fresh
		return
	}
	state.EarlyData = state.EarlyData && r.resume
}

// onStore keeps a ticket that the server has sent, with its transport parameters.
func (r *tlsRunner) onStore(state *tls.SessionState) {
	s := r.s
	s.mu.Lock()
	p, version := s.conn.PeerParameters(), s.conn.Version()
	var extra []byte
	if p != nil && r.state != nil {
		extra = append(extra, clientExtra...)
		extra = append(extra, byte(len(r.state.NegotiatedProtocol)))
		extra = append(extra, r.state.NegotiatedProtocol...)
		extra = append(extra, rememberedParams(p)...)
	}
	s.unlock(flushNone)
	if extra == nil {
		return
	}
	r.ticket = true
	state.Extra = withVersion(append(state.Extra, extra), version)
	if r.looks() {
		state.Extra = append(state.Extra, encodeChain(r.state.PeerCertificates))
	}
	_ = r.conn.StoreSession(state) // to our ticketCache
}

// rememberedParams returns those of a server's parameters that hold for 0-RTT in
// a later session (RFC 9000 §7.4.1).
func rememberedParams(p *wire.Parameters) []byte {
	d := wire.DefaultParameters()
	q := *p
	q.HasOriginalDCID, q.HasInitialSCID, q.HasRetrySCID, q.HasResetToken = false, false, false, false
	q.HasMinAckDelay, q.MinAckDelay, q.Versions = false, 0, nil
	q.AckDelayExponent, q.MaxAckDelay, q.PreferredAddress = d.AckDelayExponent, d.MaxAckDelay, nil
	return q.Append(nil)
}

// findExtra returns what follows our mark in one of the entries.
func findExtra(extra [][]byte, mark []byte) ([]byte, bool) {
	for _, e := range extra {
		if rest, ok := bytes.CutPrefix(e, mark); ok {
			return rest, true
		}
	}
	return nil, false
}

// ticketCache stands between TLS and the program's cache for one client session:
// TLS finds the ticket that the session was begun with, and what it stores goes to the
// program's cache and to the SessionTicket hook.
type ticketCache struct {
	c       *ClientSession
	user    tls.ClientSessionCache // may be nil
	loaded  *tls.ClientSessionState
	version uint32 // that loaded is of
	past    []byte // what the protocol above has said then, if there may be early data

	// Under the session's lock.
	data    []byte // what it says now,
	settled bool   // which is known
	holding bool   // tickets wait until it is
	held    []heldTicket
}

// Get returns the session's ticket to TLS.
func (t *ticketCache) Get(string) (*tls.ClientSessionState, bool) {
	return t.loaded, t.loaded != nil
}

// tell gives a ticket to the SessionTicket hook.
func (t *ticketCache) tell(cs *tls.ClientSessionState) {
	s := &t.c.Session
	s.mu.Lock()
	defer s.unlock(flushNone)
	if cs != nil && t.heard() {
		t.post(cs)
	}
}

// tellHeld tells the hook of the tickets that still wait, before it is told of the end; the cache
// goes on waiting. It is called under the session's lock.
func (t *ticketCache) tellHeld() {
	if !t.heard() {
		return
	}
	for _, h := range t.held {
		t.post(h.cs)
	}
}

// heard reports whether the hook hears of tickets: there is one, and nothing comes after Close. It is
// called under the session's lock.
func (t *ticketCache) heard() bool {
	s := &t.c.Session
	return !s.parted && s.hooks != nil && s.hooks.SessionTicket != nil
}

// post queues a ticket for the hook. It is called under the session's lock.
func (t *ticketCache) post(cs *tls.ClientSessionState) {
	ticket, params, err := encodeTicket(cs)
	if err != nil {
		return
	}
	t.c.notify(false, func(h *SessionHooks) error {
		if h.SessionTicket == nil {
			return nil
		}
		return h.SessionTicket(ticket, params)
	})
}

// wantTickets reports whether anybody has a use for tickets.
func (c *ClientSession) wantTickets() bool {
	return c.tickets.user != nil || c.hooks != nil && c.hooks.SessionTicket != nil
}

// load finds the session to resume: in the options, or in the program's cache. It
// returns the remembered parameters if the server allowed 0-RTT with it.
func (t *ticketCache) load(o *ConnectOptions, r *tlsRunner) (*wire.Parameters, error) {
	if o.SessionTicket != nil {
		return t.loadOption(o, r)
	}
	c := r.config
	if t.user == nil {
		return nil, nil
	}
	cs, ok := t.user.Get(c.ServerName)
	if !ok || cs == nil {
		return nil, nil
	}
	ticket, state, err := cs.ResumptionState()
	if !t.serves(o, state) {
		return nil, nil
	}
	t.loaded = cs
	if err == nil && state != nil {
		own := *state // onResume changes it, and others may be using the one in the program's cache
		t.loaded, err = tls.NewResumptionState(ticket, &own)
	}
	if err != nil || state == nil || !state.EarlyData || o.DisableEarlyData || !r.trustsEarly(state) {
		return nil, nil
	}
	p, alpn, ok := remembered(state)
	if !ok || !slices.Contains(c.NextProtos, alpn) {
		return nil, nil
	}
	t.c.earlyALPN = alpn
	t.past, _ = findExtra(state.Extra, dataExtra)
	// The ticket stays good for resumption, but a second 0-RTT with it would be
	// taken for a replay.
	spent := *state
	spent.EarlyData = false
	if again, err := tls.NewResumptionState(ticket, &spent); err == nil {
		t.user.Put(c.ServerName, again)
	}
	return p, nil
}

// serves notes which version a ticket is of, and reports whether the session may begin in
// that: no other session resumes with it (RFC 9369 §5).
func (t *ticketCache) serves(o *ConnectOptions, state *tls.SessionState) bool {
	t.version = wire.Version1
	if state != nil {
		t.version = ticketVersion(state.Extra)
	}
	return speaks(o.Versions, t.version) && (o.FirstVersion == 0 || uint32(o.FirstVersion) == t.version)
}

// withVersion adds the version of a session to what its ticket says.
func withVersion(extra [][]byte, version uint32) [][]byte {
	if version == wire.Version1 {
		return extra
	}
	return append(extra, binary.BigEndian.AppendUint32(bytes.Clone(versionExtra), version))
}

// ticketVersion returns the version of the session that a ticket came from.
func ticketVersion(extra [][]byte) uint32 {
	if b, ok := findExtra(extra, versionExtra); ok && len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return wire.Version1
}

// tlsFor returns what TLS is configured with for sessions that begin in a version.
func (l *listener) tlsFor(version uint32) *tls.Config {
	if version == wire.Version1 {
		return l.tls[0]
	}
	return l.tls[1]
}

// bindTickets makes a server's configuration open the tickets of one version only; with
// another one the handshake is a whole one (RFC 9369 §5). keys is the configuration that has the
// ticket keys: a session that begins in one version can end up in the other.
func bindTickets(c, keys *tls.Config, version uint32) {
	unwrap := c.UnwrapSession
	if c.WrapSession == nil && c != keys {
		c.WrapSession = keys.EncryptTicket
	}
	if unwrap == nil {
		unwrap = keys.DecryptTicket
	}
	c.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := unwrap(id, cs)
		if state != nil && ticketVersion(state.Extra) != version {
			return nil, nil
		}
		return state, err
	}
}

// checkResumption refuses what no SessionTicket hook can have been given.
func (o *ConnectOptions) checkResumption(c *checker) {
	const want = "what the SessionTicket hook was given"
	if o.SessionTicket != nil {
		if _, _, err := decodeTicket(o.SessionTicket); err != nil {
			c.failWith("SessionTicket", "undecodable", CodeInvalidTicket, want, err)
		}
	}
	if o.RemoteTransportParams != nil {
		if _, err := wire.ParseParameters(o.RemoteTransportParams, true); err != nil {
			c.failWith("RemoteTransportParams", "undecodable", CodeInvalidParams, want, err)
		}
	}
}

// loadOption takes the ticket from the options, which were found good. Both of its
// parts were the SessionTicket hook's.
func (t *ticketCache) loadOption(o *ConnectOptions, r *tlsRunner) (*wire.Parameters, error) {
	cs, state, err := decodeTicket(o.SessionTicket)
	if err != nil {
		return nil, err
	}
	if !t.serves(o, state) {
		return nil, nil
	}
	t.loaded = cs
	if o.RemoteTransportParams == nil || o.DisableEarlyData || !state.EarlyData || !r.trustsEarly(state) {
		return nil, nil
	}
	p, perr := wire.ParseParameters(o.RemoteTransportParams, true)
	if perr != nil {
		return nil, perr
	}
	_, t.c.earlyALPN, _ = remembered(state)
	t.past, _ = findExtra(state.Extra, dataExtra)
	return &p, nil
}

// remembered returns what a client has put beside its ticket.
func remembered(state *tls.SessionState) (*wire.Parameters, string, bool) {
	b, ok := findExtra(state.Extra, clientExtra)
	if !ok || len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, "", false
	}
	end := 1 + int(b[0])
	alpn := string(b[1:end])
	p, err := wire.ParseParameters(b[end:], true)
	if err != nil {
		return nil, "", false
	}
	return &p, alpn, true
}

// encodeTicket returns the two parts that the SessionTicket hook is given.
func encodeTicket(cs *tls.ClientSessionState) (ticket, params []byte, err error) {
	label, state, err := cs.ResumptionState()
	if err != nil {
		return nil, nil, err
	}
	b, err := state.Bytes()
	if err != nil {
		return nil, nil, err
	}
	ticket = append(ticket, 1) // the version of this form
	ticket = binary.BigEndian.AppendUint32(ticket, uint32(len(label)))
	ticket = append(ticket, label...)
	ticket = append(ticket, b...)
	if p, _, ok := remembered(state); ok {
		params = p.Append(nil)
	}
	return ticket, params, nil
}

var errTicket = errors.New("not a ticket of this package")

func decodeTicket(b []byte) (*tls.ClientSessionState, *tls.SessionState, error) {
	if len(b) < 5 || b[0] != 1 {
		return nil, nil, errTicket
	}
	n := int64(binary.BigEndian.Uint32(b[1:]))
	if b = b[5:]; int64(len(b)) < n {
		return nil, nil, errTicket
	}
	state, err := tls.ParseSessionState(b[n:])
	if err != nil {
		return nil, nil, err
	}
	cs, err := tls.NewResumptionState(b[:n:n], state)
	return cs, state, err
}

// earlyRejected deals with streams of refused 0-RTT data if the server chose
// another protocol: what they say may mean something else now. It runs before
// anything is sent again.
func (c *ClientSession) earlyRejected() {
	if c.tlsState.NegotiatedProtocol == c.earlyALPN {
		return
	}
	for st := c.live; st != nil; {
		next := st.next
		st.err = ErrEarlyDataRejected
		st.fail(&st.writers, st.err)
		if st.readers.head != nil {
			st.detach()
			st.fail(&st.readers, st.err)
		}
		st.reset(0)
		st.stop(0)
		st = next
	}
}
