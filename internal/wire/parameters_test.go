package wire

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// clientParameters are Parameters with everything set that a client may send.
func clientParameters() Parameters {
	p := DefaultParameters()
	p.InitialSCID, p.HasInitialSCID = cid("0102"), true
	p.MaxIdleTimeout = 30 * time.Second
	p.MaxUDPPayload = 1472
	p.MaxData = 1 << 20
	p.MaxStreamDataBidiLocal = 1 << 18
	p.MaxStreamDataBidiRemote = 1<<18 + 1
	p.MaxStreamDataUni = 1<<18 + 2
	p.MaxStreamsBidi = 100
	p.MaxStreamsUni = 1 << 60
	p.AckDelayExponent = 20
	p.MaxAckDelay = (1<<14 - 1) * time.Millisecond
	p.DisableActiveMigration = true
	p.ActiveCIDLimit = 8
	p.MaxDatagramFrame = 65535
	p.MinAckDelay, p.HasMinAckDelay = 2*time.Millisecond, true
	p.Versions = &VersionInformation{Chosen: Version1, Available: []uint32{Version2, Version1}}
	return p
}

// serverParameters are Parameters with everything set.
func serverParameters() Parameters {
	p := clientParameters()
	p.OriginalDCID, p.HasOriginalDCID = cid("a1a2a3a4a5a6a7a8"), true
	p.RetrySCID, p.HasRetrySCID = ConnectionID{}, true
	p.ResetToken, p.HasResetToken = ResetToken{1, 2, 3}, true
	p.PreferredAddress = &PreferredAddress{
		IPv4:  netip.MustParseAddrPort("192.0.2.1:443"),
		IPv6:  netip.MustParseAddrPort("[2001:db8::1]:4433"),
		ID:    cid("b1b2b3"),
		Token: ResetToken{15: 9},
	}
	return p
}

func TestParametersWire(t *testing.T) {
	p := serverParameters()
	want := unhex(t, "00 08 a1a2a3a4a5a6a7a8"+
		"01 04 80007530"+
		"02 10 01020300000000000000000000000000"+
		"03 02 45c0"+
		"04 04 80100000"+
		"05 04 80040000"+
		"06 04 80040001"+
		"07 04 80040002"+
		"08 02 4064"+
		"09 08 d000000000000000"+
		"0a 01 14"+
		"0b 02 7fff"+
		"0c 00"+
		"0d 2c c0000201 01bb 20010db8000000000000000000000001 1151 03 b1b2b3 00000000000000000000000000000009"+
		"0e 01 08"+
		"0f 02 0102"+
		"10 00"+
		"11 0c 00000001 6b3343cf 00000001"+
		"20 04 8000ffff"+
		"c0000000ff04de1b 02 47d0")
	if got := p.Append([]byte("x")); got[0] != 'x' || !bytes.Equal(got[1:], want) {
		t.Errorf("Append\n got %x\nwant %x", got[1:], want)
	}
	got, err := ParseParameters(want, true)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("ParseParameters = %+v, %v\nwant %+v", got, err, p)
	}
	starts := map[int]bool{} // where a parameter starts: there the truncation is a shorter list
	for c := varint.NewCursor(want); c.Len() > 0; c.VarintBytes() {
		starts[len(want)-c.Len()] = true
		c.Varint()
	}
	for n := range want {
		if _, err := ParseParameters(want[:n], true); (err == nil) != starts[n] {
			t.Errorf("cut to %x: error %v", want[:n], err)
		}
	}
}

