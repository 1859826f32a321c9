package protect

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// suite is what a TLS 1.3 cipher suite means for packet protection in a version.
type suite struct {
	version *version

	id     uint16
	hash   func() hash.Hash
	block  int // of the hash
	size   int // of its output
	keyLen int // of both the packet key and the header key
	chacha bool

	// Limits on the use of one key, and of all keys of a connection (RFC 9001 §6.6).
	confidentiality int64 // packets sealed
	integrity       int64 // packets that failed to open
}

// unlimited is past every packet number.
const unlimited = 1 << 62

// suites lists what QUIC may use, by version. TLS_AES_128_CCM_8_SHA256 may not be used
// (RFC 9001 §5.3), and crypto/tls has no CCM at all.
var suites = [...]suite{
	aes128(&version1), aes256(&version1), chacha(&version1),
	aes128(&version2), aes256(&version2), chacha(&version2),
}

func aes128(v *version) suite {
	return suite{v, tls.TLS_AES_128_GCM_SHA256, sha256.New, sha256.BlockSize, sha256.Size, 16, false, 1 << 23, 1 << 52}
}

func aes256(v *version) suite {
	return suite{v, tls.TLS_AES_256_GCM_SHA384, sha512.New384, sha512.BlockSize, sha512.Size384, 32, false, 1 << 23, 1 << 52}
}

func chacha(v *version) suite {
	return suite{v, tls.TLS_CHACHA20_POLY1305_SHA256, sha256.New, sha256.BlockSize, sha256.Size, 32, true, unlimited, 1 << 36}
}

func suiteInfo(version uint32, id uint16) (*suite, error) {
	v := versionOf(version)
	for i := range suites {
		if suites[i].id == id && suites[i].version == v {
			return &suites[i], nil
		}
	}
	return nil, fmt.Errorf("protect: cipher suite %#04x has no packet protection", id)
}

func (s *suite) extract(secret, salt []byte) []byte {
	prk, err := hkdf.Extract(s.hash, secret, salt)
	if err != nil {
		panic("BUG: HKDF-Extract: " + err.Error())
	}
	return prk
}

// expand is expandInto for n bytes in memory of their own.
func (s *suite) expand(secret []byte, label string, n int) []byte {
	out := make([]byte, n)
	s.expandInto(out, secret, label)
	return out
}

// expandInto is HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 9001 §5.1), for
// up to one hash of output. That is one HMAC (RFC 5869 §2.3), written out here because
// a handshake needs sixty of them and crypto/hkdf allocates ten objects for each.
func (s *suite) expandInto(out, secret []byte, label string) {
	var key, msg [maxBlock]byte
	if len(secret) > s.block || len(out) > s.size {
		panic("BUG: HKDF-Expand of a size that TLS 1.3 does not have")
	}
	info := binary.BigEndian.AppendUint16(msg[:0], uint16(len(out)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1) // no context; the first block of output
	copy(key[:], secret)
	inner := s.padded(&key, 0x36, info)
	sum := s.padded(&key, 0x5c, inner[:s.size])
	copy(out, sum[:])
}

// maxBlock is the largest block of the suites' hashes.
const maxBlock = sha512.BlockSize // no limit: of a hash

// padded hashes the key, combined with a pad byte, and a message: half of an HMAC
// (RFC 2104 §2).
func (s *suite) padded(key *[maxBlock]byte, pad byte, msg []byte) (sum [sha512.Size384]byte) {
	var b [2 * maxBlock]byte
	for i, k := range key[:s.block] {
		b[i] = k ^ pad
	}
	n := s.block + copy(b[s.block:], msg)
	if s.size == sha256.Size {
		short := sha256.Sum256(b[:n])
		copy(sum[:], short[:])
		return sum
	}
	return sha512.Sum384(b[:n])
}

// nextSecret is the secret of the key phase that follows the one of secret (RFC 9001 §6.1).
func (s *suite) nextSecret(secret []byte) []byte { return s.expand(secret, s.version.ku, s.size) }

// A packetKey is one AEAD key and its IV. The nonce is a field because what is
// handed to an interface's method would otherwise move to the heap every time. Its first
// four bytes are always those of the IV.
type packetKey struct {
	aead  cipher.AEAD
	iv    uint64 // the last eight bytes
	nonce [nonceLen]byte
}

// init makes the key of a traffic secret.
func (k *packetKey) init(s *suite, secret []byte) {
	var key [maxKey]byte
	var iv [nonceLen]byte
	s.expandInto(key[:s.keyLen], secret, s.version.key)
	s.expandInto(iv[:], secret, s.version.iv)
	k.set(s, key[:s.keyLen], &iv)
	clear(key[:])
}

// set makes the cipher of a key, which it does not keep, and an IV.
func (k *packetKey) set(s *suite, key []byte, iv *[nonceLen]byte) {
	var err error
	if s.chacha {
		k.aead, err = chacha20poly1305.New(key)
	} else {
		k.aead, err = cipher.NewGCM(newBlock(key))
	}
	if err != nil {
		panic("BUG: packet key: " + err.Error())
	}
	k.nonce = *iv
	k.iv = binary.BigEndian.Uint64(iv[4:])
}

// newBlock returns AES for a key of a suite's length.
func newBlock(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: AES key: " + err.Error())
	}
	return b
}

