package qpack

// keep is how much unused memory is kept for the next time.
const keep = 4096

// outbox holds instructions until they are handed over.
type outbox struct {
	b    []byte
	sent int // of b
}

func (o *outbox) pending() []byte { return o.b[o.sent:] }

// take forgets the first n pending bytes.
func (o *outbox) take(n int) {
	if n < 0 || n > len(o.b)-o.sent {
		panic("BUG: more instructions sent than there were")
	}
	o.sent += n
	switch {
	case o.sent == len(o.b) && cap(o.b) > keep:
		*o = outbox{}
	case o.sent == len(o.b):
		o.b, o.sent = o.b[:0], 0
	case o.sent >= keep/4 && o.sent > len(o.b)/2:
		o.b, o.sent = o.b[:copy(o.b, o.b[o.sent:])], 0
	}
}
