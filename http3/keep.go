package http3

import "strings"

// A header block that is decoded costs memory until its request is over: a few bytes on the wire are a thousand fields,
// or the cookie that they become. What blocks cost beyond freeHeaders each is counted for the whole session.
const (
	// maxKeptHeaders bounds the decoded header blocks of a session, for blocks of up to half of it, where the peer may
	// open few streams.
	maxKeptHeaders = 1 << 20
	// keptOfStream is what they have for each stream that the peer may have open: honest requests, all of them at once,
	// need not be small.
	keptOfStream = 16 << 10
	// freeHeaders is what each request may hold, whatever others do, and each push that is promised: most blocks are
	// smaller, and streams have a limit of their own.
	freeHeaders = 8 << 10
	// no limit: about what a field costs beside its text, as a Field and in a map of net/http's.
	fieldCost = 160
	// no limit: one of the same name as that before it, which has no place of its own in the map.
	againCost = 80
	// no limit: the name of a trailer that is declared, in a map that waits for its value.
	trailerCost = 110
)

// maxKept bounds the decoded header blocks of a session, all of them together, whose peer may have so many requests open.
func (o *Options) maxKept(streams int64) int64 {
	return max(maxKeptHeaders, 2*int64(o.MaxHeaderListSize), keptOfStream*min(streams, 1<<30))
}

// cost is about what the block costs that was so many bytes when it came. Its text is no longer than what these can spell
// out in Huffman's code, of 5 bits at least, and the table's entries: many fields can be references to one.
func (h Headers) cost(length int, o *Options) int64 {
	text, names := 0, 0
	for i := range h {
		text += len(h[i].Name) + len(h[i].Value)
		names += len(h[i].Name) // once more, as net/http writes them
	}
	text = min(text, length*8/5+int(o.QPACKMaxTableCapacity))
	n := h.runs()
	return int64(fieldCost*n+againCost*(len(h)-n)+text+names) + h.declared()
}

// runs is how many fields have another name than that before them. Clients send the crumbs of a cookie in a row.
func (h Headers) runs() int {
	n := 0
	for i := range h {
		if i == 0 || h[i].Name != h[i-1].Name {
			n++
		}
	}
	return n
}

// declared is about what the map of the trailers costs that are declared; see declaredTrailers.
func (h Headers) declared() int64 {
	n, length := 0, 0
	for i := range h {
		if h[i].Name == "trailer" && n < maxTrailers { // there may be blanks without end before the names
			n += 1 + strings.Count(h[i].Value, ",")
			length += len(h[i].Value)
		}
	}
	return int64(trailerCost*min(n, maxTrailers) + min(length, maxTrailerNames))
}

// counted is what of a stream's blocks is in the session's account.
func counted(cost int64) int64 { return max(0, cost-freeHeaders) }

// keep counts what a decoded block costs, and reports whether the session has room for it. One alone always has: it has
// limits of its own.
func (s *Session) keep(n int64) bool {
	for {
		have := s.kept.Load()
		if n > 0 && have > 0 && have+n > s.mostKept {
			return false
		}
		if s.kept.CompareAndSwap(have, have+n) {
			return true
		}
	}
}

// keep counts what a block of the stream's costs. What does not fit is not counted.
func (st *Stream) keep(n int64) bool {
	st.mu.Lock()
	if st.forgotten {
		st.mu.Unlock()
		return true // the stream is over, and who reads has its rest at once
	}
	more := counted(st.kept+n) - counted(st.kept)
	if !st.s.keep(more) {
		st.mu.Unlock()
		return false
	}
	st.kept += n
	watch := more > 0 && more == counted(st.kept) && !st.hooked && !st.lenient
	st.mu.Unlock()
	if watch {
		st.setHooks() // to give it back when the stream is over
	}
	return true
}

// giveBack takes the stream's blocks out of the account.
func (st *Stream) giveBack() {
	st.mu.Lock()
	n := counted(st.kept)
	st.kept, st.forgotten = 0, true
	st.mu.Unlock()
	st.s.kept.Add(-n)
}

// forget is giveBack for a request whose handler has returned. The client says how long the stream lasts: nothing that
// was counted stays with it.
func (st *Stream) forget() {
	st.mu.Lock()
	large := counted(st.kept) > 0
	if large {
		st.method = strings.Clone(st.method[:min(len(st.method), 16)])
	} else {
		st.forgotten = true
	}
	st.mu.Unlock()
	if !large {
		return
	}
	st.in.mu.Lock() // who reads has been stopped, or is at the end
	st.in.headers, st.in.trailers, st.in.head = nil, nil, head{}
	st.unlockIn()
	st.giveBack()
}
