package qpack

import "testing"

// The request of a browser, out of the tables.
func BenchmarkAppendSection(b *testing.B) {
	e, d := new(Encoder), NewDecoder(4096, 100)
	e.SetLimits(4096, 100)
	fields := request()
	exchange(b, e, d, 0, fields)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendSection(buf[:0], 4, fields)
		if err := e.Receive([]byte{0x84}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendSectionStatic(b *testing.B) {
	var e Encoder
	fields := request()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendSection(buf[:0], 4, fields)
	}
}

func BenchmarkDecode(b *testing.B) {
	e, d := new(Encoder), NewDecoder(4096, 100)
	e.SetLimits(4096, 100)
	exchange(b, e, d, 0, request())
	section := e.AppendSection(nil, 4, request())
	var fields []Field
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if fields, err = d.Decode(fields[:0], 4, section, Limit{Size: 1 << 14, Fields: 100}); err != nil {
			b.Fatal(err)
		}
		d.Sent(len(d.Instructions()))
	}
}