func TestParametersRoundTrip(t *testing.T) {
	with := func(f func(*Parameters)) Parameters {
		p := serverParameters()
		f(&p)
		return p
	}
	for what, test := range map[string]struct {
		p          Parameters
		fromServer bool
	}{
		"defaults of a client": {DefaultParameters(), false},
		"defaults of a server": {DefaultParameters(), true},
		"all of a client":      {clientParameters(), false},
		"all of a server":      {serverParameters(), true},
		"zeros for defaults": {with(func(p *Parameters) {
			p.AckDelayExponent, p.MaxAckDelay, p.MinAckDelay = 0, 0, 0
		}), true},
		"a min_ack_delay of zero":         {with(func(p *Parameters) { p.MinAckDelay = 0 }), true},
		"a min_ack_delay as large as may": {with(func(p *Parameters) { p.MinAckDelay = p.MaxAckDelay }), true},
		"no IPv4":                         {with(func(p *Parameters) { p.PreferredAddress.IPv4 = netip.AddrPort{} }), true},
		"no IPv6":                         {with(func(p *Parameters) { p.PreferredAddress.IPv6 = netip.AddrPort{} }), true},
		"empty connection ID": {with(func(p *Parameters) {
			p.InitialSCID, p.PreferredAddress = ConnectionID{}, nil
		}), true},
		"the longest idle timeout": {with(func(p *Parameters) { p.MaxIdleTimeout = maxIdleTimeoutMs * time.Millisecond }), true},
	} {
		b := test.p.Append(nil)
		b = AppendGrease(b, 12345, []byte("whatever"))
		got, err := ParseParameters(b, test.fromServer)
		if err != nil || !reflect.DeepEqual(got, test.p) {
			t.Errorf("%s: got %+v, %v\nwant %+v", what, got, err, test.p)
		}
	}
	p := DefaultParameters()
	if b := p.Append(nil); len(b) != 0 {
		t.Errorf("the defaults are written as %x", b)
	}
}

func TestParametersRoundUp(t *testing.T) {
	p := DefaultParameters()
	p.MaxIdleTimeout = time.Nanosecond
	p.MaxAckDelay = 25*time.Millisecond + time.Microsecond
	p.MinAckDelay, p.HasMinAckDelay = 3*time.Microsecond+time.Nanosecond, true
	got, err := ParseParameters(p.Append(nil), false)
	if err != nil || got.MaxIdleTimeout != time.Millisecond || got.MaxAckDelay != 26*time.Millisecond || got.MinAckDelay != 4*time.Microsecond {
		t.Errorf("got %v, %v and %v, %v", got.MaxIdleTimeout, got.MaxAckDelay, got.MinAckDelay, err)
	}
	p.MaxIdleTimeout = 1<<63 - 1
	got, err = ParseParameters(p.Append(nil), false)
	if err != nil || got.MaxIdleTimeout != maxIdleTimeoutMs*time.Millisecond {
		t.Errorf("got %v, %v", got.MaxIdleTimeout, err)
	}
	got, err = ParseParameters(unhex(t, "01 08 ffffffffffffffff"), false)
	if err != nil || got.MaxIdleTimeout != maxIdleTimeoutMs*time.Millisecond {
		t.Errorf("got %v, %v", got.MaxIdleTimeout, err)
	}
}

