package transport

import (
	mrand "math/rand/v2"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// trainRig moves data on two streams through trains that a bad network has been at.
type trainRig struct {
	*wireLink
	rng     *mrand.Rand
	singly  bool // each datagram by itself
	out, in [2]*Stream
	written [2]int
	read    [2]int
}

func trainByte(stream, off int) byte { return byte(off*7 + off>>11 + 101*stream) }

func newTrainRig(t *testing.T, singly bool) *trainRig {
	r := &trainRig{wireLink: newWireLink(t), rng: mrand.New(mrand.NewPCG(7, 7)), singly: singly}
	for i := range r.out {
		r.out[i] = r.client.conn.OpenStream(r.now, false)
		r.write(i, 1)
		r.pass(r.client, r.server)
		r.in[i] = r.opened()
	}
	return r
}

func (r *trainRig) write(i, n int) {
	b := make([]byte, n)
	for k := range b {
		b[k] = trainByte(i, r.written[i]+k)
	}
	n, err := r.client.conn.Write(r.out[i], b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.written[i] += n
}

// spoil does to a train what networks do: it loses, repeats and swaps datagrams.
func (r *trainRig) spoil(ds []dgram.Datagram) []dgram.Datagram {
	if len(ds) < 3 || r.rng.IntN(3) > 0 {
		return ds
	}
	i := r.rng.IntN(len(ds) - 1)
	switch r.rng.IntN(4) {
	case 0:
		return append(ds[:i:i], ds[i+1:]...)
	case 1:
		again := ds[i]
		again.Data = append([]byte(nil), again.Data...)
		return append(ds, again)
	case 2:
		ds[i], ds[i+1] = ds[i+1], ds[i]
	default:
		ds[i].Data[len(ds[i].Data)-1] ^= 1 // not authentic any more
	}
	return ds
}

func (r *trainRig) receive(ds []dgram.Datagram) {
	for len(ds) > 0 {
		n := 1 + r.rng.IntN(len(ds))
		if !r.singly {
			r.server.conn.ReceiveTrain(r.now, ds[:n])
		}
		for i := range ds[:n] {
			if r.singly {
				r.server.conn.receiveOne(r.now, &ds[i])
			}
		}
		ds = ds[n:]
	}
	r.drain(r.server)
}

func (r *trainRig) take(buf []byte) {
	for i := range r.in {
		for {
			n, _ := r.server.conn.Read(r.now, r.in[i], buf)
			if n == 0 {
				break
			}
			for k, b := range buf[:n] {
				if b != trainByte(i, r.read[i]+k) {
					r.t.Fatalf("stream %d: wrong byte at %d", i, r.read[i]+k)
				}
			}
			r.read[i] += n
		}
	}
}

func (r *trainRig) round(write bool, buf []byte) {
	if write {
		r.write(r.rng.IntN(2), 1+r.rng.IntN(64<<10))
		r.write(r.rng.IntN(2), 1+r.rng.IntN(20<<10))
	}
	r.tick(time.Duration(50+r.rng.IntN(500)) * time.Microsecond)
	for {
		r.client.batch.Reset()
		if !r.client.conn.Transmit(r.now, r.client.batch) {
			break
		}
		r.drain(r.client)
		var ds []dgram.Datagram
		for i := range r.client.batch.Count() {
			ds = append(ds, dgram.Datagram{
				Data: r.client.batch.Segment(i), Path: dgram.Path{Local: r.server.addr, Remote: r.client.addr}, ECN: r.client.batch.ECN,
			})
		}
		r.receive(r.spoil(ds))
	}
	r.take(buf)
	r.pass(r.server, r.client)
}

// run returns what the server has counted since the start.
func (r *trainRig) run() Stats {
	before := r.server.conn.Stats()
	buf := make([]byte, 32<<10)
	for range 400 {
		r.round(true, buf)
	}
	for i := 0; r.out[0].Buffered()+r.out[1].Buffered() > 0; i++ {
		if i == 4000 {
			r.t.Fatal("not all is acknowledged in the end")
		}
		r.round(false, buf)
	}
	if r.read != r.written {
		r.t.Fatalf("read %v of %v", r.read, r.written)
	}
	s := r.server.conn.Stats()
	return Stats{
		DatagramsReceived: s.DatagramsReceived - before.DatagramsReceived,
		DatagramsSent:     s.DatagramsSent - before.DatagramsSent,
		PacketsReceived:   s.PacketsReceived - before.PacketsReceived,
		PacketsIgnored:    s.PacketsIgnored - before.PacketsIgnored,
		Duplicates:        s.Duplicates - before.Duplicates,
	}
}

// What arrives, what is counted and how often it is answered do not depend on whether
// datagrams are taken as a train or one by one.
func TestTrainIsTheSameAsItsDatagrams(t *testing.T) {
	train, single := newTrainRig(t, false).run(), newTrainRig(t, true).run()
	if train != single {
		t.Errorf("as trains:\n%+v\none by one:\n%+v", train, single)
	}
	if train.Duplicates == 0 || train.PacketsIgnored == 0 {
		t.Errorf("the network was too good: %+v", train)
	}
}

// The packets of a train give back to the budget of the peer what each of them would.
func TestTrainRefillsTheBudget(t *testing.T) {
	refilled := func(singly bool) time.Duration {
		r := newTrainRig(t, singly)
		spent := r.now.Add(uselessBurst * price)
		r.server.conn.budget.full = spent
		for range 10 {
			r.round(true, make([]byte, 32<<10))
		}
		return spent.Sub(r.server.conn.budget.full)
	}
	train, single := refilled(false), refilled(true)
	if train != single || train < 10*price {
		t.Errorf("%d tokens by trains, %d one by one", train/price, single/price)
	}
}
