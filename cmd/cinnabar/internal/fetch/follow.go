package fetch

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/hostname"
)

// follow asks for a URL, and on where redirects lead. It returns the answer that is
// none, and collects the heads of those on the way.
func (c *Client) follow(ctx context.Context, u *url.URL, to *Target, heads *bytes.Buffer) (*http.Response, error) {
	q := c.first(to)
	for hops := 0; ; hops++ {
		resp, err := c.ask(ctx, u, q)
		if err != nil {
			return nil, err
		}
		where := resp.Header.Get("Location")
		if !c.Follow || where == "" || !redirects(resp.StatusCode) {
			return resp, nil
		}
		resp.Body.Close()
		if c.Include {
			heads.Write(appendHead(nil, resp))
		}
		if c.MaxRedirects >= 0 && hops == c.MaxRedirects {
			return nil, errorf(Redirects, "it redirects more than %d times; --max-redirs allows more", c.MaxRedirects)
		}
		next, err := u.Parse(where)
		if err != nil {
			return nil, errorf(Malformed, "it redirects to something that is no URL: %w", err)
		}
		if next.Scheme != "https" {
			return nil, errorf(Unsupported, "it redirects to %s, which is not https", next.Redacted())
		}
		if _, err := hostname.ASCII(next.Hostname()); err != nil {
			return nil, errorf(Malformed, "it redirects to %s, whose host is no name: %w", next.Redacted(), err)
		}
		q = q.after(resp.StatusCode, sameOrigin(u, next))
		u = next
		c.trace("* following to %s", u.Redacted())
	}
}

func redirects(status int) bool {
	return slices.Contains([]int{301, 302, 303, 307, 308}, status)
}

// after is the question to ask where a redirect leads (RFC 9110 §15.4). What was once
// told to go elsewhere does not get credentials back.
func (q question) after(status int, same bool) question {
	q.trusted = q.trusted && same
	become := status == http.StatusSeeOther && q.method != http.MethodHead ||
		(status == http.StatusMovedPermanently || status == http.StatusFound) && q.method == http.MethodPost
	if become {
		q.method, q.body = http.MethodGet, nil
	}
	return q
}

func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return "443"
	}
	first, firstErr := hostname.ASCII(a.Hostname())
	second, secondErr := hostname.ASCII(b.Hostname())
	return a.Scheme == b.Scheme && firstErr == nil && secondErr == nil && first == second && port(a) == port(b)
}

// ask sends one request.
func (c *Client) ask(ctx context.Context, u *url.URL, q question) (*http.Response, error) {
	r, err := c.request(ctx, u, q)
	if err != nil {
		return nil, err
	}
	c.traceRequest(r)
	resp, err := c.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	c.traceHead("<", statusLine(resp), resp.Header)
	return resp, nil
}

// statusLine is the first line of an answer: HTTP/3 200 OK.
func statusLine(resp *http.Response) string {
	return fmt.Sprintf("%s %d %s", protocolName(resp.ProtoMajor, resp.ProtoMinor), resp.StatusCode, http.StatusText(resp.StatusCode))
}

func protocolName(major, minor int) string {
	if major >= 2 {
		return fmt.Sprintf("HTTP/%d", major)
	}
	return fmt.Sprintf("HTTP/%d.%d", major, minor)
}

// appendHead appends an answer's first line and fields as -i and -I show them.
func appendHead(b []byte, resp *http.Response) []byte {
	b = append(b, statusLine(resp)+"\r\n"...)
	eachField(resp.Header, func(name, value string) { b = append(b, name+": "+value+"\r\n"...) })
	return append(b, "\r\n"...)
}

// eachField goes through fields in the order of their names, which HTTP/2 and
// HTTP/3 write in lower case.
func eachField(h http.Header, do func(name, value string)) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			do(strings.ToLower(name), value)
		}
	}
}

func (c *Client) traceRequest(r *http.Request) {
	if c.Trace == nil {
		return
	}
	fields := r.Header.Clone()
	if fields.Get("User-Agent") == "" {
		fields.Del("User-Agent")
	}
	if r.ContentLength > 0 {
		fields.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	fields.Set("Host", r.Host)
	c.traceHead(">", strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+c.Protocol), fields)
}

// traceHead shows a first line and fields, with passwords blotted out.
func (c *Client) traceHead(mark, line string, fields http.Header) {
	if c.Trace == nil {
		return
	}
	c.trace("%s %s", mark, line)
	eachField(fields, func(name, value string) {
		if name == "authorization" || name == "proxy-authorization" {
			scheme, _, _ := strings.Cut(value, " ")
			value = scheme + " ..."
		}
		c.trace("%s %s: %s", mark, name, value)
	})
	c.trace("%s", mark)
}
