package site

import (
	"net/http/httptest"
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

// Pages that their clients have not taken yet have so many bytes at most, all of them together.
func TestListingHeld(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a": ""})
	page, most := ask(s, "GET", "/", nil).Body.Len(), limits.Bound(t, "pages-held")
	s.held.Add(int64(most - page)) // others have these
	w := watched{httptest.NewRecorder(), func() {
		second := ask(s, "GET", "/", nil)
		want(t, second, 503, "Too many pages are being taken just now.\n", "Retry-After: 1")
	}}
	s.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	want(t, w.ResponseWriter.(*httptest.ResponseRecorder), 200, "")
	s.held.Add(1)
	want(t, ask(s, "GET", "/", nil), 503, "")
	if n := s.Stats().PagesRefused; n != 2 {
		t.Errorf("%d pages refused, want 2", n)
	}
	if n := s.held.Load(); n != int64(most-page+1) {
		t.Errorf("%d bytes are held in the end, want %d", n, most-page+1)
	}
}
