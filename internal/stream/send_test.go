package stream

import (
	"bytes"
	"testing"
)

// RFC 9000 §3.1: Ready, Send, Data Sent, Data Recvd, by the first frame, the
// FIN and the last acknowledgment.
func TestSendLifeWithFin(t *testing.T) {
	s := newSender(t, 1000)
	s.wantState("created", SendReady)
	s.write(10)
	s.wantState("written but not sent", SendReady)
	a := s.want("first bytes", 0, 10, false)
	s.wantState("first STREAM frame sent", SendSend)
	s.write(5)
	s.Finish()
	s.Finish()
	s.wantState("finished but FIN not sent", SendSend)
	b := s.want("last bytes carry the FIN", 10, 5, true)
	s.wantState("FIN sent", SendDataSent)
	s.wantIdle("all sent once")
	s.ack(b)
	s.wantState("a hole in what is acknowledged", SendDataSent)
	s.ack(a)
	s.wantState("everything acknowledged", SendDataRecvd)
	s.wantIdle("terminal")
	wantChunks(t, "everything acknowledged", &s.list, 0)
	if s.Reset(1) {
		t.Error("a completely acknowledged half was reset")
	}
	s.wantState("reset too late", SendDataRecvd)
}

// RFC 9000 §3.1: one frame with data and FIN leads from Ready to Data Sent.
func TestSendSingleFrame(t *testing.T) {
	s := newSender(t, 1000)
	s.write(64)
	s.Finish()
	wantChunks(t, "a small request", &s.list, 1)
	if s.list.Bytes() != 1024 {
		t.Errorf("a small request takes %d bytes of memory", s.list.Bytes())
	}
	f := s.want("everything", 0, 64, true)
	s.wantState("all in one frame", SendDataSent)
	s.ack(f)
	s.wantState("acknowledged", SendDataRecvd)
}

// A stream may end without ever having a byte.
func TestSendEmptyStream(t *testing.T) {
	s := newSender(t, 0)
	s.wantIdle("nothing to say")
	s.Finish()
	f := s.want("FIN alone needs no credit", 0, 0, true)
	s.wantState("FIN sent", SendDataSent)
	s.wantIdle("FIN in flight")
	s.lose(f)
	f = s.want("FIN again", 0, 0, true)
	s.ack(f)
	s.wantState("FIN acknowledged", SendDataRecvd)
	wantChunks(t, "empty stream", &s.list, 0)
}

// A FIN that comes after all bytes were sent goes in a frame of its own.
func TestSendLateFin(t *testing.T) {
	s := newSender(t, 100)
	s.write(100)
	a := s.want("bytes", 0, 100, false)
	s.ack(a)
	wantChunks(t, "all acknowledged", &s.list, 0)
	s.wantIdle("nothing new")
	s.Finish()
	if !s.Pending(0) {
		t.Error("a FIN waits for connection credit")
	}
	b := s.want("FIN alone", 100, 0, true)
	s.lose(b)
	s.lose(a) // after its acknowledgment: nothing comes of it
	b = s.want("only the FIN again", 100, 0, true)
	s.ack(b)
	s.wantState("all acknowledged", SendDataRecvd)
}

