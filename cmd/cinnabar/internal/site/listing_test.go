package site

import (
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// One page of a folder is made at a time. So many requests may wait for theirs, and who comes then is told to come later.
func TestListingQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := testSite(t, Options{}, map[string]string{"a": ""})
		s.listing <- struct{}{} // one is being made
		most := limits.Bound(t, "listings")
		answers := make([]*httptest.ResponseRecorder, most+1)
		for i := range answers {
			answers[i] = httptest.NewRecorder()
			go s.ServeHTTP(answers[i], httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
			synctest.Wait()
		}
		for i, w := range answers[:most] {
			if w.Body.Len() != 0 {
				t.Fatalf("page %d was made while another was", i)
			}
		}
		want(t, answers[most], 503, "Too many pages are being made just now.\n", "Retry-After: 1")
		<-s.listing
		synctest.Wait()
		for _, w := range answers[:most] {
			want(t, w, 200, "")
		}
		if n := s.Stats().PagesRefused; n != 1 {
			t.Errorf("%d pages refused, want 1", n)
		}
		want(t, ask(s, "GET", "/", nil), 200, "")
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
