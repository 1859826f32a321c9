package http3

import (
	"io"
	"net/http"
)

var serverBehaviours = []behaviour{
	{
		name:    "a request's protocol",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) },
		run: func(e *behaving) {
			resp, err := e.client.Get(e.url + "/")
			if err != nil {
				e.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != e.proto || err != nil || resp.Proto != e.proto {
				e.Errorf("%q %q %v", body, resp.Proto, err)
			}
		},
	},
}
