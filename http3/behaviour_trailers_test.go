package http3

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
)

func init() { serverBehaviours = append(serverBehaviours, messageBehaviours...) }

// messageBehaviours are about what there is in a message besides header and body.
var messageBehaviours = []behaviour{
	{
		name: "trailers of a response, announced and not",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-A")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-B", "2")
			w.Header().Set("X-C", "3")
		},
		run: func(e *behaving) {
			resp, body := e.get("/")
			if got := fmt.Sprint(body, resp.Trailer, resp.Header["X-A"]); got != "hellomap[X-A:[1] X-B:[2]] []" {
				e.Errorf("%s", got)
			}
		},
	},
	{
		name: "trailers without a body",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-A")
			w.WriteHeader(200)
			w.Header().Set("X-A", "1")
		},
		run: func(e *behaving) {
			resp, body := e.get("/")
			if got := fmt.Sprint(body, resp.Trailer); got != "map[X-A:[1]]" {
				e.Errorf("%s", got)
			}
		},
	},
	{
		name: "trailers of a request",
		handler: func(w http.ResponseWriter, r *http.Request) {
			before := fmt.Sprint(r.Trailer)
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, before, string(body), err, r.Trailer)
		},
		run: func(e *behaving) {
			req, _ := http.NewRequest("POST", e.url+"/", io.MultiReader(strings.NewReader("hello")))
			req.Trailer = http.Header{"X-A": {"1"}, "X-B": nil}
			if _, body := e.do(req); body != "map[X-A:[] X-B:[]]hello<nil> map[X-A:[1] X-B:[]]" {
				e.Errorf("%s", body)
			}
		},
	},
	{
		name: "informational responses",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.Header().Set("Content-Length", "2")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusProcessing)
			_, _ = io.WriteString(w, "ok")
		},
		run: func(e *behaving) {
			var got bytes.Buffer
			req, _ := http.NewRequest("GET", e.url+"/", nil)
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				fmt.Fprint(&got, code, h)
				return nil
			}}
			resp, body := e.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
			if got.String() != "103 map[Link:[</a.css>]]102 map[]" || resp.StatusCode != 200 || resp.Header.Get("Link") != "" || body != "ok" {
				e.Errorf("%s, then %v %q", &got, resp, body)
			}
		},
	},
	expectation("/read", "hello<nil> []", 1),
	expectation("/answer", "no", 0),
}

// expectation is a request that expects 100, whose handler reads its body, or does not.
func expectation(path, want string, continues int) behaviour {
	return behaviour{
		name: "a request that expects 100, to " + path,
		client: func(t *tuning) {
			if t.http2Transport != nil {
				t.http2Transport.ExpectContinueTimeout = 1 << 40
			}
		},
		handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/read" {
				body, err := io.ReadAll(r.Body)
				fmt.Fprint(w, string(body), err, r.Header["Expect"])
				return
			}
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no")
		},
		run: func(e *behaving) {
			n := 0
			req, _ := http.NewRequest("POST", e.url+path, strings.NewReader("hello"))
			req.Header.Set("Expect", "100-continue")
			trace := &httptrace.ClientTrace{Got100Continue: func() { n++ }}
			if _, body := e.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace))); body != want || n != continues {
				e.Errorf("%q, and %d times 100", body, n)
			}
		},
	}
}
