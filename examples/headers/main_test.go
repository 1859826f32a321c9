package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

func TestHeaders(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for the worst
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	covers(t, "STR-064")
	last := -1
	for _, line := range []string{
		"response informationalHeaders :status=103 link=</style.css>; rel=preload\n",
		"response initialHeaders :status=200\n",
		"response data You asked for /\n",
		"response trailingHeaders length=15\n",
	} {
		at := strings.Index(out.String(), line)
		if at <= last {
			t.Errorf("not in its place: %s", line)
		}
		last = at
	}
	for _, line := range []string{
		"response pushHeaders 0 :method=GET :scheme=https :authority=localhost :path=/style.css\n",
		"a push of /style.css\n",
		"  pushed initialHeaders :status=200\n",
		"  pushed data body { color: #e34234 }\n",
		"  pushed trailingHeaders length=23\n",
	} {
		if strings.Count(out.String(), line) != 1 {
			t.Errorf("not there once: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("it says\n%s", &out)
	}
}