// RFC 9000 §3.1: a reset from Ready, Send and Data Sent leads to Reset Sent,
// its acknowledgment to Reset Recvd; nothing but RESET_STREAM is sent then
// (RFC 9000 §3.3), always with the same content (RFC 9000 §13.3).
func TestSendReset(t *testing.T) {
	for name, prepare := range map[string]func(*sender){
		"Ready":                func(*sender) {},
		"Ready with bytes":     func(s *sender) { s.write(100_000) },
		"Send":                 func(s *sender) { s.write(3000); s.take(1000, plenty) },
		"Send with lost bytes": func(s *sender) { s.write(3000); f, _ := s.take(1000, plenty); s.lose(f) },
		"Data Sent":            func(s *sender) { s.write(500); s.Finish(); s.take(1000, plenty) },
	} {
		s := newSender(t, 2000)
		prepare(s)
		final := s.Offset()
		if !s.Reset(7) {
			t.Fatalf("%s: reset refused", name)
		}
		s.wantState(name, SendResetSent)
		wantChunks(t, name, &s.list, 0)
		if s.Unsent() != 0 || s.Buffered() != 0 {
			t.Errorf("%s: bytes remain after the reset: %d unsent, %d buffered", name, s.Unsent(), s.Buffered())
		}
		if s.Reset(8) {
			t.Errorf("%s: reset twice", name)
		}
		if _, _, _, _, ok := s.Next(1000, plenty); ok {
			t.Errorf("%s: a STREAM frame after the reset", name)
		}
		if _, ok := s.Blocked(); ok {
			t.Errorf("%s: STREAM_DATA_BLOCKED after the reset", name)
		}
		for range 2 {
			if !s.Pending(0) {
				t.Fatalf("%s: RESET_STREAM is not pending", name)
			}
			code, size, ok := s.PackReset()
			if code != 7 || size != final || !ok {
				t.Fatalf("%s: RESET_STREAM is %d, %d, %v; want code 7 and final size %d", name, code, size, ok, final)
			}
			if _, _, ok := s.PackReset(); ok || s.Pending(plenty) {
				t.Fatalf("%s: RESET_STREAM twice", name)
			}
			s.Acked(0, 500, true) // too late: nothing comes of it
			s.Lost(0, 500, true)
			s.wantIdle(name)
			s.ResetLost()
		}
		s.ResetAcked() // of the packet declared lost
		s.wantState(name, SendResetRecvd)
		s.ResetLost()
		s.ResetAcked()
		s.wantState(name, SendResetRecvd)
		s.wantIdle(name)
	}
}

// The table has no transition but those of RFC 9000 figure 2.
func TestSendTable(t *testing.T) {
	want := map[[2]int]SendState{
		{int(SendReady), int(sentData)}:       SendSend,
		{int(SendReady), int(sentFin)}:        SendDataSent, // by way of Send
		{int(SendReady), int(didReset)}:       SendResetSent,
		{int(SendSend), int(sentFin)}:         SendDataSent,
		{int(SendSend), int(didReset)}:        SendResetSent,
		{int(SendDataSent), int(ackedAll)}:    SendDataRecvd,
		{int(SendDataSent), int(didReset)}:    SendResetSent,
		{int(SendResetSent), int(ackedReset)}: SendResetRecvd,
	}
	for state := SendState(0); state <= SendResetRecvd; state++ {
		for e := sentData; e <= ackedReset; e++ {
			s := Send{state: state}
			next, ok := want[[2]int{int(state), int(e)}]
			if !ok {
				next = state
			}
			if applied := s.on(e); applied != ok || s.state != next {
				t.Errorf("%v, event %d: %v, want %v", state, e, s.state, next)
			}
		}
	}
	if got := SendDataSent.String(); got != "Data Sent" {
		t.Errorf("name is %q", got)
	}
}

// RFC 9000 §4.1: never beyond the stream's limit, nor the connection's;
// STREAM_DATA_BLOCKED once for each limit, again if it was lost.
func TestSendFlowControl(t *testing.T) {
	s := newSender(t, 100)
	s.write(250)
	if _, ok := s.Blocked(); ok {
		t.Error("blocked before anything was sent")
	}
	if !s.Pending(1) || s.Pending(0) {
		t.Error("Pending does not follow the connection's credit")
	}
	if f, ok := s.take(1000, 30); !ok || f != (frame{0, 30, false}) {
		t.Fatalf("with 30 bytes of connection credit: %+v", f)
	}
	s.want("up to the limit", 30, 70, false)
	s.wantIdle("blocked")
	if limit, ok := s.Blocked(); limit != 100 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	if _, ok := s.Blocked(); ok {
		t.Error("blocked twice for one limit")
	}
	s.LostBlocked()
	if limit, ok := s.Blocked(); limit != 100 || !ok {
		t.Errorf("after a loss, Blocked is %d, %v", limit, ok)
	}
	if s.SetMax(100) || s.SetMax(50) || s.Max() != 100 {
		t.Error("the limit moved without growing")
	}
	if !s.SetMax(200) || s.Max() != 200 {
		t.Error("the limit did not grow")
	}
	if _, ok := s.Blocked(); ok {
		t.Error("blocked although the limit has grown")
	}
	s.want("up to the new limit", 100, 100, false)
	if limit, ok := s.Blocked(); limit != 200 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	s.SetMax(250)
	s.want("all of it", 200, 50, false)
	if _, ok := s.Blocked(); ok {
		t.Error("blocked with nothing to send, at the limit")
	}
}

