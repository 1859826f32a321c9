package quic

import (
	"crypto/tls"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Options out of their range are refused at once, by name, with value and range.
func TestOptionRanges(t *testing.T) {
	socket := func(o SocketOptions) func() error {
		return func() error { _, err := NewSocket(o); return err }
	}
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	connect := func(o ConnectOptions) func() error {
		if o.Port == 0 {
			o.Port = 1
		}
		if o.TLS == nil && o.ALPN == "" {
			o.TLS = clientConfig()
		}
		return func() error { _, err := s.Connect(t.Context(), o); return err }
	}
	listen := func(o ListenOptions) func() error {
		if o.TLS == nil {
			o.TLS = serverConfig()
		}
		return func() error { return s.Listen(t.Context(), o) }
	}
	for _, test := range []struct {
		do           func() error
		option, code string
	}{
		{socket(SocketOptions{MaxConnections: None}), "SocketOptions.MaxConnections", CodeOutOfRange},
		{socket(SocketOptions{MaxConnectionsPerHost: -2}), "SocketOptions.MaxConnectionsPerHost", CodeOutOfRange},
		{socket(SocketOptions{RetryTokenTimeout: 61 * time.Second}), "SocketOptions.RetryTokenTimeout", CodeOutOfRange},
		{socket(SocketOptions{RetryTokenTimeout: 500 * time.Millisecond}), "SocketOptions.RetryTokenTimeout", CodeOutOfRange},
		{socket(SocketOptions{StatelessResetSecret: make([]byte, 15)}), "SocketOptions.StatelessResetSecret", CodeInvalidArgValue},
		{socket(SocketOptions{TokenSecret: make([]byte, 16)}), "SocketOptions.TokenSecret", CodeInvalidArgValue},
		{socket(SocketOptions{Endpoint: EndpointOptions{Port: 65_536}}), "SocketOptions.Endpoint.Port", CodeSocketBadPort},
		{socket(SocketOptions{Endpoint: EndpointOptions{Port: -1}}), "SocketOptions.Endpoint.Port", CodeSocketBadPort},
		{socket(SocketOptions{Endpoint: EndpointOptions{Type: "upd6"}}), "SocketOptions.Endpoint.Type", CodeInvalidArgValue},
		{socket(SocketOptions{Client: ConnectOptions{MaxData: -2}}), "SocketOptions.Client.MaxData", CodeOutOfRange},
		{socket(SocketOptions{Server: ListenOptions{MaxStreamsUni: -2}}), "SocketOptions.Server.MaxStreamsUni", CodeOutOfRange},
		{connect(ConnectOptions{Port: 65_536}), "ConnectOptions.Port", CodeSocketBadPort},
		{connect(ConnectOptions{Port: -1}), "ConnectOptions.Port", CodeSocketBadPort},
		{connect(ConnectOptions{Type: UDP6Only}), "ConnectOptions.Type", CodeInvalidArgValue},
		{connect(ConnectOptions{ServerName: "10.0.0.1"}), "ConnectOptions.ServerName", CodeInvalidArgValue},
		{connect(ConnectOptions{TLS: &tls.Config{}}), "ConnectOptions.ALPN", CodeMissingOption},
		{connect(ConnectOptions{TLS: &tls.Config{NextProtos: []string{"x"}, MaxVersion: tls.VersionTLS12}}), "ConnectOptions.TLS.MaxVersion", CodeInvalidArgValue},
		{connect(ConnectOptions{PreferredAddressPolicy: "ignore"}), "ConnectOptions.PreferredAddressPolicy", CodeInvalidArgValue},
		{connect(ConnectOptions{ActiveConnectionIDLimit: 1}), "ConnectOptions.ActiveConnectionIDLimit", CodeOutOfRange},
		{connect(ConnectOptions{ActiveConnectionIDLimit: 9}), "ConnectOptions.ActiveConnectionIDLimit", CodeOutOfRange},
		{connect(ConnectOptions{ActiveConnectionIDLimit: None}), "ConnectOptions.ActiveConnectionIDLimit", CodeOutOfRange},
		{connect(ConnectOptions{CongestionAlgorithm: "bbr"}), "ConnectOptions.CongestionAlgorithm", CodeInvalidArgValue},
		{connect(ConnectOptions{HighWaterMark: -2}), "ConnectOptions.HighWaterMark", CodeOutOfRange},
		{connect(ConnectOptions{IdleTimeout: -2}), "ConnectOptions.IdleTimeout", CodeOutOfRange},
		{connect(ConnectOptions{KeepAlive: -2}), "ConnectOptions.KeepAlive", CodeOutOfRange},
		{connect(ConnectOptions{HandshakeTimeout: None}), "ConnectOptions.HandshakeTimeout", CodeOutOfRange},
		{connect(ConnectOptions{CallbackTimeout: None}), "ConnectOptions.CallbackTimeout", CodeOutOfRange},
		{connect(ConnectOptions{MaxAckDelay: 1 << 14 * time.Millisecond}), "ConnectOptions.MaxAckDelay", CodeOutOfRange},
		{connect(ConnectOptions{MaxData: math.MaxInt64}), "ConnectOptions.MaxData", CodeOutOfRange},
		{connect(ConnectOptions{MaxUDPPayloadSize: 1199}), "ConnectOptions.MaxUDPPayloadSize", CodeOutOfRange},
		{connect(ConnectOptions{MaxStreamDataBidiLocal: -2}), "ConnectOptions.MaxStreamDataBidiLocal", CodeOutOfRange},
		{connect(ConnectOptions{MaxStreamDataBidiRemote: -2}), "ConnectOptions.MaxStreamDataBidiRemote", CodeOutOfRange},
		{connect(ConnectOptions{MaxStreamDataUni: -2}), "ConnectOptions.MaxStreamDataUni", CodeOutOfRange},
		{connect(ConnectOptions{MaxStreamsBidi: 1<<60 + 1}), "ConnectOptions.MaxStreamsBidi", CodeOutOfRange},
		{connect(ConnectOptions{MaxDatagramFrameSize: -2}), "ConnectOptions.MaxDatagramFrameSize", CodeOutOfRange},
		{listen(ListenOptions{MaxDatagramFrameSize: 65_536}), "ListenOptions.MaxDatagramFrameSize", CodeOutOfRange},
		{socket(SocketOptions{Server: ListenOptions{MaxDatagramFrameSize: -2}}), "SocketOptions.Server.MaxDatagramFrameSize", CodeOutOfRange},
		{listen(ListenOptions{MaxStreamsBidi: -2}), "ListenOptions.MaxStreamsBidi", CodeOutOfRange},
		{listen(ListenOptions{TLS: &tls.Config{NextProtos: []string{"x"}}}), "ListenOptions.TLS", CodeMissingOption},
		{listen(ListenOptions{TLS: &tls.Config{Certificates: serverConfig().Certificates}}), "ListenOptions.ALPN", CodeMissingOption},
	} {
		err := test.do()
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Option != test.option || oe.Code() != test.code || !strings.Contains(err.Error(), test.option) {
			t.Errorf("want %s for %s, got %v", test.code, test.option, err)
		}
	}
	if s.Bound() || s.Pending() || s.Listening() || s.Stats().ClientSessions != 0 {
		t.Error("a bad option had an effect")
	}
}

func TestBadAddresses(t *testing.T) {
	for _, address := range []string{"localhost", "localhost:x", "a:b:c"} {
		_, err := Dial(t.Context(), address, ConnectOptions{TLS: clientConfig()})
		wantCode(t, err, CodeInvalidArgValue)
		_, err = Listen(t.Context(), address, ListenOptions{TLS: serverConfig()})
		wantCode(t, err, CodeInvalidArgValue)
	}
}

// The peer may ask for its own delay of acknowledgements where ours is not shorter than
// the shortest that it may ask for.
func TestMinAckDelay(t *testing.T) {
	for d, offered := range map[time.Duration]bool{
		None: false, 2*time.Millisecond - 1: false, 2 * time.Millisecond: true, 0: true, time.Second: true,
	} {
		o := ConnectOptions{Port: 1, TLS: clientConfig(), MaxAckDelay: d}
		so, err := o.resolve(&ConnectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p := so.config().Params; p.HasMinAckDelay != offered || p.MinAckDelay > p.MaxAckDelay {
			t.Errorf("%v: min_ack_delay of %v is offered: %v", d, p.MinAckDelay, p.HasMinAckDelay)
		}
	}
}

// Zero means the documented default, None an explicit zero, and what an operation
// leaves out comes from its socket.
func TestOptionDefaults(t *testing.T) {
	o := ConnectOptions{Port: 1, TLS: clientConfig()}
	so, err := o.resolve(&ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := so.config()
	p := wire.DefaultParameters()
	p.MaxIdleTimeout = 10 * time.Second
	p.MaxData = 1 << 20
	p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 256<<10, 256<<10, 256<<10
	p.MaxStreamsBidi, p.MaxStreamsUni = 100, 3
	p.HasMinAckDelay, p.MinAckDelay = true, 2*time.Millisecond
	if config.Params != p || config.CongestionControl != "reno" || so.highWaterMark != 16_384 || config.MaxDatagram != 1452 {
		t.Errorf("%+v", config)
	}
	o = ConnectOptions{
		Port: 1, TLS: clientConfig(), IdleTimeout: None, MaxData: None, MaxStreamDataBidiLocal: None, MaxStreamDataBidiRemote: None,
		MaxStreamDataUni: None, MaxStreamsBidi: None, MaxStreamsUni: None, MaxAckDelay: None, HighWaterMark: None, MaxUDPPayloadSize: 70_000,
	}
	so, err = o.resolve(&ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p = wire.DefaultParameters()
	p.MaxAckDelay = 0
	if config := so.config(); config.Params != p || so.highWaterMark != 0 {
		t.Errorf("%+v", config)
	}
	o = ConnectOptions{IdleTimeout: time.Second}
	so, err = o.resolve(&ConnectOptions{Port: 7, Address: "x", TLS: clientConfig(), IdleTimeout: time.Minute, MaxStreamsUni: 9, CongestionAlgorithm: "cubic"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 7 || o.Address != "x" || so.idleTimeout != time.Second || so.maxStreamsUni != 9 || so.congestionAlgorithm != "cubic" {
		t.Errorf("%+v %+v", o, so)
	}
	lo := ListenOptions{}
	so, err = lo.resolve(&ListenOptions{TLS: serverConfig(), MaxStreamsBidi: 5, MaxDatagramSize: 9000})
	if err != nil || so.maxStreamsBidi != 5 || so.config().MaxDatagram != 9000 || lo.TLS == nil {
		t.Errorf("%v %+v", err, so)
	}
}
