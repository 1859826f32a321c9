package http3

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Fields have their names in lower case on the wire (RFC 9114 §4.2), and in canonical form in
// an http.Header. For the common ones both are here, so that translating allocates nothing.
var headerKeys, wireNames = fieldNames(`Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges
Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin
Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers Access-Control-Request-Method
Age Allow Alt-Svc Authorization Cache-Control Connection Content-Disposition Content-Encoding Content-Language
Content-Length Content-Location Content-Range Content-Security-Policy Content-Type Cookie Date Dnt Early-Data Etag Expect
Expires Forwarded From Grpc-Encoding Grpc-Message Grpc-Status Host If-Match If-Modified-Since If-None-Match If-Range
If-Unmodified-Since Keep-Alive Last-Modified Link Location Max-Forwards Origin Pragma Priority Proxy-Authenticate
Proxy-Authorization Proxy-Connection Range Referer Referrer-Policy Refresh Retry-After Sec-Fetch-Dest Sec-Fetch-Mode
Sec-Fetch-Site Sec-Fetch-User Server Server-Timing Set-Cookie Strict-Transport-Security Te Traceparent Tracestate Trailer
Transfer-Encoding Upgrade Upgrade-Insecure-Requests User-Agent Vary Via Www-Authenticate X-Content-Type-Options
X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Frame-Options X-Real-Ip X-Request-Id X-Requested-With X-Xss-Protection`)

func fieldNames(list string) (canonical, lower map[string]string) {
	canonical, lower = make(map[string]string), make(map[string]string)
	for _, name := range strings.Fields(list) {
		l := strings.ToLower(name)
		canonical[l], lower[name] = name, l
	}
	return canonical, lower
}

// headerKey returns the key that a field's name has in an http.Header.
func headerKey(lower string) string {
	if name, ok := headerKeys[lower]; ok {
		return name
	}
	return http.CanonicalHeaderKey(lower)
}

// fieldName returns the name on the wire of a key of an http.Header, false if it cannot be
// the name of a field.
func fieldName(key string) (string, bool) {
	if name, ok := wireNames[key]; ok {
		return name, true
	}
	if !httpguts.ValidHeaderFieldName(key) {
		return "", false
	}
	return strings.ToLower(key), true
}
