package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// sessionTable shows the figures of sessions, a column for each.
func sessionTable(sessions []*quic.ClientSession) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	row := func(name string, figure func(s *quic.ClientSession, f *quic.SessionStats) string) {
		fmt.Fprint(t, name)
		for _, s := range sessions {
			f := s.Stats()
			fmt.Fprint(t, "\t", figure(s, &f))
		}
		fmt.Fprintln(t)
	}
	type figures = quic.SessionStats
	row("session", func(s *quic.ClientSession, _ *figures) string { return nameOf(s) })
	row("server", func(s *quic.ClientSession, _ *figures) string { return s.RemoteAddress().String() })
	row("handshake", func(_ *quic.ClientSession, f *figures) string { return duration(f.HandshakeDuration) })
	row("round trip, least", func(_ *quic.ClientSession, f *figures) string { return duration(f.MinRTT) })
	row("round trip, smoothed", func(_ *quic.ClientSession, f *figures) string { return duration(f.SmoothedRTT) })
	row("streams", func(_ *quic.ClientSession, f *figures) string { return thousands(f.BidiStreamCount) })
	row("UDP payload received", func(_ *quic.ClientSession, f *figures) string { return byteSize(f.BytesReceived).String() })
	row("UDP payload sent", func(_ *quic.ClientSession, f *figures) string { return byteSize(f.BytesSent).String() })
	row("packets received", func(_ *quic.ClientSession, f *figures) string { return thousands(f.PacketsReceived) })
	row("packets sent", func(_ *quic.ClientSession, f *figures) string { return thousands(f.PacketsSent) })
	row("packets lost", func(_ *quic.ClientSession, f *figures) string { return thousands(f.PacketsLost) })
	row("data sent again", func(_ *quic.ClientSession, f *figures) string { return byteSize(f.StreamBytesResent).String() })
	row("largest datagram", func(_ *quic.ClientSession, f *figures) string { return fmt.Sprintf("%d B", f.MTU) })
	row("congestion window", func(_ *quic.ClientSession, f *figures) string { return byteSize(f.CongestionWindow).String() })
	t.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
