module github.com/cinnabar-quic/cinnabar

go 1.26.6

require (
	golang.org/x/crypto v0.58.0
	golang.org/x/sys v0.49.0
)
