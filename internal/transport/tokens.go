package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Tokens makes and reads the address validation tokens of a server (RFC 9000
// §8.1): sealed under its secret, bound to kind, version, time and address, and for a
// Retry to both connection IDs. A fleet or a restarted server that shares the
// secret accepts them. Its methods may be called from several goroutines if
// Rand may.
type Tokens struct {
	aead  cipher.AEAD
	rand  func([]byte)
	epoch int64 // wall clock at mono time 0, ns since 1970
}

type tokenKind uint8

const (
	tokenRetry tokenKind = 1
	tokenNew   tokenKind = 2
)

// tokenLifetime is how long a NEW_TOKEN token serves.
const tokenLifetime = 24 * time.Hour

// NewTokens returns a maker of tokens. Epoch is the wall clock at mono time 0,
// in nanoseconds since 1970, for tokens that outlive the process.
func NewTokens(secret [32]byte, epoch int64, rand func([]byte)) *Tokens {
	key, err := hkdf.Key(sha256.New, secret[:], nil, "cinnabar token", 16)
	if err != nil {
		panic("BUG: token key: " + err.Error())
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: token key: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: token key: " + err.Error())
	}
	return &Tokens{aead: aead, rand: rand, epoch: epoch}
}

// New returns a token for NEW_TOKEN, good for one later connection from the address that
// begins in the version (RFC 9369 §5).
func (t *Tokens) New(now mono.Time, version uint32, addr netip.Addr) []byte {
	return t.seal(tokenNew, version, now, netip.AddrPortFrom(addr, 0), wire.ConnectionID{}, wire.ConnectionID{})
}

// retry returns a token for a Retry packet. original is the client's DCID,
// chosen the one that the Retry gives it.
func (t *Tokens) retry(now mono.Time, version uint32, addr netip.AddrPort, original, chosen wire.ConnectionID) []byte {
	return t.seal(tokenRetry, version, now, addr, original, chosen)
}

func (t *Tokens) seal(k tokenKind, version uint32, now mono.Time, addr netip.AddrPort, original, chosen wire.ConnectionID) []byte {
	b := make([]byte, 12, 12+1+4+8+18+2*21+16)
	t.rand(b)
	p := []byte{byte(k)}
	p = binary.BigEndian.AppendUint32(p, version)
	p = binary.BigEndian.AppendUint64(p, uint64(t.epoch+int64(now)))
	ip := addr.Addr().As16()
	p = append(p, ip[:]...)
	p = binary.BigEndian.AppendUint16(p, addr.Port())
	for _, id := range [2]wire.ConnectionID{original, chosen} {
		p = append(p, byte(id.Len()))
		p = append(p, id.Bytes()...)
	}
	return t.aead.Seal(b, b, p, nil)
}

// token is what a valid token says.
type token struct {
	kind     tokenKind
	version  uint32
	age      time.Duration
	addr     netip.Addr
	port     uint16
	original wire.ConnectionID
	chosen   wire.ConnectionID
}

// open reads a token of our own making; anything else is not ok.
func (t *Tokens) open(now mono.Time, b []byte) (tok token, ok bool) {
	if len(b) < 12+16 || len(b) > 256 {
		return tok, false
	}
	p, err := t.aead.Open(nil, b[:12], b[12:], nil)
	if err != nil || len(p) < 1+4+8+16+2 {
		return tok, false
	}
	tok.kind, tok.version = tokenKind(p[0]), binary.BigEndian.Uint32(p[1:])
	p = p[5:]
	tok.age = time.Duration(t.epoch + int64(now) - int64(binary.BigEndian.Uint64(p)))
	tok.addr = netip.AddrFrom16([16]byte(p[8:24])).Unmap()
	tok.port = binary.BigEndian.Uint16(p[24:])
	p = p[26:]
	for _, id := range [2]*wire.ConnectionID{&tok.original, &tok.chosen} {
		if len(p) == 0 || int(p[0]) > wire.MaxConnectionIDLen || len(p) < 1+int(p[0]) {
			return tok, false
		}
		*id = wire.MakeConnectionID(p[1 : 1+p[0]])
		p = p[1+p[0]:]
	}
	return tok, len(p) == 0
}