func TestParseParametersRefuses(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	for _, test := range []struct {
		wire   string
		client bool
		reason string
	}{
		// RFC 9000 §7.4, §18: the list itself.
		{wire: "01", reason: "transport parameters are cut short"},
		{wire: "01 02 00", reason: "transport parameters are cut short"},
		{wire: "ffffffffffffffff ffffffffffffffff", reason: "transport parameters are cut short"},
		{wire: "01 01 05 01 01 05", reason: "transport parameter 0x1 twice"},
		{wire: "0c 00 0c 00", reason: "transport parameter 0xc twice"},
		{wire: "1b 00 1b 00", reason: "transport parameter 0x1b twice"},
		{wire: "7000 00 04 01 01 7000 00", reason: "transport parameter 0x3000 twice"},
		// The form of integers.
		{wire: "04 00", reason: "initial_max_data is not an integer: 0 bytes"},
		{wire: "04 01 40", reason: "initial_max_data is not an integer: 1 bytes"},
		{wire: "04 02 01 01", reason: "initial_max_data is not an integer: 2 bytes"},
		{wire: "01 02 00 00", reason: "max_idle_timeout is not an integer: 2 bytes"},
		{wire: "20 00", reason: "max_datagram_frame_size is not an integer: 0 bytes"},
		// RFC 9000 §18.2: ranges.
		{wire: "03 02 4442", reason: "max_udp_payload_size 1090 is below 1200"},
		{wire: "03 02 44af", reason: "max_udp_payload_size 1199 is below 1200"},
		{wire: "08 08 d000000000000001", reason: "initial_max_streams_bidi 1152921504606846977 is above 1152921504606846976"},
		{wire: "09 08 d000000000000001", reason: "initial_max_streams_uni 1152921504606846977 is above 1152921504606846976"},
		{wire: "0a 01 15", reason: "ack_delay_exponent 21 is above 20"},
		{wire: "0a 08 c000000000000100", reason: "ack_delay_exponent 256 is above 20"},
		{wire: "0b 04 80004000", reason: "max_ack_delay 16384 is above 16383"},
		{wire: "0e 01 01", reason: "active_connection_id_limit 1 is below 2"},
		{wire: "0e 01 00", reason: "active_connection_id_limit 0 is below 2"},
		{wire: "0c 01 00", reason: "disable_active_migration has 1 bytes, not none"},
		// draft-ietf-quic-ack-frequency §3: min_ack_delay, beside any max_ack_delay and whichever comes first.
		{wire: "c0000000ff04de1b 00", reason: "min_ack_delay is not an integer: 0 bytes"},
		{wire: "c0000000ff04de1b 03 47d000", reason: "min_ack_delay is not an integer: 3 bytes"},
		{wire: "c0000000ff04de1b 04 800061a9", reason: "min_ack_delay 25.001ms is above max_ack_delay 25ms"},
		{wire: "c0000000ff04de1b 02 47d1 0b 01 02", reason: "min_ack_delay 2.001ms is above max_ack_delay 2ms"},
		{wire: "0b 01 00 c0000000ff04de1b 01 01", reason: "min_ack_delay 1µs is above max_ack_delay 0s"},
		{wire: "c0000000ff04de1b 08 ffffffffffffffff", reason: "min_ack_delay 16.384s is above max_ack_delay 25ms"},
		{wire: "c0000000ff04de1b 01 00 c0000000ff04de1b 01 00", reason: "transport parameter 0xff04de1b twice"},
		// Connection IDs and tokens.
		{wire: "00 15" + zeros(21), reason: "original_destination_connection_id has 21 bytes, above 20"},
		{wire: "0f 15" + zeros(21), reason: "initial_source_connection_id has 21 bytes, above 20"},
		{wire: "10 15" + zeros(21), reason: "retry_source_connection_id has 21 bytes, above 20"},
		{wire: "02 0f" + zeros(15), reason: "stateless_reset_token has 15 bytes, not 16"},
		{wire: "02 11" + zeros(17), reason: "stateless_reset_token has 17 bytes, not 16"},
		// The preferred address.
		{wire: "0d 00", reason: "preferred_address is malformed: 0 bytes"},
		{wire: "0d 29" + zeros(24) + "01 aa" + zeros(15), reason: "preferred_address is malformed: 41 bytes"},
		{wire: "0d 2b" + zeros(24) + "01 aa" + zeros(17), reason: "preferred_address is malformed: 43 bytes"},
		{wire: "0d 29" + zeros(24) + "00" + zeros(16), reason: "preferred_address has a connection ID of 0 bytes"},
		{wire: "0d 3e" + zeros(24) + "15" + zeros(21+16), reason: "preferred_address has a connection ID of 21 bytes"},
		{wire: "0f 00 0d 2a" + zeros(24) + "01 aa" + zeros(16), reason: "preferred_address from a server with an empty connection ID"},
		{wire: "0d 2a" + zeros(24) + "01 aa" + zeros(16) + "0f 00", reason: "preferred_address from a server with an empty connection ID"},
		// What a client must not send.
		{wire: "00 00", client: true, reason: "original_destination_connection_id from a client"},
		{wire: "02 10" + zeros(16), client: true, reason: "stateless_reset_token from a client"},
		{wire: "0d 2a" + zeros(24) + "01 aa" + zeros(16), client: true, reason: "preferred_address from a client"},
		{wire: "10 00", client: true, reason: "retry_source_connection_id from a client"},
	} {
		p, err := ParseParameters(unhex(t, test.wire), !test.client)
		if err == nil || err.Code != TransportParameterError || err.Frame != 0 || err.Reason != test.reason {
			t.Errorf("%s: error %v, want %q", test.wire, err, test.reason)
		}
		if err != nil && !reflect.DeepEqual(p, Parameters{}) {
			t.Errorf("%s: parameters %+v beside an error", test.wire, p)
		}
	}
}

