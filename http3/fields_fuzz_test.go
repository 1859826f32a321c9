package http3

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// FuzzRequestHeader: what a handler sees of the fields of a sound block is what they say, each under the
// name that net/http has for it, and it is told only of trailers that can come.
func FuzzRequestHeader(f *testing.F) {
	f.Add([]byte("cookie\x00a=1\x00cookie\x00b\x00host\x00x\x00accept\x00y\x00accept\x00z"))
	f.Add([]byte("trailer\x00a, Content-Length,,b c,\ttrailer\x00x-y\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := fuzzedFields(b)
		if parseTrailers(h) != nil {
			return
		}
		want := http.Header{}
		var cookies []string
		for _, f := range h {
			switch f.Name {
			case "host":
			case "cookie":
				cookies = append(cookies, f.Value)
				want.Set("Cookie", strings.Join(cookies, "; "))
			default:
				want.Add(f.Name, f.Value)
			}
		}
		got := requestHeader(h)
		for key, values := range want {
			if !slices.Equal(got[key], values) {
				t.Fatalf("%q is %q, want %q", key, got[key], values)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d names, want %d: %v", len(got), len(want), got)
		}
		for name, values := range announced(got) {
			forbidden := slices.Contains([]string{"Transfer-Encoding", "Trailer", "Content-Length"}, name)
			if values != nil || forbidden || !httpguts.ValidHeaderFieldName(name) || http.CanonicalHeaderKey(name) != name {
				t.Fatalf("%q is announced, with %v", name, values)
			}
		}
		if _, has := got["Trailer"]; has {
			t.Fatal("the Trailer field is left")
		}
	})
}

// fuzzedFields makes fields of names and values with zeros between them.
func fuzzedFields(b []byte) (h Headers) {
	parts := bytes.Split(b, []byte{0})
	for i := 0; i+1 < min(len(parts), 60); i += 2 {
		h = append(h, Field{Name: string(parts[i]), Value: string(parts[i+1])})
	}
	return h
}

// FuzzResponseHeader: whatever a handler puts into its header, what goes out is a block that the other end
// takes, with trailers that it takes.
func FuzzResponseHeader(f *testing.F) {
	f.Add([]byte("Content-Length\x003\x00Connection\x00close\x00X\x00a\r\nb\x00Trailer\x00A, B"), uint16(200), []byte("abc"))
	f.Add([]byte(":status\x00500\x00te\x00trailers\x00bad name\x00x\x00Trailer:X\x00y\x00Trailer:Content-Length\x001"), uint16(204), []byte{})
	f.Add([]byte("content-length\x00-1\x00CONTENT-TYPE\x00a/b\x00transfer-encoding\x00chunked\x00Upgrade\x00h2c"), uint16(304), []byte("x"))
	f.Fuzz(func(t *testing.T, b []byte, status uint16, body []byte) {
		w := &responseWriter{x: &handling{req: &http.Request{Method: "GET"}}, header: http.Header{}, length: -1}
		for _, f := range fuzzedFields(b) {
			if !strings.EqualFold(f.Name, "Priority") { // which concerns the stream
				w.header[f.Name] = append(w.header[f.Name], f.Value)
			}
		}
		w.fix(200 + int(status)%400)
		if w.length >= 0 && int64(len(body)) > w.length { // more is refused
			body = body[:w.length]
		}
		w.complete(body, true)
		m, fault := parseResponse(*w.fields)
		if fault != nil || m.status != 200+int(status)%400 {
			t.Fatalf("%v becomes %v, which is %+v, %v", w.header, *w.fields, m, fault)
		}
		if m.length >= 0 && m.length != w.length {
			t.Fatalf("%v has a length of %d, want %d", *w.fields, m.length, w.length)
		}
		if trailers := w.trailing(); parseTrailers(trailers) != nil {
			t.Fatalf("%v has trailers %v: %v", w.header, trailers, parseTrailers(trailers))
		}
	})
}

// FuzzRemembered: settings keep the word that a ticket has if they allow all that those of the ticket
// do, and say again what those said; a change is one of SETTINGS or of QPACK.
func FuzzRemembered(f *testing.F) {
	f.Add(num(settingQPACKMaxTableCapacity, 4096, settingMaxFieldSectionSize, 100), num(settingQPACKMaxTableCapacity, 4096, settingMaxFieldSectionSize, 200, settingDatagrams, 1))
	f.Add(num(settingDatagrams, 1, settingExtendedConnect, 1), num(settingDatagrams, 1))
	f.Add(num(settingMaxFieldSectionSize, 100), []byte{})
	f.Fuzz(func(t *testing.T, before, after []byte) {
		old, now := settingsUnsaid(), settingsUnsaid()
		if old.parse(before) != nil || now.parse(after) != nil {
			return
		}
		fault := now.keeps(&old, after)
		table := old.QPACKMaxTableCapacity == 0 || now.QPACKMaxTableCapacity == old.QPACKMaxTableCapacity
		said := old.MaxFieldSectionSize == settingsUnsaid().MaxFieldSectionSize || says(after, settingMaxFieldSectionSize)
		keeps := table && said && now.QPACKBlockedStreams >= old.QPACKBlockedStreams && now.MaxFieldSectionSize >= old.MaxFieldSectionSize &&
			(now.ExtendedConnect || !old.ExtendedConnect) && (now.Datagrams || !old.Datagrams)
		if keeps != (fault == nil) || fault != nil && (!fault.session || fault.code != SettingsError && table) {
			t.Fatalf("%+v after %+v: %v, %+v", now, old, keeps, fault)
		}
		if fault := old.keeps(&old, before); fault != nil {
			t.Fatalf("%+v after itself: %+v", old, fault)
		}
	})
}
