// Package kit is what the suites of this module share: programs that are started and
// stopped, a certificate that they all trust, content that is checked by its sum, and
// the table of results.
package kit
