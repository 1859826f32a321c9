package recovery

import (
	"reflect"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// A run of packets leaves the same behind as the packets one by one.
func TestSentRunIsSentForEach(t *testing.T) {
	for _, ecn := range []dgram.ECN{dgram.NotECT, dgram.ECT0} {
		var run, each Loss
		for _, l := range []*Loss{&run, &each} {
			l.Init(start, Config{MaxDatagram: size, Controller: congestion.NewReno(size)})
			l.Sent(start, App, Packet{AckEliciting: true, Size: size}, []Frame{{Kind: 1}})
			l.spaces[App].cut = true
		}
		frames := make([]Frame, 40)
		for i := range frames {
			frames[i] = Frame{Kind: 2, ID: 4, Off: int64(i) * 1000, Len: 1000}
		}
		p := Packet{Number: 1, Size: size, AckEliciting: true, ECN: ecn}
		run.SentRun(start.Add(ms), App, p, frames)
		for i := range frames {
			each.Sent(start.Add(ms), App, p, frames[i:i+1])
			p.Number++
		}
		if !reflect.DeepEqual(run, each) {
			t.Errorf("%v: after a run\n%+v\nafter its packets\n%+v", ecn, run, each)
		}
	}
}

// A run of packets is answered as the packets one by one are.
func TestReceivedRunIsReceivedForEach(t *testing.T) {
	for name, f := range map[string]Frequency{
		"every second": DefaultFrequency(25 * ms),
		"few":          {Threshold: 30, MaxDelay: 10 * ms, Reorder: 3},
		"no order":     {Threshold: 30, MaxDelay: 10 * ms},
	} {
		for _, gap := range []int64{0, 1, 5} {
			for _, n := range []int64{1, 2, 29, 45} {
				for _, silence := range []time.Duration{0, ms, 100 * ms} {
					run, each := newReceiver(t, App), newReceiver(t, App)
					for _, r := range []*receiver{run, each} {
						r.a.SetFrequency(f)
						r.got(0, 1, 2)
						r.a.Sent()
						r.got(3)
						r.now = r.now.Add(silence)
					}
					run.a.ReceivedRun(run.now, 4+gap, n, dgram.ECT0)
					for i := range n {
						each.a.Received(each.now, 4+gap+i, true, dgram.ECT0)
					}
					if !reflect.DeepEqual(run.a, each.a) {
						t.Errorf("%s, gap %d, %d packets after %v: as a run\n%+v\none by one\n%+v", name, gap, n, silence, run.a, each.a)
					}
				}
			}
		}
	}
}
