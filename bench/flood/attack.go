package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// kinds are the floods there are.
var kinds = []string{"junk", "initials", "resets", "versions", "half-open"}

// shaking are those that begin handshakes: they make the server ask for a Retry.
var shaking = []string{"initials", "half-open"}

const (
	sources  = 250    // addresses that a flood comes from
	distinct = 20_000 // datagrams that are made before it begins
	maxBurst = 2 * time.Millisecond
	atOnce   = 16 // datagrams of one source in one system call
)

// send floods an address.
func send(ctx context.Context, kind, to string, o options) error {
	target, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	datagrams, err := makeDatagrams(kind)
	if err != nil {
		return err
	}
	var conns []*ipv4.PacketConn
	for i := range sources {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, byte(i), 7)}, net.UDPAddrFromAddrPort(target))
		if err != nil {
			return err
		}
		defer c.Close()
		conns = append(conns, ipv4.NewPacketConn(c))
	}
	messages := make([]ipv4.Message, len(datagrams))
	for i, d := range datagrams {
		messages[i].Buffers = [][]byte{d}
	}
	begun, tried, sent := time.Now(), 0, 0
	for turn := 0; ctx.Err() == nil; {
		now := time.Since(begun)
		if now >= o.each {
			break
		}
		due := int(now.Seconds() * float64(o.rate))
		due = min(due, tried+int(maxBurst.Seconds()*float64(o.rate))+1)
		for ; tried < due; turn++ {
			from := turn * atOnce % len(messages)
			n, _ := conns[turn%sources].WriteBatch(messages[from:from+atOnce], 0) // a full queue, or a port unreachable, is no reason to end
			tried += atOnce
			sent += max(n, 0)
		}
		time.Sleep(200 * time.Microsecond)
	}
	_, err = fmt.Println(int(float64(sent) / time.Since(begun).Seconds()))
	return err
}

func makeDatagrams(kind string) ([][]byte, error) {
	n := distinct
	var hello []byte
	if kind == "half-open" {
		var err error
		if hello, err = clientHello(); err != nil {
			return nil, err
		}
		n /= 2
	}
	var list [][]byte
	for range n {
		switch kind {
		case "junk":
			list = append(list, random(1+mathrand.IntN(1400)))
		case "resets":
			b := random(60)
			b[0] = b[0]&0x3f | 0x40
			list = append(list, b)
		case "versions":
			b := random(1200)
			copy(b, []byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8})
			b[6+8] = 8
			list = append(list, b)
		case "initials":
			list = append(list, initial(cid(), cid(), 0, [][]byte{random(300)})...)
		case "half-open":
			half := len(hello) / 2
			list = append(list, initial(cid(), cid(), 0, [][]byte{hello[:half], hello[half:]})...)
		}
	}
	return list, nil
}

// initial returns a client's first datagrams with pieces of its CRYPTO stream, one each.
func initial(dcid, scid wire.ConnectionID, pn int64, pieces [][]byte) (list [][]byte) {
	secret, _ := protect.InitialSecrets(wire.Version1, dcid.Bytes())
	sealer, err := protect.NewSealer(wire.Version1, tls.TLS_AES_128_GCM_SHA256, secret)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	off := int64(0)
	for _, p := range pieces {
		b, lengthAt := wire.AppendLong(make([]byte, 0, 1500), wire.Version1, wire.Initial, &dcid, &scid, nil, 2)
		pnOff := len(b)
		b = wire.AppendPacketNumber(b, pn, 2)
		b = wire.Crypto{Offset: off, Data: p}.Append(b)
		b = append(b, make([]byte, max(0, 1200-protect.Overhead-len(b)))...) // PADDING
		varint.Put2(b[lengthAt:], uint64(len(b)-pnOff+protect.Overhead))
		list = append(list, sealer.Seal(b, pnOff, 2, pn))
		pn++
		off += int64(len(p))
	}
	return list
}

// clientHello returns the first message of a client that means it.
func clientHello() ([]byte, error) {
	c := tls.QUICClient(&tls.QUICConfig{TLSConfig: &tls.Config{ServerName: serverName, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}})
	defer c.Close()
	p := wire.DefaultParameters()
	c.SetTransportParameters(p.Append(nil))
	if err := c.Start(context.Background()); err != nil {
		return nil, err
	}
	for {
		switch e := c.NextEvent(); e.Kind {
		case tls.QUICWriteData:
			return e.Data, nil
		case tls.QUICNoEvent:
			return nil, fmt.Errorf("crypto/tls said nothing")
		}
	}
}

func cid() wire.ConnectionID { return wire.MakeConnectionID(random(8)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
