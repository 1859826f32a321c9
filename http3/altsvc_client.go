package http3

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/internal/hostname"
)

// Bounds on what is remembered of servers.
const (
	maxOrigins      = 1000
	maxBroken       = 1000
	maxAlternatives = 4    // of one origin; those that it prefers
	maxAltSvc       = 4096 // bytes of what it says of them; more means nothing

	defaultMaxAge = 24 * time.Hour       // RFC 7838 §3.1
	mostMaxAge    = 365 * 24 * time.Hour // more counts as that

	firstBroken = 5 * time.Minute
	mostBroken  = 48 * time.Hour
)

// altCache remembers which origins have said that they speak HTTP/3, and where (RFC 7838 §2.2), and
// where that has turned out to be wrong. Its lock is a leaf.
type altCache struct {
	mu      sync.Mutex
	origins map[string][]altService  // by host and port
	broken  map[string]brokenService // by service
}

// service names an address as one origin's: what another origin says of the same address is
// another matter.
func service(origin, addr string) string { return origin + " " + addr }

// altService is an alternative service.
type altService struct {
	addr  string // host and port
	until time.Time
}

// brokenService is an address where HTTP/3 could not be had.
type brokenService struct {
	until    time.Time
	failures int // in a row
}

// route sends a request by HTTP/3 if that is known to be there, and otherwise, or if it
// fails, by the Fallback.
func (t *Transport) route(r *http.Request) (*http.Response, error) {
	origin := originOf(r)
	to, ok := t.alternative(origin)
	if !ok {
		return t.fallback(r, origin)
	}
	resp, f := t.send(r, to)
	if f == nil && resp.StatusCode == http.StatusMisdirectedRequest && to.alternative != "" {
		t.retireUnused(origin, t.alts.replace(origin, nil)) // RFC 7838 §6
		again := (&failure{r: r}).again()
		if again == nil {
			return resp, nil
		}
		_ = resp.Body.Close()
		return t.repeated(again, r, origin)
	} else if f == nil {
		t.alts.works(service(origin, to.key.addr))
		t.learn(origin, resp)
		return resp, nil
	}
	if f.kind == failNoServer || f.kind == failDied || f.silent {
		t.alts.breaks(service(origin, to.key.addr), t.time())
	}
	if again := f.elsewhere(); again != nil {
		return t.repeated(again, r, origin)
	}
	f.closeBody()
	return nil, f.err
}

// repeated sends a request by the Fallback that has failed by HTTP/3.
func (t *Transport) repeated(again, r *http.Request, origin string) (*http.Response, error) {
	resp, err := t.fallback(again, origin)
	if err == nil {
		resp.Request = r
	}
	return resp, err
}

// elsewhere returns the request for another protocol, nil if it must not be sent again.
func (f *failure) elsewhere() *http.Request {
	if f.kind == failNoServer {
		return f.again()
	}
	return f.repeat()
}

// fallback sends a request by the Fallback, and learns from its response.
func (t *Transport) fallback(r *http.Request, origin string) (*http.Response, error) {
	resp, err := t.Fallback.RoundTrip(r)
	if err == nil {
		t.learn(origin, resp)
	}
	return resp, err
}

// alternative returns where to reach an origin by HTTP/3, false if that is not known.
func (t *Transport) alternative(origin string) (target, bool) {
	now := t.time()
	addr, gone, ok := t.alts.find(origin, now)
	t.retireUnused(origin, gone)
	if ok {
		return target{t.key(addr, origin), addr}, true
	}
	if !t.PriorKnowledge || t.alts.isBroken(service(origin, origin), now) {
		return target{}, false
	}
	return target{key: t.key(origin, origin)}, true
}

// learn takes the alternatives that a response names. They replace all that were known.
func (t *Transport) learn(origin string, resp *http.Response) {
	values := resp.Header["Alt-Svc"]
	if len(values) == 0 || resp.StatusCode == http.StatusMisdirectedRequest { // RFC 7838 §6
		return
	}
	said := strings.Join(values, ",")
	if len(said) > maxAltSvc {
		return
	}
	offers, ok := parseAltSvc(said)
	if !ok {
		return
	}
	age, _ := strconv.ParseUint(resp.Header.Get("Age"), 10, 31)
	now := t.time()
	var list []altService
	for _, o := range offers {
		addr, ok := o.addr(origin)
		until := now.Add(o.maxAge - time.Duration(age)*time.Second)
		if ok && until.After(now) && len(list) < maxAlternatives {
			list = append(list, altService{addr, until})
		}
	}
	t.retireUnused(origin, t.alts.replace(origin, list))
}

// find returns the first alternative of an origin that is fresh and not broken, and forgets those that are not fresh.
func (a *altCache) find(origin string, now time.Time) (addr string, gone []string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, known := a.origins[origin]
	fresh := list[:0]
	for _, s := range list {
		if !s.until.After(now) {
			gone = append(gone, s.addr)
			continue
		}
		fresh = append(fresh, s)
		if !ok && !a.broken[service(origin, s.addr)].until.After(now) {
			addr, ok = s.addr, true
		}
	}
	switch {
	case len(fresh) > 0:
		a.origins[origin] = fresh
	case known:
		delete(a.origins, origin)
	}
	return addr, gone, ok
}

