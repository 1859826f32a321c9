package cases

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Wireshark's dissector sees the same packet numbers and frames as package trace does, in a run with
// losses, a key update, and a server that moves. Nothing of the handshake is lost: the dissector
// takes no keys from a ServerHello that comes out of order.
func TestDecoderAgainstTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: package trace is held against the RFCs' examples only")
	}
	dir := t.TempDir()
	pcap, keyFile := filepath.Join(dir, "client.pcap"), filepath.Join(dir, "keys.txt")
	var ours [][]string
	o := setup{moves: true, movedUp: []sim.Node{sim.Loss(5, 3)}, movedDown: []sim.Node{sim.Loss(5, 3)}}
	play(t, o, func(w *world) error {
		s, err := w.dial(quic.ConnectOptions{PreferredAddressPolicy: "accept"})
		if err != nil {
			return err
		}
		if err := w.fetch(s, w.put(64*kib)...); err != nil {
			return err
		}
		if err := w.update(s); err != nil {
			return err
		}
		if err := w.fetch(s, w.put(many(20, 8*kib)...)...); err != nil {
			return err
		}
		if err := s.Shutdown(w.ctx); err != nil {
			return err
		}
		if err := os.WriteFile(keyFile, w.keys.Bytes(), 0o600); err != nil {
			return err
		}
		list := w.net.client
		ours = summaries(list, w.keys.Bytes())
		return writePcap(pcap, list)
	}, trace.KeysUpdated)
	cmd := exec.CommandContext(t.Context(), tshark, "-r", pcap, "-n", "-d", "udp.port==443,quic", "-d", "udp.port==444,quic",
		"-o", "tls.keylog_file:"+keyFile, "-T", "fields", "-e", "quic.packet_number", "-e", "quic.frame_type")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	theirs := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(theirs) != len(ours) || len(ours) < 200 {
		t.Fatalf("tshark sees %d datagrams, we see %d", len(theirs), len(ours))
	}
	different := 0
	for i, line := range theirs {
		if got := []string{tsharkNumbers(line, 0), tsharkNumbers(line, 1)}; !slices.Equal(got, ours[i]) {
			different++
			t.Errorf("datagram %d: tshark sees the numbers and frames %q, we see %q", i+1, got, ours[i])
		}
		if different > 5 {
			t.FailNow()
		}
	}
}

// tsharkNumbers returns one column of a line, without PADDING, in decimal.
func tsharkNumbers(line string, column int) string {
	fields := strings.Split(line, "\t")
	var list []string
	for _, s := range strings.Split(fields[column], ",") {
		if n, err := strconv.ParseUint(s, 0, 62); err == nil && (column == 0 || n != 0) {
			list = append(list, fmt.Sprint(n))
		}
	}
	return strings.Join(list, ",")
}

// summaries returns the packet numbers and the types of frames of each datagram.
func summaries(list []trace.Datagram, keys []byte) [][]string {
	numbers, frames := make([][]string, len(list)), make([][]string, len(list))
	for _, p := range trace.Decode(list, keys).Packets {
		i := slices.IndexFunc(list, func(d trace.Datagram) bool { return &d.Data[0] == &p.Data[0] })
		if p.Opened {
			numbers[i] = append(numbers[i], fmt.Sprint(p.PN))
		}
		for _, f := range p.Frames {
			frames[i] = append(frames[i], fmt.Sprint(f.Type))
		}
	}
	var all [][]string
	for i := range list {
		all = append(all, []string{strings.Join(numbers[i], ","), strings.Join(frames[i], ",")})
	}
	return all
}

// writePcap writes datagrams as a capture file of IPv4 packets.
func writePcap(name string, list []trace.Datagram) error {
	const rawIP = 101
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // times in microseconds
	b = binary.LittleEndian.AppendUint32(b, 2|4<<16)       // version 2.4
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 1<<16) // snap length
	b = binary.LittleEndian.AppendUint32(b, rawIP)
	for _, d := range list {
		b = appendPacket(b, d.At, d.From, d.To, d.Data)
	}
	return os.WriteFile(name, b, 0o600)
}

func appendPacket(b []byte, at time.Duration, from, to netip.AddrPort, data []byte) []byte {
	size := uint16(len(data))
	for _, v := range []uint32{uint32(at / time.Second), uint32(at % time.Second / time.Microsecond), uint32(size) + 28, uint32(size) + 28} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, size+28)
	b = append(b, 0, 0, 0x40, 0, 64, 17, 0, 0) // don't fragment, UDP, no checksum
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	for _, v := range []uint16{from.Port(), to.Port(), size + 8, 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, data...)
}
