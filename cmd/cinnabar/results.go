package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// results is what the demo measured, as --json prints it.
type results struct {
	Bytes  int64      `json:"bytes"` // of data, each way
	SHA256 string     `json:"sha256"`
	Client endResults `json:"client"`
	Server endResults `json:"server"`
}

// endResults is what one end measured. Bytes are UDP payload.
type endResults struct {
	HandshakeSeconds     float64 `json:"handshake_seconds"`
	MinRTTSeconds        float64 `json:"rtt_min_seconds"`
	SmoothedRTTSeconds   float64 `json:"rtt_smoothed_seconds"`
	GoodputBitsPerSecond float64 `json:"goodput_bits_per_second"` // of the data this end sent, until the other had checked it
	BytesSent            uint64  `json:"bytes_sent"`
	BytesReceived        uint64  `json:"bytes_received"`
	PacketsSent          uint64  `json:"packets_sent"`
	PacketsReceived      uint64  `json:"packets_received"`
	PacketsLost          uint64  `json:"packets_lost"` // of those this end sent
	StreamBytesResent    uint64  `json:"stream_bytes_resent"`
	CongestionWindow     uint64  `json:"congestion_window_bytes"`
	DatagramBytes        int     `json:"datagram_bytes"` // the largest that the path carries

	took time.Duration // the data that this end sent
}

func newResults(size int64, client, server *end) *results {
	return &results{
		Bytes:  size,
		SHA256: hex.EncodeToString(client.sum[:]),
		Client: newEndResults(size, &client.stats, server.complete.Sub(client.begun)),
		Server: newEndResults(size, &server.stats, client.complete.Sub(server.begun)),
	}
}

func newEndResults(size int64, s *quic.SessionStats, took time.Duration) endResults {
	return endResults{
		HandshakeSeconds:     s.HandshakeDuration.Seconds(),
		MinRTTSeconds:        s.MinRTT.Seconds(),
		SmoothedRTTSeconds:   s.SmoothedRTT.Seconds(),
		GoodputBitsPerSecond: float64(size) * 8 / max(took.Seconds(), 1e-9),
		BytesSent:            s.BytesSent,
		BytesReceived:        s.BytesReceived,
		PacketsSent:          s.PacketsSent,
		PacketsReceived:      s.PacketsReceived,
		PacketsLost:          s.PacketsLost,
		StreamBytesResent:    s.StreamBytesResent,
		CongestionWindow:     s.CongestionWindow,
		DatagramBytes:        s.MTU,
		took:                 took,
	}
}

func (r *results) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints a column for each end: what it measured, and what it sent.
func (r *results) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(name string, figure func(e *endResults) string) {
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, figure(&r.Client), figure(&r.Server))
	}
	seconds := func(s float64) string { return duration(time.Duration(s * float64(time.Second))) }
	fmt.Fprintf(t, "\n\tclient\tserver\n")
	row("handshake", func(e *endResults) string { return seconds(e.HandshakeSeconds) })
	row("round trip, least", func(e *endResults) string { return seconds(e.MinRTTSeconds) })
	row("round trip, smoothed", func(e *endResults) string { return seconds(e.SmoothedRTTSeconds) })
	row("data sent", func(e *endResults) string { return byteSize(r.Bytes).String() + " in " + duration(e.took) })
	row("goodput", func(e *endResults) string { return bitRate(r.Bytes, e.took) })
	row("UDP payload sent", func(e *endResults) string { return byteSize(e.BytesSent).String() })
	row("packets sent", func(e *endResults) string { return thousands(e.PacketsSent) })
	row("packets received", func(e *endResults) string { return thousands(e.PacketsReceived) })
	row("packets lost", func(e *endResults) string { return thousands(e.PacketsLost) })
	row("data sent again", func(e *endResults) string { return byteSize(e.StreamBytesResent).String() })
	row("largest datagram", func(e *endResults) string { return fmt.Sprintf("%d B", e.DatagramBytes) })
	row("congestion window", func(e *endResults) string { return byteSize(e.CongestionWindow).String() })
	return t.Flush()
}
