package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The datagrams of the raw bulk workload look like QUIC's 1-RTT packets: one
// byte of flags, a connection ID of 8, a packet number of 4, sealed payload.
const (
	rawHeader   = 1 + 8 + 4
	rawNumberAt = 1 + 8
	rawTag      = 16
	rawPayload  = datagramSize - rawHeader - rawTag
	rawSegments = 65_487 / datagramSize // in one message with UDP_SEGMENT
	rawBatch    = rawSegments * rawPayload

	// rawWindow keeps the sender from overrunning the receiver's buffer; the
	// receiver returns a count of what it has, rarely enough to cost nothing.
	rawWindow = 2 << 20
	rawCredit = rawWindow / 8
)

// bulk is two goroutines: one seals and sends, one receives and opens.
func (raw) bulk(_ context.Context, b *bench) error { return rawFlows(b, 1) }

// bulkSessions is as many pairs of them, each with sockets of its own.
func (raw) bulkSessions(_ context.Context, b *bench) error { return rawFlows(b, bulkAtOnce) }

func rawFlows(b *bench, n int) error {
	b.note("bulk*: GSO, GRO, AES-128-GCM and header protection of %d-byte datagrams, a window of %d KiB each, and nothing else", datagramSize, rawWindow>>10)
	flows := make([]*rawFlow, n)
	for i := range flows {
		f, err := newRawFlow(b)
		if err != nil {
			return err
		}
		defer f.close()
		flows[i] = f
	}
	if err := b.meter.start(); err != nil {
		return err
	}
	one := func(i uint64, _ []byte) error { return flows[i].carry(b.Bytes / int64(n)) }
	if err := inParallel(n, n, one); err != nil {
		return err
	}
	return b.bulkDone()
}

// rawFlow is the sockets of a sender and a receiver.
type rawFlow struct{ from, to *net.UDPConn }

func newRawFlow(b *bench) (*rawFlow, error) {
	from, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	to, err := listenUDP(b)
	if err != nil {
		from.Close()
		return nil, err
	}
	f := &rawFlow{from, to}
	if err := setOption(to, unix.UDP_GRO, 1); err != nil {
		f.close()
		return nil, fmt.Errorf("GRO: %w", err)
	}
	if err := setOption(from, unix.UDP_SEGMENT, datagramSize); err != nil {
		f.close()
		return nil, fmt.Errorf("GSO: %w", err)
	}
	return f, nil
}

func (f *rawFlow) close() {
	f.from.Close()
	f.to.Close()
}

// carry sends and receives size bytes.
func (f *rawFlow) carry(size int64) error {
	sent := make(chan error, 1)
	go func() {
		err := rawSend(f.from, f.to.LocalAddr().(*net.UDPAddr), size)
		if err != nil {
			f.to.Close() // wakes the receiver
		}
		sent <- err
	}()
	err := rawReceive(f.to, f.from.LocalAddr().(*net.UDPAddr), size)
	if err != nil {
		f.from.Close() // wakes the sender
	}
	return errors.Join(err, <-sent)
}

func setOption(c *net.UDPConn, option, value int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := rc.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, option, value) }); err != nil {
		return err
	}
	return serr
}

// rawKeys protects and opens datagrams. Both ends make one from the same constants.
type rawKeys struct {
	aead  cipher.AEAD
	hp    cipher.Block
	iv    [12]byte
	nonce [12]byte
	mask  [aes.BlockSize]byte
}

func newRawKeys() *rawKeys {
	block, err := aes.NewCipher([]byte("0123456789abcdef"))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	hp, err := aes.NewCipher([]byte("fedcba9876543210"))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	k := &rawKeys{aead: aead, hp: hp}
	copy(k.iv[:], "cinnabar-iv.")
	return k
}

func (k *rawKeys) nonceOf(pn uint32) []byte {
	k.nonce = k.iv
	binary.BigEndian.PutUint32(k.nonce[8:], pn^binary.BigEndian.Uint32(k.iv[8:]))
	return k.nonce[:]
}

