package trace

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// FuzzKeyLog: what is a line of a key log is found among whatever else a file has, and nothing
// is found that no line says.
func FuzzKeyLog(f *testing.F) {
	f.Add([]byte("# comment\nCLIENT_TRAFFIC_SECRET_0 aabb 0011\r\nSERVER_TRAFFIC_SECRET_0 aabb 22\n"))
	f.Add([]byte("A b 0\nA b 00 00\n\x00 \xff ff\nA B FF"))
	f.Fuzz(func(t *testing.T, log []byte) {
		got := parseKeyLog(log)
		for name, secret := range got {
			label, random, ok := strings.Cut(name, " ")
			found := false
			for line := range bytes.Lines(log) {
				f := strings.Fields(string(line))
				found = found || len(f) == 3 && f[0] == label && strings.ToLower(f[1]) == random && strings.EqualFold(f[2], hex.EncodeToString(secret))
			}
			if !ok || !found {
				t.Fatalf("%q is %x, and no line says so", name, secret)
			}
		}
		more := append(bytes.Clone(log), "\nLABEL CCDD 0102\n"...)
		again := parseKeyLog(more)
		if !bytes.Equal(again["LABEL ccdd"], []byte{1, 2}) || len(again) < len(got) || len(again) > len(got)+1 {
			t.Fatalf("%d secrets, with one line more %d", len(got), len(again))
		}
	})
}
