package main

import "context"

// lossShare is the part of -mb that bulk-loss transfers: a path that loses
// packets at random is slow however wide it is.
const lossShare = 200

// bulkLoss is bulk through a proxy that is a slow and lossy path.
func (o overStreams) bulkLoss(ctx context.Context, b *bench) error {
	b.Bytes /= lossShare
	e, err := o.start(ctx, b, serveAll)
	if err != nil {
		return err
	}
	defer e.close()
	p, err := newProxy(b, e.to)
	if err != nil {
		return err
	}
	defer p.close()
	e.to = p.addr()
	b.note("bulk-loss: %g MB through a path of %d Mbit/s and %v round trip that loses %g %% of the datagrams at random in each direction and queues for %v at most; no CPU figure, since the proxy is in the process",
		float64(b.Bytes)/1e6, b.RateMbps, b.RTT, b.LossPercent, b.RTT)
	s, err := e.dial(ctx)
	if err != nil {
		return err
	}
	before, _ := p.count()
	if err := b.transfer(func(r request, buf []byte) error { return e.exchange(ctx, s, r, buf) }); err != nil {
		return err
	}
	sent, dropped := p.count()
	b.set("sent_per_byte", float64(sent-before)/float64(b.Bytes))
	b.set("queue_drops", float64(dropped))
	return nil
}