// maskHeader applies or removes header protection (RFC 9001 §5.4) in place.
func (k *rawKeys) maskHeader(d []byte) {
	k.hp.Encrypt(k.mask[:], d[rawNumberAt+4:rawNumberAt+4+aes.BlockSize])
	d[0] ^= k.mask[0] & 0x1f
	for i := range 4 {
		d[rawNumberAt+i] ^= k.mask[1+i]
	}
}

// seal writes the datagram with number pn and a copy of payload into d.
func (k *rawKeys) seal(d []byte, pn uint32, payload []byte) {
	d[0] = 0x43
	clear(d[1:rawNumberAt])
	binary.BigEndian.PutUint32(d[rawNumberAt:], pn)
	p := d[rawHeader : rawHeader+len(payload)]
	copy(p, payload)
	k.aead.Seal(p[:0], k.nonceOf(pn), p, d[:rawHeader])
	k.maskHeader(d)
}

// open returns the payload, decrypted in place.
func (k *rawKeys) open(d []byte) (pn uint32, payload []byte, err error) {
	if len(d) < rawHeader+rawTag+1 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	k.maskHeader(d)
	pn = binary.BigEndian.Uint32(d[rawNumberAt:])
	sealed := d[rawHeader:]
	payload, err = k.aead.Open(sealed[:0], k.nonceOf(pn), sealed, d[:rawHeader])
	return pn, payload, err
}

// rawSend sends size bytes of the pattern in full batches.
func rawSend(c *net.UDPConn, to *net.UDPAddr, size int64) error {
	addr := to.AddrPort()
	k := newRawKeys()
	batch := make([]byte, rawSegments*datagramSize)
	var credit [16]byte
	var sent, acked int64
	for pn := uint32(0); sent < size; {
		for sent-acked > rawWindow-rawBatch {
			if _, _, err := c.ReadFromUDPAddrPort(credit[:]); err != nil {
				return fmt.Errorf("window: %w", err)
			}
			acked = int64(binary.BigEndian.Uint64(credit[:]))
		}
		n := 0
		for range rawSegments {
			m := int(min(rawPayload, size-sent))
			if m == 0 {
				break
			}
			k.seal(batch[n:n+rawHeader+m+rawTag], pn, content(sent, m))
			n, sent, pn = n+rawHeader+m+rawTag, sent+int64(m), pn+1
		}
		if _, err := c.WriteToUDPAddrPort(batch[:n], addr); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// rawReceive receives, opens and compares until it has size bytes. Datagrams
// must come in order and without loss, as they do on loopback within a window.
func rawReceive(c *net.UDPConn, to *net.UDPAddr, size int64) error {
	addr := to.AddrPort()
	k := newRawKeys()
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4))
	var got, credited int64
	for pn := uint32(0); got < size; {
		n, oobn, _, _, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		segment := segmentSize(oob[:oobn], n)
		for at := 0; at < n; at, pn = at+segment, pn+1 {
			number, p, err := k.open(buf[at:min(at+segment, n)])
			if err != nil {
				return fmt.Errorf("open: %w", err)
			}
			if number != pn {
				return fmt.Errorf("datagram %d where %d was next: lost on loopback", number, pn)
			}
			if !bytes.Equal(p, content(got, len(p))) {
				return errContent
			}
			got += int64(len(p))
		}
		if got-credited >= rawCredit {
			credited = got
			var msg [8]byte
			binary.BigEndian.PutUint64(msg[:], uint64(got))
			if _, err := c.WriteToUDPAddrPort(msg[:], addr); err != nil {
				return fmt.Errorf("window: %w", err)
			}
		}
	}
	return nil
}

// segmentSize returns the size of the datagrams in a message of n bytes that GRO has joined.
func segmentSize(oob []byte, n int) int {
	if len(oob) < unix.CmsgSpace(4) {
		return n
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return n
	}
	return int(binary.NativeEndian.Uint32(oob[unix.CmsgLen(0):]))
}