// Unknown parameters are passed over, however many, and odd forms of known ones
// that the RFC allows are taken.
func TestParseParametersAccepts(t *testing.T) {
	var b []byte
	for i := range uint64(1000) {
		b = AppendGrease(b, i, make([]byte, i%5))
	}
	b = appendParam(b, 1<<62-1, nil)
	got, err := ParseParameters(b, false)
	if err != nil || !reflect.DeepEqual(got, DefaultParameters()) {
		t.Errorf("unknown parameters only: %+v, %v", got, err)
	}
	got, err = ParseParameters(unhex(t, "4004 08 c000000000000005"), false)
	if err != nil || got.MaxData != 5 {
		t.Errorf("long forms of integers: %+v, %v", got, err)
	}
	got, err = ParseParameters(unhex(t, "03 08 ffffffffffffffff"), false)
	if err != nil || got.MaxUDPPayload != 1<<62-1 {
		t.Errorf("max_udp_payload_size beyond UDP: %+v, %v", got, err)
	}
	// An address with a port of zero, and one of zeros, are not offered.
	got, err = ParseParameters(unhex(t, "0d 2a c0000201 0000"+strings.Repeat("00", 16)+"01bb 01 aa"+strings.Repeat("00", 16)), true)
	if err != nil || got.PreferredAddress == nil || got.PreferredAddress.IPv4.IsValid() || got.PreferredAddress.IPv6.IsValid() {
		t.Errorf("half-empty preferred_address: %+v, %v", got.PreferredAddress, err)
	}
}

func TestParametersBugs(t *testing.T) {
	p := DefaultParameters()
	p.PreferredAddress = &PreferredAddress{IPv4: netip.MustParseAddrPort("[2001:db8::1]:443")}
	mustPanic(t, "IPv6 address for IPv4", func() { p.Append(nil) })
	p = DefaultParameters()
	p.MaxData = -1
	mustPanic(t, "negative limit", func() { p.Append(nil) })
}

func TestAppendGrease(t *testing.T) {
	for _, random := range []uint64{0, 1, 2, 1 << 32, 1<<62 - 1, 1<<64 - 1} {
		c := varint.NewCursor(AppendGrease(nil, random, []byte("hi")))
		id, value := c.Varint(), c.VarintBytes()
		if c.Failed() || id%31 != 27 || string(value) != "hi" {
			t.Errorf("AppendGrease(%d): parameter %#x, value %q", random, id, value)
		}
	}
}

func FuzzParseParameters(f *testing.F) {
	client, server, defaults := clientParameters(), serverParameters(), DefaultParameters()
	f.Add(client.Append(nil), false)
	f.Add(server.Append(nil), true)
	f.Add(AppendGrease(defaults.Append(nil), 77, []byte("x")), true)
	f.Fuzz(func(t *testing.T, b []byte, fromServer bool) {
		p, err := ParseParameters(b, fromServer)
		if err != nil {
			if err.Code != TransportParameterError || err.Reason == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		if p.MaxAckDelay >= 1<<14*time.Millisecond || p.AckDelayExponent > 20 || p.ActiveCIDLimit < 2 || p.MaxUDPPayload < 1200 ||
			p.MaxStreamsBidi > 1<<60 || p.MaxStreamsUni > 1<<60 || p.MaxIdleTimeout < 0 ||
			p.MinAckDelay < 0 || p.MinAckDelay > p.MaxAckDelay ||
			!fromServer && (p.HasOriginalDCID || p.HasRetrySCID || p.HasResetToken || p.PreferredAddress != nil) {
			t.Fatalf("out of range: %+v", p)
		}
		again, err := ParseParameters(p.Append(nil), fromServer)
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("written again\n got %+v, %v\nwant %+v", again, err, p)
		}
	})
}
