package cases

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// single is what holds of a run with one connection.
var single = trace.All(trace.Handshakes(1), trace.OnlyVersion1)

func TestInteropHandshake(t *testing.T) {
	play(t, setup{}, transfer(kib), single, trace.NoRetry)
}

func TestInteropTransfer(t *testing.T) {
	play(t, setup{}, transfer(2*mib, 3*mib, 5*mib), single)
}

func TestInteropLongRTT(t *testing.T) {
	play(t, setup{delay: 750 * time.Millisecond}, transfer(kib), single, trace.ClientHellos(2))
}

func TestInteropMultiplexing(t *testing.T) {
	play(t, setup{}, transfer(many(1999, 32)...), single, trace.StreamLimit(1000))
}

func TestInteropRetry(t *testing.T) {
	play(t, setup{socket: quic.SocketOptions{ValidateAddress: true}}, transfer(10*kib), single, trace.Retried)
}

// again fetches some paths over a session, and the others over another that resumes it.
func (w *world) again(o quic.ConnectOptions, paths []string, first int) error {
	tickets := make(chan struct{}, 10)
	o.TLS = w.tls.Clone()
	o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	o.Hooks.SessionTicket = func(_, _ []byte) error { tickets <- struct{}{}; return nil }
	s, err := w.dial(o)
	if err != nil {
		return err
	}
	if err := w.fetch(s, paths[:first]...); err != nil {
		return err
	}
	select {
	case <-tickets:
	case <-w.ctx.Done():
		return fmt.Errorf("no ticket: %w", w.ctx.Err())
	}
	if err := s.Shutdown(w.ctx); err != nil {
		return err
	}
	return w.once(o, paths[first:]...)
}

func TestInteropResumption(t *testing.T) {
	play(t, setup{}, func(w *world) error {
		return w.again(quic.ConnectOptions{DisableEarlyData: true}, w.put(5*kib, 10*kib), 1)
	}, trace.Handshakes(2), trace.OnlyVersion1, trace.Resumed)
}

func TestInteropZeroRTT(t *testing.T) {
	play(t, setup{}, func(w *world) error {
		var paths []string
		for range 40 {
			path := w.name(250)
			w.files.Store(path, []byte(strings.Repeat("x", 32)))
			paths = append(paths, path)
		}
		return w.again(quic.ConnectOptions{}, paths, 1)
	}, trace.Handshakes(2), trace.OnlyVersion1, trace.Early(40*250/2))
}

func TestInteropBlackhole(t *testing.T) {
	const on, off = 5 * time.Second, 2 * time.Second
	play(t, setup{up: []sim.Node{sim.Blackhole(on, off)}, down: []sim.Node{sim.Blackhole(on, off)}}, transfer(10*mib), single)
}

func TestInteropKeyUpdate(t *testing.T) {
	play(t, setup{}, func(w *world) error {
		s, err := w.dial(quic.ConnectOptions{})
		if err != nil {
			return err
		}
		if err := s.Handshake(w.ctx); err != nil {
			return err
		}
		paths := w.put(3 * mib)
		done := make(chan error, 1)
		go func() { done <- w.fetch(s, paths...) }()
		if err := w.update(s); err != nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
		return s.Shutdown(w.ctx)
	}, single, trace.KeysUpdated)
}

// update begins a key update as soon as one is allowed.
func (w *world) update(s *quic.ClientSession) error {
	for {
		if s.HandshakeConfirmed() {
			if ok, err := s.UpdateKey(); ok || err != nil {
				return err
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
}

func TestInteropECN(t *testing.T) {
	play(t, setup{}, transfer(100*kib), single, trace.NoRetry, trace.Marked)
}

func TestInteropAmplificationLimit(t *testing.T) {
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("%s.%02d.example", strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 59)+".", 4), "."), i))
	}
	id := newIdentity(8, names)
	play(t, setup{chain: &id.cert, up: []sim.Node{sim.DropList(2, 3, 4, 5, 6, 7)}}, transfer(5*kib), single, trace.LongChain(7500))
}

func TestInteropHandshakeLoss(t *testing.T) {
	o := setup{up: []sim.Node{sim.Loss(30, 3)}, down: []sim.Node{sim.Loss(30, 3)}, limit: 300 * time.Second}
	play(t, o, multiconnect(50, kib), trace.Handshakes(50), trace.OnlyVersion1)
}

func TestInteropTransferLoss(t *testing.T) {
	play(t, setup{up: []sim.Node{sim.Loss(2, 3)}, down: []sim.Node{sim.Loss(2, 3)}}, transfer(2*mib), single)
}

// corruptions are the two kinds of corruption: the receiver sees it, or its kernel has.
var corruptions = map[string]func(percent float64, burst int) sim.Node{"delivered": sim.Corrupt, "dropped": sim.CorruptDrop}

func TestInteropHandshakeCorruption(t *testing.T) {
	for name, corrupt := range corruptions {
		t.Run(name, func(t *testing.T) {
			o := setup{up: []sim.Node{corrupt(30, 3)}, down: []sim.Node{corrupt(30, 3)}, limit: 300 * time.Second}
			play(t, o, multiconnect(50, kib), trace.Handshakes(50), trace.OnlyVersion1)
		})
	}
}

func TestInteropTransferCorruption(t *testing.T) {
	for name, corrupt := range corruptions {
		t.Run(name, func(t *testing.T) {
			play(t, setup{up: []sim.Node{corrupt(2, 3)}, down: []sim.Node{corrupt(2, 3)}}, transfer(2*mib), single)
		})
	}
}

func TestInteropIPv6(t *testing.T) {
	play(t, setup{ipv6: true}, transfer(5*kib, 10*kib), single, trace.OnlyIPv6)
}

func TestInteropRebindPort(t *testing.T) {
	nat := sim.Rebind(time.Second, 5*time.Second, false)
	play(t, setup{up: []sim.Node{nat}, down: []sim.Node{nat}}, transfer(10*mib), single, trace.Validated(2))
}

func TestInteropRebindAddr(t *testing.T) {
	nat := sim.Rebind(time.Second, 5*time.Second, true)
	play(t, setup{up: []sim.Node{nat}, down: []sim.Node{nat}}, transfer(10*mib), single, trace.Validated(2), trace.Addresses(2))
}

func TestInteropConnectionMigration(t *testing.T) {
	play(t, setup{moves: true}, func(w *world) error {
		return w.once(quic.ConnectOptions{PreferredAddressPolicy: "accept"}, w.put(2*mib)...)
	}, single, trace.Validated(2), trace.FreshIDs)
}
