package transport

import (
	"encoding/binary"
	mrand "math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// muxRig is a listening Mux with nobody behind it, and datagrams made by hand:
// a Mux reads headers only, so what follows them is noise.
type muxRig struct {
	t     testing.TB
	now   mono.Time
	mux   *Mux
	cfg   *Config
	rng   *mrand.ChaCha8
	batch *dgram.Batch
	path  dgram.Path
	dcid  wire.ConnectionID
	scid  wire.ConnectionID

	attacked *siege.Victim // in the test of an attack
	base     int64         // bytes that the Mux held before it
}

func newMuxRig(t testing.TB, edit func(*MuxConfig)) *muxRig {
	rng := mrand.NewChaCha8([32]byte{1, 2, 3})
	fill := func(b []byte) { rng.Read(b) }
	mc := MuxConfig{Rand: fill, ResetSecret: [32]byte{1}, TokenSecret: [32]byte{2}, Epoch: 1_700_000_000_000_000_000}
	if edit != nil {
		edit(&mc)
	}
	r := &muxRig{t: t, now: 1, rng: rng, mux: NewMux(1, mc), batch: dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))}
	r.mux.SetListening(true)
	n := newNode(t, "server", 3, "10.0.0.2:443", nil)
	r.cfg = n.cfg
	r.cfg.ResetToken, r.cfg.Tokens = r.mux.ResetToken, r.mux.Tokens()
	r.path = dgram.Path{Local: netip.MustParseAddrPort("10.0.0.2:443"), Remote: netip.MustParseAddrPort("192.0.2.1:5000")}
	r.dcid = wire.MakeConnectionID([]byte("original"))
	r.scid = wire.MakeConnectionID([]byte("client"))
	if besieged != nil {
		r.attacked, r.base = besieged.Victim(t, int64(r.cfg.Params.MaxData)), siege.Retained(r.mux, r.cfg)
	}
	return r
}

// look notes what the Mux and its connections hold by now.
func (r *muxRig) look() {
	r.attacked.Holds(siege.Retained(r.mux, r.cfg)-r.base, r.mux.Handshakes())
}

// initial returns a datagram that looks like a client's first, of size bytes.
func (r *muxRig) initial(token []byte, size int) *dgram.Datagram {
	b, lengthAt := wire.AppendLong(nil, wire.Version1, wire.Initial, &r.dcid, &r.scid, token, 1)
	at := len(b)
	b = append(b, make([]byte, max(size-at, 0))...)
	r.rng.Read(b[at:])
	varint.Put2(b[lengthAt:], uint64(len(b)-at))
	return &dgram.Datagram{Data: b, Path: r.path}
}

// short returns a datagram that looks like a 1-RTT packet of size bytes.
func (r *muxRig) short(dcid wire.ConnectionID, size int) *dgram.Datagram {
	b := make([]byte, size)
	r.rng.Read(b)
	if size > 0 {
		b[0] = b[0]&0x3f | 0x40
		copy(b[1:], dcid.Bytes())
	}
	return &dgram.Datagram{Data: b, Path: r.path}
}

func (r *muxRig) route(d *dgram.Datagram) (*Conn, Verdict) {
	r.batch.Reset()
	var c *Conn
	var v Verdict
	size := len(d.Data)
	r.attacked.Spend(func() { c, v = r.mux.Route(r.now, d, r.batch) })
	r.attacked.Turned(1)
	if r.attacked.Took(size) && !siege.Logs {
		r.look()
	}
	if v == Reply {
		r.attacked.Sent(r.batch.SegmentSize(), 0)
	}
	if (v == Reply) == r.batch.Empty() {
		r.t.Fatalf("verdict %v with %d datagrams in the reply", v, r.batch.Count())
	}
	if v == Reply && (r.batch.Path != d.Path || r.batch.Count() != 1) {
		r.t.Fatalf("reply of %d datagrams for %v, want 1 for %v", r.batch.Count(), r.batch.Path, d.Path)
	}
	return c, v
}

// want routes a datagram and checks the verdict.
func (r *muxRig) want(reason string, d *dgram.Datagram, want Verdict) *Conn {
	r.t.Helper()
	c, v := r.route(d)
	if v != want {
		r.t.Fatalf("%s: verdict %v, want %v", reason, v, want)
	}
	return c
}

// retried routes a first Initial to a Mux that validates addresses, and returns
// what the Retry says.
func (r *muxRig) retried() (token []byte, chosen wire.ConnectionID) {
	r.t.Helper()
	r.want("first Initial", r.initial(nil, 1200), Reply)
	b := r.batch.Segment(0)
	h, ok := wire.ParseLong(b)
	if !ok || h.Type != wire.Retry || h.DCID != r.scid || h.SCID == r.dcid {
		r.t.Fatalf("no good Retry: %+v", h)
	}
	tag := protect.RetryTag(wire.Version1, &r.dcid, b[:len(b)-16])
	if string(tag[:]) != string(b[len(b)-16:]) {
		r.t.Fatal("Retry with a wrong tag")
	}
	return append([]byte(nil), h.Token...), h.SCID
}

// wantClose checks that the reply is an Initial packet that a client whose first
// Initial was d can open, with one CONNECTION_CLOSE of that code.
func (r *muxRig) wantClose(reason string, d *dgram.Datagram, code wire.ErrorCode) {
	r.t.Helper()
	in, _ := wire.ParseLong(d.Data)
	b := append([]byte(nil), r.batch.Segment(0)...)
	h, ok := wire.ParseLong(b)
	if !ok || h.Type != wire.Initial || h.DCID != in.SCID || h.SCID != in.DCID || h.End != len(b) {
		r.t.Fatalf("%s: reply %+v", reason, h)
	}
	_, secret := protect.InitialSecrets(wire.Version1, in.DCID.Bytes())
	o, ok := mustOpener(protect.NewOpener(wire.Version1, initialSuite, secret)).Open(b, h.PNOffset, -1)
	if !ok {
		r.t.Fatalf("%s: the reply does not open", reason)
	}
	frames, err := wire.ParseFrames(o.Payload)
	if err != nil || len(frames) != 1 {
		r.t.Fatalf("%s: frames %v, %v", reason, frames, err)
	}
	if f, ok := frames[0].(wire.Close); !ok || f.App || f.Code != uint64(code) {
		r.t.Fatalf("%s: got %v, want code %v", reason, frames[0], code)
	}
	if len(b) > 3*len(d.Data) {
		r.t.Fatalf("%s: reply of %d bytes to %d", reason, len(b), len(d.Data))
	}
}

// foreign returns a long-header packet of another version with IDs of any length.
func (r *muxRig) foreign(version uint32, dcid, scid []byte, size int) *dgram.Datagram {
	b := []byte{0xc0}
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(append(b, byte(len(dcid))), dcid...)
	b = append(append(b, byte(len(scid))), scid...)
	if n := size - len(b); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	return &dgram.Datagram{Data: b, Path: r.path}
}