// RFC 9000 §3.1: STREAM_DATA_BLOCKED as the first frame leads to Send.
func TestSendBlockedFirst(t *testing.T) {
	s := newSender(t, 0)
	s.write(1)
	if limit, ok := s.Blocked(); limit != 0 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	s.wantState("STREAM_DATA_BLOCKED sent", SendSend)
}

// RFC 9000 §13.3: lost bytes go again, unless acknowledged meanwhile, and
// before new ones; they cost no credit.
func TestSendLoss(t *testing.T) {
	s := newSender(t, 5000)
	s.write(5000)
	var f [5]frame
	for i := range f {
		f[i], _ = s.take(1000, plenty)
	}
	s.Finish()
	s.ack(f[1])
	s.lose(f[0])
	s.lose(f[2])
	s.lose(f[3])
	if !s.Pending(0) {
		t.Error("lost bytes wait for credit")
	}
	if _, ok := s.take(0, plenty); ok {
		t.Error("a frame without room")
	}
	if got, _ := s.take(400, 0); got != (frame{0, 400, false}) {
		t.Errorf("first lost piece: %+v", got)
	}
	s.ack(f[0]) // the loss was spurious
	wantChunks(t, "bytes retained", &s.list, 2)
	s.want("lost bytes that touch", 2000, 2000, false)
	fin := s.want("FIN alone, the last bytes are in flight", 5000, 0, true)
	s.lose(f[4])
	s.lose(fin)
	s.want("the last bytes with the FIN", 4000, 1000, true)
	s.wantIdle("all in flight")
	// A frame over bytes of which some are acknowledged: the others go again.
	s.Acked(2500, 100, false)
	s.Acked(3000, 10, false)
	s.Lost(2000, 3000, true)
	s.want("up to the first hole", 2000, 500, false)
	s.want("between the holes", 2600, 400, false)
	s.want("behind the holes", 3010, 1990, true)
	s.Acked(0, 5000, true)
	s.wantState("acknowledged", SendDataRecvd)
	wantChunks(t, "acknowledged", &s.list, 0)
}

// What Next offers may be shortened; the FIN stays behind then.
func TestSendShortTake(t *testing.T) {
	s := newSender(t, 100)
	s.write(100)
	s.Finish()
	off, n, fin, _, ok := s.Next(1000, plenty)
	if off != 0 || n != 100 || !fin || !ok {
		t.Fatal("Next does not offer everything")
	}
	s.Take(make([]byte, 60), off, 60, false)
	s.wantState("not all sent", SendSend)
	s.Lost(0, 60, false)
	off, n, _, _, _ = s.Next(1000, plenty)
	if off != 0 || n != 60 {
		t.Fatalf("Next offers %d bytes at %d", n, off)
	}
	s.Take(make([]byte, 20), 0, 20, false)
	s.want("rest of what was lost", 20, 40, false)
	s.want("the rest", 60, 40, true)
	s.wantState("all sent", SendDataSent)
}

// A FIN that is lost while its acknowledgment is on the way stays acknowledged.
func TestSendSpuriousFinLoss(t *testing.T) {
	s := newSender(t, 100)
	s.write(10)
	s.Finish()
	f := s.want("all", 0, 10, true)
	s.lose(f)
	s.ack(f)
	s.wantIdle("acknowledged after all")
	s.wantState("acknowledged after all", SendDataRecvd)

	s = newSender(t, 100)
	s.write(10)
	first, _ := s.take(5, plenty)
	s.Finish()
	f = s.want("the rest", 5, 5, true)
	s.lose(f)
	again := s.want("the rest again", 5, 5, true)
	s.ack(f)
	s.lose(again)
	s.wantIdle("one copy of the FIN is acknowledged")
	s.lose(first)
	s.ack(s.want("only what is missing", 0, 5, false))
	s.wantState("all acknowledged", SendDataRecvd)
}

