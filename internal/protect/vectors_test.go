package protect

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantHex(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s:\n got %x\nwant %s", what, got, want)
	}
}

const vectorDCID = "8394c8f03e515708"

// RFC 9001 §A.1: the keys of Initial packets (RFC 9001 §5.2).
func TestVectorInitialKeys(t *testing.T) {
	info, err := suiteInfo(wire.Version1, tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	dcid := unhex(t, vectorDCID)
	wantHex(t, "initial secret", info.extract(dcid, version1.salt[:]),
		"7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44")
	client, server := InitialSecrets(wire.Version1, dcid)
	for _, v := range []struct {
		name                   string
		got                    []byte
		secret, key, iv, hpKey string
	}{
		{"client", client, "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea",
			"1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
		{"server", server, "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b",
			"cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03e", "c206b8d9b9f0f37644430b490eeaa314"},
	} {
		wantHex(t, v.name+" secret", v.got, v.secret)
		wantHex(t, v.name+" key", info.expand(v.got, "quic key", 16), v.key)
		wantHex(t, v.name+" iv", info.expand(v.got, "quic iv", 12), v.iv)
		wantHex(t, v.name+" hp", info.expand(v.got, "quic hp", 16), v.hpKey)
	}
}

// vector is a whole packet: in clear, and as it stands on the wire.
type vector struct {
	version    uint32
	suite      uint16
	secret     []byte
	header     string
	payload    []byte
	pnLen      int
	pn         int64
	largest    int64
	mask, wire string
}

func (v *vector) check(t *testing.T) {
	t.Helper()
	header := unhex(t, v.header)
	pnOff := len(header) - v.pnLen
	s, err := NewSealer(v.version, v.suite, v.secret)
	if err != nil {
		t.Fatal(err)
	}
	pkt := append(append(make([]byte, 0, 1500), header...), v.payload...)
	pkt = s.Seal(pkt, pnOff, v.pnLen, v.pn)
	wantHex(t, "sealed", pkt, v.wire)
	wantHex(t, "mask", s.header.mask[:5], v.mask)

	o, err := NewOpener(v.version, v.suite, v.secret)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := o.Open(unhex(t, v.wire), pnOff, v.largest)
	if !ok || got.PN != v.pn || got.First != header[0] || !bytes.Equal(got.Payload, v.payload) {
		t.Errorf("opened: %+v, %v", got, ok)
	}
}

// RFC 9001 §A.2: a client's Initial, padded, with a packet number of four bytes.
func TestVectorClientInitial(t *testing.T) {
	client, _ := InitialSecrets(wire.Version1, unhex(t, vectorDCID))
	payload := make([]byte, 1162)
	copy(payload, unhex(t, clientCrypto))
	v := vector{
		version: wire.Version1, suite: tls.TLS_AES_128_GCM_SHA256, secret: client,
		header: "c300000001088394c8f03e5157080000449e00000002", payload: payload,
		pnLen: 4, pn: 2, largest: -1, mask: "437b9aec36", wire: clientPacket,
	}
	v.check(t)
}

// RFC 9001 §A.3: a server's Initial, with a packet number of two bytes.
func TestVectorServerInitial(t *testing.T) {
	_, server := InitialSecrets(wire.Version1, unhex(t, vectorDCID))
	v := vector{
		version: wire.Version1, suite: tls.TLS_AES_128_GCM_SHA256, secret: server,
		header: "c1000000010008f067a5502a4262b50040750001", payload: unhex(t, serverPayload),
		pnLen: 2, pn: 1, largest: -1, mask: "2ec0d8356a", wire: serverPacket,
	}
	v.check(t)
}

// RFC 9001 §A.4: the integrity tag of a Retry packet.
func TestVectorRetry(t *testing.T) {
	retry := unhex(t, retryPacket)
	body, tag := retry[:len(retry)-16], retry[len(retry)-16:]
	dcid := wire.MakeConnectionID(unhex(t, vectorDCID))
	got := RetryTag(wire.Version1, &dcid, body)
	wantHex(t, "tag", got[:], hex.EncodeToString(tag))

	other := wire.MakeConnectionID(unhex(t, "8394c8f03e515709"))
	if got := RetryTag(wire.Version1, &other, body); bytes.Equal(got[:], tag) {
		t.Error("the tag does not depend on the original connection ID")
	}
	body[len(body)-1] ^= 1
	if got := RetryTag(wire.Version1, &dcid, body); bytes.Equal(got[:], tag) {
		t.Error("the tag does not depend on the packet")
	}
}

const chachaSecret = "9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b"

// RFC 9001 §A.5: the keys of ChaCha20-Poly1305, and of the key phase after.
func TestVectorChaChaKeys(t *testing.T) {
	info, err := suiteInfo(wire.Version1, tls.TLS_CHACHA20_POLY1305_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	secret := unhex(t, chachaSecret)
	wantHex(t, "key", info.expand(secret, "quic key", 32), "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8")
	wantHex(t, "iv", info.expand(secret, "quic iv", 12), "e0459b3474bdd0e44a41c144")
	wantHex(t, "hp", info.expand(secret, "quic hp", 32), "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4")
	wantHex(t, "ku", info.nextSecret(secret), "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9")

	var k packetKey
	k.init(info, secret)
	k.setNonce(654360564)
	wantHex(t, "nonce", k.nonce[:], "e0459b3474bdd0e46d417eb0")
}

// RFC 9001 §A.5: the shortest packet there is, with a packet number of three bytes.
func TestVectorChaChaShort(t *testing.T) {
	v := vector{
		version: wire.Version1, suite: tls.TLS_CHACHA20_POLY1305_SHA256, secret: unhex(t, chachaSecret),
		header: "4200bff4", payload: []byte{0x01},
		pnLen: 3, pn: 654360564, largest: 654360563,
		mask: "aefefe7d03", wire: "4cfe4189655e5cd55c41f69080575d7999c25a5bfb",
	}
	v.check(t)

	var k OneRTT
	if err := k.SetRead(wire.Version1, v.suite, v.secret); err != nil {
		t.Fatal(err)
	}
	got, result := k.Open(0, unhex(t, v.wire), 1, v.largest)
	if result != OpenOK || got.PN != v.pn || got.First != 0x42 || !bytes.Equal(got.Payload, v.payload) {
		t.Errorf("opened by OneRTT: %+v, %v", got, result)
	}
}
