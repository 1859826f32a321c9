// Package browser holds tests only: Chromium opens pages that Cinnabar serves over
// HTTP/3. README.md of the module says what is run and how.
package browser