// Last bytes that go again do not bring along a FIN that is acknowledged.
func TestSendFinAckedFirst(t *testing.T) {
	s := newSender(t, 100)
	s.write(10)
	f, _ := s.take(10, plenty)
	s.Finish()
	s.ack(s.want("FIN alone", 10, 0, true))
	s.wantState("bytes in flight", SendDataSent)
	s.lose(f)
	s.ack(s.want("bytes alone", 0, 10, false))
	s.wantState("all acknowledged", SendDataRecvd)
}

// Sending goes on behind a chunk that was sent and acknowledged to its end.
func TestSendChunkBoundary(t *testing.T) {
	s := newSender(t, plenty)
	s.write(128 << 10)
	f, _ := s.take(64<<10, plenty)
	s.ack(f)
	wantChunks(t, "the first of two is acknowledged", &s.list, 1)
	f, _ = s.take(64<<10, plenty)
	s.write(64 << 10)
	s.ack(f)
	f = s.want("the third chunk", 128<<10, 64<<10, false)
	s.ack(f)
	wantChunks(t, "all acknowledged", &s.list, 0)
}

// RFC 9001 §4.6.2: after rejected 0-RTT everything goes again, within the new limits.
func TestSendRestart(t *testing.T) {
	s := newSender(t, 4000)
	s.write(150_000)
	s.take(1000, plenty)
	f, _ := s.take(1000, plenty)
	s.take(2000, plenty)
	s.lose(f)
	s.Blocked()
	s.Restart()
	s.wantState("restarted", SendReady)
	s.wantIdle("no limit yet")
	if s.Offset() != 0 || s.Unsent() != 150_000 || s.Max() != 0 {
		t.Errorf("after Restart: offset %d, unsent %d, limit %d", s.Offset(), s.Unsent(), s.Max())
	}
	s.SetMax(3000)
	s.want("from the start, to the new limit", 0, 3000, false)
	if limit, ok := s.Blocked(); limit != 3000 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	s.SetMax(plenty)
	s.Finish()
	s.want("the rest", 3000, 147_000, true)
	s.Restart()
	s.SetMax(plenty)
	s.want("with the FIN again", 0, 150_000, true)
	s.Acked(0, 150_000, true)
	s.wantState("acknowledged", SendDataRecvd)
	wantChunks(t, "acknowledged", &s.list, 0)

	s = newSender(t, 4000)
	s.write(100)
	s.want("early data", 0, 100, false)
	s.Reset(3)
	s.PackReset()
	s.Restart()
	if code, size, ok := s.PackReset(); code != 3 || size != 0 || !ok {
		t.Errorf("RESET_STREAM after Restart is %d, %d, %v", code, size, ok)
	}
	s.wantIdle("reset")
}

// One large write takes one chunk; small ones share.
func TestSendChunks(t *testing.T) {
	s := newSender(t, plenty)
	s.write(64 << 10)
	wantChunks(t, "one write of 64 KiB", &s.list, 1)
	s.write(64 << 10)
	wantChunks(t, "another", &s.list, 2)
	s.take(1<<20, plenty)
	s.Acked(0, 64<<10-1, false)
	wantChunks(t, "one byte short", &s.list, 2)
	s.Acked(64<<10-1, 1, false)
	wantChunks(t, "one chunk acknowledged", &s.list, 1)
	s.Acked(0, 128<<10, false)
	wantChunks(t, "both acknowledged", &s.list, 0)
	for range 10_000 {
		s.write(10)
	}
	if n := s.list.Bytes(); n > 100_000+17<<10 {
		t.Errorf("100,000 bytes in small writes take %d bytes of memory", n)
	}
	if n := s.list.Outstanding(); n > 15 {
		t.Errorf("100,000 bytes in small writes take %d chunks", n)
	}
	s.Release()
	wantChunks(t, "released", &s.list, 0)
	s.Release()
}

// However much is written at once, at most half of the memory is waste.
func TestSendWaste(t *testing.T) {
	for n := 1; n < 300_000; n += 1 + n/7 {
		s := newSender(t, plenty)
		s.write(n)
		if got, most := s.list.Bytes(), max(1024, 2*n); got > most {
			t.Errorf("a write of %d bytes takes %d bytes of memory", n, got)
		}
		if got, most := s.list.Outstanding(), n>>16+7; got > most {
			t.Errorf("a write of %d bytes takes %d chunks", n, got)
		}
		f, _ := s.take(1<<20, plenty)
		s.ack(f)
		wantChunks(t, "acknowledged", &s.list, 0)
	}
}

