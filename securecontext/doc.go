// Package securecontext makes a TLS context from PEM, PKCS #12 and names.
package securecontext
