package recovery

import (
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// asked is a receiver that the peer has asked for few ACKs, with a delay that ends after
// 100 ms.
func asked(t *testing.T, threshold, reorder int64) *receiver {
	r := newReceiver(t, App)
	r.a.SetFrequency(Frequency{Threshold: threshold, MaxDelay: 100*ms + timerLate, Reorder: reorder})
	return r
}

// draft-ietf-quic-ack-frequency §4: more than so many packets are answered; 0 is every one.
func TestFrequencyThreshold(t *testing.T) {
	for _, threshold := range []int64{0, 1, 2, 9, 100} {
		r := asked(t, threshold, 3)
		n := int64(0)
		for range 3 {
			for range threshold {
				r.got(n)
				r.want(false)
				n++
			}
			r.got(n)
			r.want(true)
			r.a.Sent()
			n++
		}
	}
}

// §4: the delay is the one asked for, less what a timer is late by.
func TestFrequencyDelay(t *testing.T) {
	r := newReceiver(t, App)
	r.a.SetFrequency(Frequency{Threshold: 10, MaxDelay: MinAckDelay, Reorder: 3})
	r.got(0)
	equal(t, "deadline", r.a.Deadline(), start.Add(MinAckDelay-timerLate))
	equal(t, "expired", r.a.Expired(r.a.Deadline()), true)
	r.a.Sent()

	r.a.SetFrequency(Frequency{Threshold: 10, MaxDelay: 0, Reorder: 3})
	r.got(1)
	r.want(true)
	r.a.Sent()

	r.a.SetFrequency(Frequency{Threshold: 10, MaxDelay: math.MaxInt64, Reorder: 3})
	r.got(2)
	r.want(false)
}

// A new delay puts nothing off that waits already, and a shorter one counts from the
// packet that asks for it.
func TestFrequencyChangeWhileOneWaits(t *testing.T) {
	r := newReceiver(t, App)
	r.got(0)
	r.a.SetFrequency(Frequency{Threshold: 10, MaxDelay: time.Second, Reorder: 3})
	r.got(1)
	equal(t, "deadline", r.a.Deadline(), start.Add(25*ms))
	r.a.SetFrequency(Frequency{Threshold: 10, MaxDelay: 4 * ms, Reorder: 3})
	r.got(2)
	equal(t, "deadline", r.a.Deadline(), start.Add(3*ms))
	r.a.SetFrequency(Frequency{Threshold: 2, MaxDelay: 4 * ms, Reorder: 3})
	r.got(3)
	r.want(true)
}

// §6.1: after a silence nothing waits longer than we have promised unasked.
func TestFrequencyAfterSilence(t *testing.T) {
	r := asked(t, 10, 3)
	r.got(0)
	r.a.Sent()
	r.now = start.Add(100 * ms)
	r.got(1)
	equal(t, "deadline", r.a.Deadline(), r.now.Add(100*ms))
	r.a.Sent()
	r.now = r.now.Add(100*ms + 1)
	r.got(2)
	equal(t, "deadline", r.a.Deadline(), r.now.Add(25*ms))
}

// §6.2.1: the draft's two tables, in which only reordering makes ACKs go.
func TestFrequencyReorderingExamples(t *testing.T) {
	for _, table := range []struct {
		reorder int64
		packets []int64
		acks    []bool
	}{
		{3, []int64{0, 1, 3, 4, 5, 8, 9, 10}, []bool{false, false, false, false, true, false, true, true}},
		{5, []int64{0, 1, 3, 5, 6, 7, 8, 9}, []bool{false, false, false, false, false, true, false, true}},
		{1, []int64{0, 1, 3, 4, 2, 5, 7}, []bool{false, false, true, false, true, false, true}}, // as by default
		{0, []int64{0, 1, 5, 9, 3, 20, 2, 100}, make([]bool, 8)},
	} {
		r := asked(t, 1000, table.reorder)
		for i, n := range table.packets {
			r.got(n)
			if got := r.a.Due(r.now); got != table.acks[i] {
				t.Errorf("threshold %d, packet %d: due is %v", table.reorder, n, got)
			}
			if r.a.Due(r.now) {
				r.a.Sent()
			}
		}
	}
}

// §6.2: what comes so late that it counts as lost is told at once; what fills a gap that
// nobody was told of is not.
func TestFrequencyLatePackets(t *testing.T) {
	r := asked(t, 1000, 3)
	r.got(0, 1, 3, 4, 5)
	r.sends("ACK delay=0 3-5 0-1")
	r.got(2)
	r.want(true)
	r.sends("ACK delay=0 0-5")
	r.got(7)
	r.got(6)
	r.want(false)
	r.got(8, 9, 10)
	r.want(false)
}

// §6.2: a packet that is not ack-eliciting leaves a gap too, but makes no ACK go.
func TestFrequencyQuietPackets(t *testing.T) {
	r := asked(t, 1000, 3)
	r.got(0)
	r.quiet(5)
	r.want(false)
	r.got(6)
	r.want(true)
}

// §6: a range is told at least once before it may be forgotten, however much is missing
// and whatever the peer does not want to hear of.
func TestFrequencyTellsRangesInTime(t *testing.T) {
	r := asked(t, math.MaxInt64>>1, 0)
	told, acks := make(map[int64]bool), 0
	for n := int64(0); n < 2000; n += 2 {
		r.got(n)
		if !r.a.Due(r.now) {
			continue
		}
		acks++
		for _, x := range r.frame(1000).Set() {
			told[x.Start] = true
		}
		r.a.Sent()
	}
	for n := int64(0); n < 2000-2*MaxAckRanges; n += 2 {
		if !told[n] {
			t.Errorf("packet %d was never acknowledged", n)
		}
	}
	if acks > 2*1000/MaxAckRanges {
		t.Errorf("%d ACKs for 1000 ranges", acks)
	}
}

// §6.3: a CE mark is told at once when marks begin; with a threshold of 0 or 1 always.
func TestFrequencyMarks(t *testing.T) {
	for _, test := range []struct {
		threshold int64
		acks      []bool
	}{
		{100, []bool{false, true, false, false, false, true}},
		{2, []bool{false, true, false, false, true, true}},
		{1, []bool{false, true, true, true, false, true}},
		{0, []bool{true, true, true, true, true, true}},
	} {
		r := asked(t, test.threshold, 3)
		for i, mark := range []dgram.ECN{dgram.ECT0, dgram.CE, dgram.CE, dgram.CE, dgram.ECT0, dgram.CE} {
			r.a.Received(r.now, int64(i), true, mark)
			if got := r.a.Due(r.now); got != test.acks[i] {
				t.Errorf("threshold %d, packet %d: due is %v", test.threshold, i, got)
			}
			if r.a.Due(r.now) {
				r.a.Sent()
			}
		}
	}
}

// §5: the packet that asks is answered at once, and no other.
func TestAnswerAtOnce(t *testing.T) {
	r := asked(t, 100, 0)
	r.got(0)
	r.a.Taking(1)
	r.a.AnswerAtOnce()
	r.got(1)
	r.want(true)
	r.sends("ACK delay=0 0-1")
	r.got(2)
	r.want(false)
}
