package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

// raw is the floor in Go: what remains of a workload when the protocol is taken away.
type raw struct{}

// rr is a bare UDP echo: a datagram with the request, a datagram with the
// answer. A lost one would hang the run until its limit, and so fail it.
func (raw) rr(ctx context.Context, b *bench, atOnce int) error {
	b.note("rr: a bare UDP echo of the same messages, no TLS")
	server, err := listenUDP(b)
	if err != nil {
		return err
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 2*answerSize)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n != requestSize {
				b.failServer(fmt.Errorf("request of %d bytes", n))
				return
			}
			r, err := parseRequest(buf)
			if err != nil {
				b.failServer(err)
				return
			}
			server.WriteToUDPAddrPort(content(r.offset(), int(r.size)), from)
		}
	}()
	client, err := listenUDP(b)
	if err != nil {
		return err
	}
	defer client.Close()
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	one := func(number uint64, buf []byte) error { return echo(client, to, request{number, answerSize}, buf) }
	return b.requests(atOnce, one)
}

func echo(c *net.UDPConn, to netip.AddrPort, r request, buf []byte) error {
	if _, err := c.WriteToUDPAddrPort(r.appendTo(buf[:0]), to); err != nil {
		return err
	}
	n, _, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return err
	}
	if n != answerSize {
		return fmt.Errorf("answer of %d bytes", n)
	}
	return r.check(0, buf[:n])
}

// hs is two tls.QUICConns that shake hands in memory, ticket included.
func (raw) hs(ctx context.Context, b *bench) error {
	b.note("hs: two tls.QUICConn in memory, no packets and no exchange")
	var tickets atomic.Int64
	one := func(uint64, []byte) error { return shakeHands(ctx, b, &tickets) }
	if err := inParallel(hsAtOnce, 2*hsAtOnce, one); err != nil { // warm
		return err
	}
	tickets.Store(0)
	if err := b.meter.start(); err != nil {
		return err
	}
	if err := inParallel(hsAtOnce, b.Handshakes, one); err != nil {
		return err
	}
	b.tickets.n.Store(tickets.Load())
	return b.handshakesDone()
}

func shakeHands(ctx context.Context, b *bench, tickets *atomic.Int64) error {
	server := tls.QUICServer(&tls.QUICConfig{TLSConfig: b.serverTLS})
	client := tls.QUICClient(&tls.QUICConfig{TLSConfig: b.clientTLS})
	defer server.Close()
	defer client.Close()
	parameters := content(0, 60) // as long as those of a real client
	server.SetTransportParameters(parameters)
	client.SetTransportParameters(parameters)
	if err := server.Start(ctx); err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	done := 0
	for done < 2 {
		n, err := pump(client, server, tickets)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		m, err := pump(server, client, tickets)
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		done += n + m
		if m == 1 { // the server is done last
			if err := server.SendSessionTicket(tls.QUICSessionTicketOptions{}); err != nil {
				return err
			}
			if _, err := pump(server, client, tickets); err != nil {
				return err
			}
			if _, err := pump(client, server, tickets); err != nil {
				return err
			}
		}
	}
	return b.sawTLS(client.ConnectionState())
}

// pump carries everything that one end has to say to the other and counts its
// completions, of which there is one.
func pump(from, to *tls.QUICConn, tickets *atomic.Int64) (done int, _ error) {
	for {
		switch e := from.NextEvent(); e.Kind {
		case tls.QUICNoEvent:
			return done, nil
		case tls.QUICWriteData:
			if err := to.HandleData(e.Level, e.Data); err != nil {
				return done, err
			}
			if e.Level == tls.QUICEncryptionLevelApplication {
				tickets.Add(1)
			}
		case tls.QUICHandshakeDone:
			done++
		}
	}
}
