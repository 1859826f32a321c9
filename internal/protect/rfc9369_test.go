package protect

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9369 §A.1: the keys of version 2's Initial packets.
func TestVector2InitialKeys(t *testing.T) {
	info, err := suiteInfo(wire.Version2, tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	dcid := unhex(t, vectorDCID)
	wantHex(t, "initial secret", info.extract(dcid, version2.salt[:]),
		"2062e8b3cd8d52092614b8071d0aa1fb7c2e3ac193f78b280e72d8f5751f6aba")
	client, server := InitialSecrets(wire.Version2, dcid)
	for _, v := range []struct {
		name                   string
		got                    []byte
		secret, key, iv, hpKey string
	}{
		{"client", client, "14ec9d6eb9fd7af83bf5a668bc17a7e283766aade7ecd0891f70f9ff7f4bf47b",
			"8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
		{"server", server, "0263db1782731bf4588e7e4d93b7463907cb8cd8200b5da55a8bd488eafc37c1",
			"82db637861d55e1d011f19ea71d5d2a7", "dd13c276499c0249d3310652", "edf6d05c83121201b436e16877593c3a"},
	} {
		wantHex(t, v.name+" secret", v.got, v.secret)
		wantHex(t, v.name+" key", info.expand(v.got, version2.key, 16), v.key)
		wantHex(t, v.name+" iv", info.expand(v.got, version2.iv, 12), v.iv)
		wantHex(t, v.name+" hp", info.expand(v.got, version2.hp, 16), v.hpKey)
	}
}

// RFC 9369 §A.2 and §A.3: both ends' first Initials.
func TestVector2Initials(t *testing.T) {
	client, server := InitialSecrets(wire.Version2, unhex(t, vectorDCID))
	payload := make([]byte, 1162)
	copy(payload, unhex(t, clientCrypto))
	for _, v := range []vector{
		{
			version: wire.Version2, suite: tls.TLS_AES_128_GCM_SHA256, secret: client,
			header: "d36b3343cf088394c8f03e5157080000449e00000002", payload: payload,
			pnLen: 4, pn: 2, largest: -1, mask: "94a0c95e80", wire: clientPacket2,
		},
		{
			version: wire.Version2, suite: tls.TLS_AES_128_GCM_SHA256, secret: server,
			header: "d16b3343cf0008f067a5502a4262b50040750001", payload: unhex(t, serverPayload),
			pnLen: 2, pn: 1, largest: -1, mask: "4dd92e91ea", wire: serverPacket2,
		},
	} {
		v.check(t)
	}
}

// RFC 9369 §A.4: the integrity tag of a Retry packet, which is another than version 1's.
func TestVector2Retry(t *testing.T) {
	retry := unhex(t, retryPacket2)
	body, tag := retry[:len(retry)-16], retry[len(retry)-16:]
	dcid := wire.MakeConnectionID(unhex(t, vectorDCID))
	got := RetryTag(wire.Version2, &dcid, body)
	wantHex(t, "tag", got[:], hex.EncodeToString(tag))
	if got := RetryTag(wire.Version1, &dcid, body); bytes.Equal(got[:], tag) {
		t.Error("the tag does not depend on the version")
	}
	// The key and the nonce come from a secret, so that they can be checked.
	info, err := suiteInfo(wire.Version2, tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	secret := unhex(t, "c4dd2484d681aefa4ff4d69c2c20299984a765a5d3c31982f38fc74162155e9f")
	wantHex(t, "key", info.expand(secret, version2.key, 16), "8fb4b01b56ac48e260fbcbcead7ccc92")
	wantHex(t, "nonce", info.expand(secret, version2.iv, 12), hex.EncodeToString(version2.retryNonce[:]))
}

// RFC 9369 §A.5: a 1-RTT packet under ChaCha20-Poly1305, and the secret after an update.
func TestVector2ChaCha20(t *testing.T) {
	info, err := suiteInfo(wire.Version2, tls.TLS_CHACHA20_POLY1305_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	secret := unhex(t, chachaSecret)
	wantHex(t, "key", info.expand(secret, version2.key, 32), "3bfcddd72bcf02541d7fa0dd1f5f9eeea817e09a6963a0e6c7df0f9a1bab90f2")
	wantHex(t, "iv", info.expand(secret, version2.iv, 12), "a6b5bc6ab7dafce30ffff5dd")
	wantHex(t, "hp", info.expand(secret, version2.hp, 32), "d659760d2ba434a226fd37b35c69e2da8211d10c4f12538787d65645d5d1b8e2")
	wantHex(t, "ku", info.nextSecret(secret), "c69374c49e3d2a9466fa689e49d476db5d0dfbc87d32ceeaa6343fd0ae4c7d88")
	const pn = 654_360_564
	var k OneRTT
	if err := k.SetWrite(wire.Version2, tls.TLS_CHACHA20_POLY1305_SHA256, secret); err != nil {
		t.Fatal(err)
	}
	pkt := append(make([]byte, 0, 64), unhex(t, "4200bff401")...)
	wantHex(t, "packet", k.Seal(pkt, 1, 3, pn), "5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba")
	if err := k.SetRead(wire.Version2, tls.TLS_CHACHA20_POLY1305_SHA256, secret); err != nil {
		t.Fatal(err)
	}
	if o, r := k.Open(0, unhex(t, "5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba"), 1, pn-1); r != OpenOK || o.PN != pn || !bytes.Equal(o.Payload, []byte{1}) {
		t.Errorf("opened: %+v, %v", o, r)
	}
}
