// Package http3 is HTTP/3 (RFC 9114) on sessions of package quic.
package http3
