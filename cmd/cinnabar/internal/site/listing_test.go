package site

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// queue has so many requests ask for the page of a folder while one is made, and returns their answers when that is done. All
// but the last most have to wait.
func queue(t *testing.T, s *Site, from []string, most int) []*httptest.ResponseRecorder {
	s.listing <- struct{}{} // one is being made
	answers := make([]*httptest.ResponseRecorder, len(from))
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = from[i]
		go s.ServeHTTP(answers[i], r)
		synctest.Wait()
	}
	for i, w := range answers[:most] {
		if w.Body.Len() != 0 {
			t.Fatalf("page %d was made while another was, or was refused: %d", i, w.Code)
		}
	}
	<-s.listing
	synctest.Wait()
	return answers
}

const tooManyMade = "Too many pages are being made just now.\n"

// One page of a folder is made at a time. So many requests may wait for theirs, and who comes then is told to come later.
func TestListingQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := testSite(t, Options{}, map[string]string{"a": ""})
		most := limits.Bound(t, "listings")
		from := make([]string, most+1)
		for i := range from {
			from[i] = fmt.Sprintf("10.0.%d.%d:1", i>>8, i&0xff)
		}
		answers := queue(t, s, from, most)
		for _, w := range answers[:most] {
			want(t, w, 200, "")
		}
		want(t, answers[most], 503, tooManyMade, "Retry-After: 1")
		if n := s.Stats().PagesRefused; n != 1 {
			t.Errorf("%d pages refused, want 1", n)
		}
		want(t, ask(s, "GET", "/", nil), 200, "")
	})
}

// One host has a share of the places to wait at, and leaves the rest to others.
func TestListingQueueShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := testSite(t, Options{}, map[string]string{"a": ""})
		most := limits.Bound(t, "listings-per-host")
		var from []string
		for i := range most + 1 {
			from = append(from, fmt.Sprintf("[2001:db8::%x]:1", i))
		}
		answers := queue(t, s, append(from, "[2001:db8:0:1::1]:1"), most)
		want(t, answers[most], 503, tooManyMade, "Retry-After: 1")
		want(t, answers[most+1], 200, "")
		want(t, askFrom(s, from[0], func() {}), 200, "")
		if s.waiting.all != 0 || len(s.waiting.hosts) != 0 {
			t.Errorf("%d wait in the end, of %d hosts", s.waiting.all, len(s.waiting.hosts))
		}
	})
}

// askFrom asks for the page of a folder from an address, and does something while its client takes it.
func askFrom(s *Site, address string, taking func()) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = address
	s.ServeHTTP(watched{w, taking}, r)
	return w
}

const tooManyTaken = "Too many pages are being taken just now.\n"

// Pages that their clients have not taken yet have so many bytes at most, all of them together.
func TestListingHeld(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a": ""})
	page, most := int64(ask(s, "GET", "/", nil).Body.Len()), int64(limits.Bound(t, "pages-held"))
	for rest, i := most-page, byte(0); rest > 0; i++ { // others have these
		n := min(rest, maxHeldPerHost)
		if !s.held.take(netip.AddrFrom4([4]byte{10, 0, 0, i}), n) {
			t.Fatalf("there is no place for %d bytes", n)
		}
		rest -= n
	}
	want(t, askFrom(s, "192.0.2.1:1", func() {
		want(t, askFrom(s, "192.0.2.2:1", func() {}), 503, tooManyTaken, "Retry-After: 1")
	}), 200, "")
	if !s.held.take(netip.Addr{}, 1) {
		t.Error("what is taken gives no place back")
	}
	want(t, askFrom(s, "192.0.2.1:1", func() {}), 503, "")
	if n := s.Stats().PagesRefused; n != 2 {
		t.Errorf("%d pages refused, want 2", n)
	}
	if s.held.all != most-page+1 {
		t.Errorf("%d bytes are held in the end, want %d", s.held.all, most-page+1)
	}
}

// One host has a share of them, and leaves the rest to others; of IPv6 a network of 64 bits is a host.
func TestListingShare(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a": ""})
	page, most := int64(ask(s, "GET", "/", nil).Body.Len()), int64(limits.Bound(t, "pages-held-per-host"))
	if !s.held.take(netip.MustParseAddr("2001:db8::1"), most-page) {
		t.Fatal("there is no place")
	}
	want(t, askFrom(s, "[2001:db8::2]:1", func() {
		want(t, askFrom(s, "[2001:db8::3]:1", func() {}), 503, tooManyTaken, "Retry-After: 1")
		want(t, askFrom(s, "[2001:db8:0:1::3]:1", func() {}), 200, "")
	}), 200, "")
	want(t, askFrom(s, "[2001:db8::3]:1", func() {}), 200, "")
	s.held.release(netip.MustParseAddr("2001:db8::9"), most-page)
	if s.held.all != 0 || len(s.held.hosts) != 0 {
		t.Errorf("%d bytes are held in the end, by %d hosts", s.held.all, len(s.held.hosts))
	}
}
