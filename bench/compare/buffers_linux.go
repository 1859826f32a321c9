package main

import "golang.org/x/sys/unix"

const rcvBufForce, sndBufForce = unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE
