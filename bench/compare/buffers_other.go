//go:build !linux

package main

const rcvBufForce, sndBufForce = 0, 0
