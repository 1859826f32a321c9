package trace

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

// The TLS 1.3 cipher suites of QUIC.
const (
	aes128GCM        uint16 = 0x1301
	aes256GCM        uint16 = 0x1302
	chacha20Poly1305 uint16 = 0x1303
)

// parseKeyLog returns secrets by label and client random, both as "LABEL hex".
func parseKeyLog(log []byte) map[string][]byte {
	secrets := map[string][]byte{}
	for line := range strings.Lines(string(log)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if secret, err := hex.DecodeString(f[2]); err == nil {
			secrets[f[0]+" "+strings.ToLower(f[1])] = secret
		}
	}
	return secrets
}

// dialect is what a version of QUIC has of its own.
type dialect struct {
	salt  []byte
	label string
	types [4]Type // by the two bits of the first byte
}

var dialects = map[uint32]dialect{
	Version1: {unhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), "quic ", [4]Type{Initial, ZeroRTT, Handshake, Retry}},
	Version2: {unhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), "quicv2 ", [4]Type{Retry, Initial, ZeroRTT, Handshake}},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("BUG: a constant is not hexadecimal")
	}
	return b
}

// keys open one direction's packets of one level, in one key phase.
type keys struct {
	suite   uint16
	version uint32
	secret  []byte
	aead    cipher.AEAD
	iv      []byte
	hp      []byte
}

func newKeys(version uint32, suite uint16, secret []byte) *keys {
	k := &keys{suite: suite, version: version, secret: secret}
	label, size := dialects[version].label, 32
	if suite == aes128GCM {
		size = 16
	}
	key := k.expand(label+"key", size)
	k.iv, k.hp = k.expand(label+"iv", 12), k.expand(label+"hp", size)
	var err error
	if suite == chacha20Poly1305 {
		k.aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			k.aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		panic("BUG: a derived key does not fit: " + err.Error())
	}
	return k
}

// next returns the keys of the next key phase (RFC 9001 §6.1), whose header protection
// stays.
func (k *keys) next() *keys {
	n := newKeys(k.version, k.suite, k.expand(dialects[k.version].label+"ku", len(k.secret)))
	n.hp = k.hp
	return n
}

// expand is HKDF-Expand-Label of TLS 1.3 without a context.
func (k *keys) expand(label string, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len("tls13 "+label)))
	info = append(info, "tls13 "+label...)
	out, err := hkdf.Expand(k.hash(), k.secret, string(append(info, 0)), size)
	if err != nil {
		panic("BUG: HKDF: " + err.Error())
	}
	return out
}

func (k *keys) hash() func() hash.Hash {
	if k.suite == aes256GCM {
		return sha512.New384
	}
	return sha256.New
}

// initialKeys returns the client's and the server's for a connection ID (RFC 9001 §5.2).
func initialKeys(version uint32, dcid string) [2]*keys {
	secret, err := hkdf.Extract(sha256.New, []byte(dcid), dialects[version].salt)
	if err != nil {
		panic("BUG: HKDF: " + err.Error())
	}
	common := &keys{suite: aes128GCM, secret: secret}
	return [2]*keys{
		newKeys(version, aes128GCM, common.expand("client in", 32)),
		newKeys(version, aes128GCM, common.expand("server in", 32)),
	}
}

// mask returns the mask of header protection for a sample of 16 bytes (RFC 9001 §5.4).
func (k *keys) mask(sample []byte) []byte {
	out := make([]byte, 16)
	if k.suite == chacha20Poly1305 {
		c, err := chacha20.NewUnauthenticatedCipher(k.hp, sample[4:])
		if err != nil {
			panic("BUG: " + err.Error())
		}
		c.SetCounter(binary.LittleEndian.Uint32(sample))
		c.XORKeyStream(out[:5], out[:5])
		return out
	}
	block, err := aes.NewCipher(k.hp)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	block.Encrypt(out, sample)
	return out
}

// open removes the protection of a packet whose number begins at the given place, and
// returns its unprotected first byte, number and payload.
func (k *keys) open(pkt []byte, at int, largest int64) (first byte, pn int64, payload []byte, ok bool) {
	if len(pkt) < at+20 {
		return 0, 0, nil, false
	}
	mask := k.mask(pkt[at+4 : at+20])
	bits := byte(0x1f)
	if pkt[0]&0x80 != 0 {
		bits = 0x0f
	}
	first = pkt[0] ^ mask[0]&bits
	size := int(first&3) + 1
	head := append([]byte{first}, pkt[1:at+size]...)
	for i := range size {
		head[at+i] ^= mask[1+i]
		pn = pn<<8 | int64(head[at+i])
	}
	pn = nearest(largest+1, pn, 8*size)
	nonce := append([]byte(nil), k.iv...)
	for i := range 8 {
		nonce[4+i] ^= byte(pn >> (56 - 8*i))
	}
	payload, err := k.aead.Open(nil, nonce, pkt[at+size:], head)
	return first, pn, payload, err == nil
}

// nearest returns the number with the given low bits that is nearest to want.
func nearest(want, low int64, bits int) int64 {
	span := int64(1) << bits
	pn := want&^(span-1) | low
	switch {
	case pn+span/2 <= want:
		pn += span
	case pn > want+span/2 && pn >= span:
		pn -= span
	}
	return pn
}