// setNonce combines the IV with the packet number (RFC 9001 §5.3).
func (k *packetKey) setNonce(pn int64) {
	binary.BigEndian.PutUint64(k.nonce[4:], k.iv^uint64(pn))
}

// seal encrypts payload, which may stand behind the header already, and returns the whole packet.
func (k *packetKey) seal(header, payload []byte, pn int64) []byte {
	if cap(header)-len(header)-len(payload) < Overhead {
		panic("BUG: no room for the tag")
	}
	k.setNonce(pn)
	return k.aead.Seal(header, k.nonce[:], payload, header)
}

// open decrypts pkt[headerLen:] in place and returns the payload.
func (k *packetKey) open(pkt []byte, headerLen int, pn int64) ([]byte, bool) {
	k.setNonce(pn)
	ciphertext := pkt[headerLen:]
	payload, err := k.aead.Open(ciphertext[:0], k.nonce[:], ciphertext, pkt[:headerLen])
	return payload, err == nil
}

// A headerKey makes the mask of header protection. It outlives key updates (RFC 9001 §6.1).
type headerKey struct {
	block  cipher.Block // nil for ChaCha20
	chacha []byte       // the key of that
	mask   [aes.BlockSize]byte
}

// init makes the key of a traffic secret.
func (k *headerKey) init(s *suite, secret []byte) {
	key := s.expand(secret, s.version.hp, s.keyLen)
	k.set(s, key)
	if !s.chacha {
		clear(key)
	}
}

// set makes the cipher of a key, which it keeps for ChaCha20.
func (k *headerKey) set(s *suite, key []byte) {
	if s.chacha {
		k.block, k.chacha = nil, key
		return
	}
	k.block = newBlock(key)
}

// erase overwrites the key, as far as it is ours.
func (k *headerKey) erase() {
	clear(k.chacha)
	*k = headerKey{}
}

// setMask computes the mask, of which five bytes count, from a sample of
// ciphertext (RFC 9001 §5.4.3, §5.4.4).
func (k *headerKey) setMask(sample []byte) {
	if k.block != nil {
		k.block.Encrypt(k.mask[:], sample)
		return
	}
	stream, err := chacha20.NewUnauthenticatedCipher(k.chacha, sample[4:sampleSize])
	if err != nil {
		panic("BUG: ChaCha20: " + err.Error())
	}
	stream.SetCounter(binary.LittleEndian.Uint32(sample))
	clear(k.mask[:])
	stream.XORKeyStream(k.mask[:5], k.mask[:5])
}

// firstMask returns which bits of a first byte are protected: the packet number
// length and the reserved bits, and a short header's key phase (RFC 9001 §5.4.1).
func firstMask(first byte) byte {
	if first&longBit != 0 {
		return 0x0f
	}
	return 0x1f
}

// apply protects the header of a sealed packet.
func (k *headerKey) apply(pkt []byte, pnOff, pnLen int) {
	sample := pnOff + sampleOffset
	if len(pkt) < sample+sampleSize {
		panic("BUG: packet too short to sample: pad packet number and payload to four bytes")
	}
	k.setMask(pkt[sample : sample+sampleSize])
	pkt[0] ^= k.mask[0] & firstMask(pkt[0])
	for i, b := range pkt[pnOff : pnOff+pnLen] {
		pkt[pnOff+i] = b ^ k.mask[1+i]
	}
}

// remove takes the protection off the header and returns the full packet number
// and the length of its encoding. It reports false for a packet too short to sample.
func (k *headerKey) remove(pkt []byte, pnOff int, largest int64) (pn int64, pnLen int, ok bool) {
	sample := pnOff + sampleOffset
	if len(pkt) < sample+sampleSize {
		return 0, 0, false
	}
	k.setMask(pkt[sample : sample+sampleSize])
	pkt[0] ^= k.mask[0] & firstMask(pkt[0])
	pnLen = int(pkt[0]&3) + 1
	var truncated uint32
	for i, b := range pkt[pnOff : pnOff+pnLen] {
		b ^= k.mask[1+i]
		pkt[pnOff+i] = b
		truncated = truncated<<8 | uint32(b)
	}
	return wire.DecodePacketNumber(largest, truncated, pnLen), pnLen, true
}
