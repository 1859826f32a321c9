module github.com/cinnabar-quic/cinnabar

go 1.26.6