func (a *altCache) isBroken(service string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken[service].until.After(now)
}

// replace notes the alternatives of an origin, and returns the addresses of those that it has no more.
func (a *altCache) replace(origin string, list []altService) (gone []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.origins[origin] {
		if !slices.ContainsFunc(list, func(n altService) bool { return n.addr == s.addr }) {
			gone = append(gone, s.addr)
		}
	}
	delete(a.origins, origin)
	if len(list) == 0 {
		return gone
	}
	if a.origins == nil {
		a.origins = make(map[string][]altService)
	}
	evict(a.origins, maxOrigins, func(l []altService) time.Time { return l[0].until })
	a.origins[origin] = list
	return gone
}

// shares reports whether an origin has an alternative whose session is the one in a place of the pool.
func (a *altCache) shares(place poolKey, placeOf func(addr, origin string) poolKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for origin, list := range a.origins {
		for _, s := range list {
			if s.addr == place.addr && placeOf(s.addr, origin) == place {
				return true
			}
		}
	}
	return false
}

// breaks remembers that there is no HTTP/3 at an address, the longer the more often.
func (a *altCache) breaks(service string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.broken[service]
	if b.until.After(now) {
		return // many requests may have waited for the same dial
	}
	d := firstBroken
	for range b.failures {
		d = min(2*d, mostBroken)
	}
	if a.broken == nil {
		a.broken = make(map[string]brokenService)
	}
	if b.failures == 0 {
		evict(a.broken, maxBroken, func(b brokenService) time.Time { return b.until })
	}
	a.broken[service] = brokenService{now.Add(d), min(b.failures+1, 16)}
}

func (a *altCache) works(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.broken, service)
}

// evict makes room in a map for one more: what ends first goes.
func evict[V any](m map[string]V, most int, until func(V) time.Time) {
	if len(m) < most {
		return
	}
	var first string
	var at time.Time
	for key, v := range m {
		if end := until(v); first == "" || end.Before(at) {
			first, at = key, end
		}
	}
	delete(m, first)
}

// altOffer is one alternative of an Alt-Svc field that speaks HTTP/3.
type altOffer struct {
	authority string
	maxAge    time.Duration
}

// addr returns the host and port of an offer. The certificate must be for the origin's name
// whatever the host is (RFC 7838 §2.1); for an origin that is named by its address there
// is no other host, because an address is not asked for.
func (o *altOffer) addr(origin string) (string, bool) {
	originHost, _, _ := net.SplitHostPort(origin)
	host, port, err := net.SplitHostPort(o.authority)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
		return "", false
	}
	if host == "" {
		host = originHost
	}
	if host, err = hostname.ASCII(host); err != nil {
		return "", false
	}
	addr := net.JoinHostPort(host, port)
	if _, err := netip.ParseAddr(originHost); err == nil && host != originHost {
		return "", false
	}
	return addr, httpguts.ValidHostHeader(addr)
}

// parseAltSvc reads the value of an Alt-Svc field (RFC 7838 §3) and returns what it offers by
// HTTP/3, nothing for "clear". Its persist parameter is about changes of the network, which a
// Transport does not see. ok is false for a value that means nothing.
func parseAltSvc(s string) (offers []altOffer, ok bool) {
	if strings.TrimSpace(s) == "clear" {
		return nil, true
	}
	p := altParser{rest: s}
	for {
		p.space(",")
		if p.rest == "" {
			return offers, ok
		}
		protocol, authority, good := p.pair()
		if !good {
			return nil, false
		}
		o := altOffer{authority: authority, maxAge: defaultMaxAge}
		for p.space(""); p.take(';'); p.space("") {
			p.space("")
			name, value, good := p.pair()
			if !good {
				return nil, false
			}
			if n, err := strconv.ParseUint(value, 10, 63); name == "ma" && err == nil {
				o.maxAge = time.Duration(min(n, uint64(mostMaxAge/time.Second))) * time.Second
			}
		}
		if p.rest != "" && p.rest[0] != ',' {
			return nil, false
		}
		ok = true
		if protocol == ALPN {
			offers = append(offers, o)
		}
	}
}

// altParser takes the value of a field apart.
type altParser struct{ rest string }

// space skips white space, and what else may stand between.
func (p *altParser) space(also string) { p.rest = strings.TrimLeft(p.rest, " \t"+also) }

func (p *altParser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// pair takes a token, an equals sign, and a token or a quoted string.
func (p *altParser) pair() (name, value string, ok bool) {
	name = p.token()
	if name == "" || !p.take('=') {
		return "", "", false
	}
	if !p.take('"') {
		value = p.token()
		return name, value, value != ""
	}
	var b strings.Builder
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case c == '"':
			return name, b.String(), true
		case c == '\\' && p.rest != "":
			c = p.rest[0]
			p.rest = p.rest[1:]
		}
		b.WriteByte(c)
	}
	return "", "", false
}

func (p *altParser) token() string {
	n := 0
	for n < len(p.rest) && p.rest[n] < 0x80 && httpguts.IsTokenRune(rune(p.rest[n])) {
		n++
	}
	token := p.rest[:n]
	p.rest = p.rest[n:]
	return token
}
