// Package h3 holds tests only: HTTP/3 between Cinnabar and other implementations, each
// case in every direction that exists. README.md of the module says what is run and
// which programs it needs.
package h3
