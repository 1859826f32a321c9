package http3

import (
	"net/http"
	"testing"
)

// What a request costs beyond its http.Request is known: the header's map and one slice for
// all values. Names, status and date cost nothing.
func TestServerAllocations(t *testing.T) {
	fields := Headers{{Name: "accept", Value: "*/*"}, {Name: "user-agent", Value: "x"}, {Name: "cookie", Value: "a=b"}, {Name: "range", Value: "bytes=0-"}}
	var sink int
	for name, test := range map[string]struct {
		most float64
		f    func()
	}{
		"requestHeader": {3, func() { sink += len(requestHeader(fields)) }},
		"names": {0, func() {
			name, _ := fieldName("Content-Type")
			sink += len(headerKey("content-type")) + len(name)
		}},
		"status and date": {0, func() { sink += len(statusName(http.StatusNotFound)) + len(date()) }},
	} {
		if n := testing.AllocsPerRun(1000, test.f); n > test.most {
			t.Errorf("%s: %v allocations, want %v", name, n, test.most)
		}
	}
	if sink == 0 {
		t.Error("nothing was done")
	}
}

// Names that are not in the table are translated all the same, and the table is right (RFC 9114 §4.2).
func TestFieldNames(t *testing.T) {
	for lower, key := range headerKeys {
		if http.CanonicalHeaderKey(lower) != key {
			t.Errorf("%s has the key %s", lower, key)
		}
	}
	for key, want := range map[string]string{"Content-Type": "content-type", "X-My-Own": "x-my-own", "x-RAW": "x-raw", "A B": "", "": "", "Ä": "", "\u212a": "", ":path": ""} {
		if got, ok := fieldName(key); ok != (want != "") || ok && got != want {
			t.Errorf("fieldName(%q): %q, %v", key, got, ok)
		}
	}
	if key := headerKey("x-my-own"); key != "X-My-Own" {
		t.Errorf("headerKey: %q", key)
	}
}