// A filled chunk can be handed over without a copy, between writes.
func TestSendWriteChunk(t *testing.T) {
	s := newSender(t, plenty)
	s.write(100)
	c := s.list.Get(2000)
	s.data = append(s.data, pattern(100, 2000)...)
	copy(c.Data, s.data[100:])
	s.WriteChunk(c, 2000)
	s.write(500)
	wantChunks(t, "the second write uses what the chunk has left", &s.list, 2)
	s.want("all", 0, 2600, false)
	s.Acked(0, 2600, false)
	wantChunks(t, "acknowledged", &s.list, 0)
	mustPanic(t, "empty chunk", func() { s.WriteChunk(NewChunk(0), 0) })
}

// Misuse by our own code is found.
func TestSendBugs(t *testing.T) {
	s := newSender(t, plenty)
	s.write(100)
	mustPanic(t, "short dst", func() { s.Take(make([]byte, 5), 0, 6, false) })
	mustPanic(t, "not the next byte", func() { s.Take(make([]byte, 5), 1, 5, false) })
	mustPanic(t, "beyond the end", func() { s.Take(make([]byte, 101), 0, 101, false) })
	mustPanic(t, "FIN before its time", func() { s.Take(make([]byte, 100), 0, 100, true) })
	s.want("all", 0, 100, false)
	mustPanic(t, "not lost", func() { s.Take(make([]byte, 5), 5, 5, false) })
	s.Acked(0, 10, false)
	mustPanic(t, "restart after an acknowledgment", s.Restart)
	s.Finish()
	mustPanic(t, "write after Finish", func() { s.Write([]byte("x")) })
	s = newSender(t, plenty)
	s.Reset(0)
	mustPanic(t, "write after Reset", func() { s.Write([]byte("x")) })
	mustPanic(t, "chunk put twice", func() {
		var l List
		c := l.Get(1)
		l.Put(c)
		l.Put(c)
	})
}

// What is lent are the stream's bytes in their place, with room before them that can be written over
// and put back; where they do not lie so, nothing is.
func TestSendLend(t *testing.T) {
	const head = 12
	s := newSender(t, 1<<20)
	if s.Lend(0, 1) != nil {
		t.Error("lent out of nothing")
	}
	s.write(1000) // most of a chunk of 1 KiB
	s.write(5000) // the rest of it, and another
	if s.Lend(head, 100) != nil {
		t.Error("lent without room before the first byte of a chunk")
	}
	if b := s.take100(); b.off != 0 {
		t.Fatalf("first frame at %d", b.off)
	}
	b := s.Lend(head, 500)
	if len(b) != head+500 || cap(b) != head+500 || !bytes.Equal(b, s.data[100-head:600]) {
		t.Fatalf("lent %d bytes, or wrong ones", len(b))
	}
	var kept [head]byte
	copy(kept[:], b)
	clear(b[:head])
	copy(b, kept[:])
	if s.Offset() != 100 {
		t.Fatalf("lending has moved the half to %d", s.Offset())
	}
	s.TakeLent(500)
	if s.Lend(head, 425) != nil {
		t.Error("lent across the end of a chunk")
	}
	lost := frame{0, 600, false}
	s.lose(lost)
	if _, n := s.Fresh(plenty); n != 0 {
		t.Errorf("%d new bytes go before lost ones", n)
	}
	s.want("what was lent again, as it was", 0, 600, false)
	if off, n := s.Fresh(plenty); off != 600 || n != 5400 {
		t.Errorf("%d new bytes from %d on", n, off)
	}
	if off, n := s.Fresh(7); off != 600 || n != 7 {
		t.Errorf("%d new bytes from %d on with credit for 7", n, off)
	}
	defer func() {
		if recover() == nil {
			t.Error("took more than is written")
		}
	}()
	s.TakeLent(5401)
}

// take100 packs 100 bytes.
func (s *sender) take100() frame {
	f, _ := s.take(100, plenty)
	return f
}
