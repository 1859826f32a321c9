package recovery

import (
	"slices"
	"sort"
)

// store is a run of packet records in ascending packet number, with their
// frames side by side. Records leave at the front by moving head; the memory
// is won back by compact when a push finds no room. Both are O(1) amortised.
type store struct {
	packets []Packet
	frames  []Frame
	head    int // records before it are settled
	quietAt int // no outstanding packet before it is out of flight (Loss.boundQuiet)
}

const (
	firstPackets = 4 // a handshake's spaces hold no more
	firstFrames  = 2
)

// push appends one record with a copy of its frames. While pinned, records
// keep their index.
func (s *store) push(p *Packet, frames []Frame, pinned bool) {
	if len(s.packets) == cap(s.packets) || len(s.frames)+len(frames) > cap(s.frames) {
		s.makeRoom(len(frames), pinned)
	}
	p.at, p.frames = uint32(len(s.frames)), uint16(len(frames))
	s.frames = append(s.frames, frames...)
	s.packets = append(s.packets, *p)
}

// makeRoom compacts, then doubles whatever is more than half full, to four times what
// is live at most: so half as many pushes as there are live records pass until the next time.
func (s *store) makeRoom(frames int, pinned bool) {
	if !pinned {
		s.compact()
	}
	if n := len(s.packets); n+1 > cap(s.packets)/2 {
		s.packets = append(make([]Packet, 0, max(firstPackets, 2*cap(s.packets))), s.packets...)
	}
	if n := len(s.frames) + frames; n > cap(s.frames)/2 {
		s.frames = append(make([]Frame, 0, max(firstFrames, 2*cap(s.frames), 2*n)), s.frames...)
	}
}

// compact moves the records that are not settled, and their frames, to the front.
func (s *store) compact() {
	n, f := 0, 0
	for i := s.head; i < len(s.packets); i++ {
		p := &s.packets[i]
		if p.state == settled {
			continue
		}
		k := copy(s.frames[f:], s.framesOf(p))
		s.packets[n] = *p
		s.packets[n].at = uint32(f)
		f += k
		n++
	}
	s.packets, s.frames, s.head, s.quietAt = s.packets[:n], s.frames[:f], 0, 0
}

// framesOf returns the frames of a record, borrowed until the next push.
func (s *store) framesOf(p *Packet) []Frame {
	end := p.at + uint32(p.frames)
	return s.frames[p.at:end:end]
}

// trim moves head over settled records. An empty store starts over.
func (s *store) trim() {
	for s.head < len(s.packets) && s.packets[s.head].state == settled {
		s.head++
	}
	if s.head == len(s.packets) {
		s.packets, s.frames, s.head, s.quietAt = s.packets[:0], s.frames[:0], 0, 0
	}
}

// shrink gives back the memory that the records do not need.
func (s *store) shrink() {
	s.compact()
	if len(s.packets) == 0 {
		s.drop()
		return
	}
	s.packets, s.frames = slices.Clone(s.packets), slices.Clone(s.frames)
}

// after returns the index of the first record, from head on, whose number is n or more.
func (s *store) after(n int64) int {
	live := s.packets[s.head:]
	return s.head + sort.Search(len(live), func(i int) bool { return live[i].Number >= n })
}

// live returns the records from head on.
func (s *store) live() []Packet { return s.packets[s.head:] }

// drop frees everything.
func (s *store) drop() { *s = store{} }
