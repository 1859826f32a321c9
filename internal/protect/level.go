package protect

// levelKeys is what protects the packets of one direction at one level of the handshake. A
// cipher takes ten times the memory of its key, so that keys with nothing to do can rest:
// a server may have ten thousand handshakes in flight whose clients say no more.
type levelKeys struct {
	suite    *suite
	header   headerKey
	packet   packetKey // no AEAD: at rest
	key, hp  [maxKey]byte
	nonceFor [nonceLen]byte // of packet number 0
}

const (
	maxKey   = 32 // no limit: of a cipher
	nonceLen = 12
)

func (k *levelKeys) init(s *suite, secret []byte) {
	k.suite = s
	s.expandInto(k.key[:s.keyLen], secret, s.version.key)
	s.expandInto(k.hp[:s.keyLen], secret, s.version.hp)
	s.expandInto(k.nonceFor[:], secret, s.version.iv)
}

// wake makes the ciphers if there are none. That costs about as much as opening a packet.
func (k *levelKeys) wake() {
	if k.packet.aead == nil {
		k.packet.set(k.suite, k.key[:k.suite.keyLen], &k.nonceFor)
		k.header.set(k.suite, k.hp[:k.suite.keyLen])
	}
}

// Rest gives back the memory of the ciphers until the next packet.
func (k *levelKeys) Rest() { k.packet, k.header = packetKey{}, headerKey{} }

// Erase overwrites the keys, which are of no use any more. What the ciphers have made of
// them is in the hands of crypto/aes and the collector.
func (k *levelKeys) Erase() {
	k.Rest()
	clear(k.key[:])
	clear(k.hp[:])
	clear(k.nonceFor[:])
}
