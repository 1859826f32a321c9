package qlog

import "time"

// RecoveryParametersSet is what loss detection and congestion control of a path go by.
type RecoveryParametersSet struct {
	ReorderingThreshold  uint64        // packets
	TimeThreshold        float64       // of a round trip
	TimerGranularity     time.Duration // whole milliseconds
	InitialRTT           time.Duration
	MaxDatagramSize      uint64 // bytes
	InitialWindow        uint64 // bytes
	MinimumWindow        uint64 // bytes
	LossReductionFactor  float64
	PersistentCongestion uint64 // PTOs
	CongestionController string // reno or cubic
}

// Name returns "quic:recovery_parameters_set".
func (v *RecoveryParametersSet) Name() string { return "quic:recovery_parameters_set" }

// Encode writes the event's data.
func (v *RecoveryParametersSet) Encode(e *Encoder) {
	e.Uint("reordering_threshold", v.ReorderingThreshold)
	e.Float("time_threshold", v.TimeThreshold)
	e.Uint("timer_granularity", uint64(v.TimerGranularity.Milliseconds()))
	e.Duration("initial_rtt", v.InitialRTT)
	e.Uint("max_datagram_size", v.MaxDatagramSize)
	e.Uint("initial_congestion_window", v.InitialWindow)
	e.Uint("minimum_congestion_window", v.MinimumWindow)
	e.Float("loss_reduction_factor", v.LossReductionFactor)
	e.Uint("persistent_congestion_threshold", v.PersistentCongestion)
	e.String("congestion_controller", v.CongestionController)
}

// Metrics are the figures of recovery. Those that do not change are not logged again.
type Metrics struct {
	MinRTT, SmoothedRTT, LatestRTT, RTTVariance time.Duration
	PTOCount                                    uint64
	CongestionWindow, BytesInFlight             uint64
	Threshold                                   uint64 // of slow start; 0 for none yet
	PacingRate                                  uint64 // bits per second; 0 if not known
}

// RecoveryMetricsUpdated tells which of the figures have changed. There is at least one.
type RecoveryMetricsUpdated struct{ Old, New Metrics }

// Name returns "quic:recovery_metrics_updated".
func (v *RecoveryMetricsUpdated) Name() string { return "quic:recovery_metrics_updated" }

// Encode writes the event's data.
func (v *RecoveryMetricsUpdated) Encode(e *Encoder) {
	duration := func(key string, old, now time.Duration) {
		if old != now {
			e.Duration(key, now)
		}
	}
	number := func(key string, old, now uint64) {
		if old != now {
			e.Uint(key, now)
		}
	}
	o, n := &v.Old, &v.New
	duration("min_rtt", o.MinRTT, n.MinRTT)
	duration("smoothed_rtt", o.SmoothedRTT, n.SmoothedRTT)
	duration("latest_rtt", o.LatestRTT, n.LatestRTT)
	duration("rtt_variance", o.RTTVariance, n.RTTVariance)
	number("pto_count", o.PTOCount, n.PTOCount)
	number("congestion_window", o.CongestionWindow, n.CongestionWindow)
	number("bytes_in_flight", o.BytesInFlight, n.BytesInFlight)
	number("ssthresh", o.Threshold, n.Threshold)
	number("pacing_rate", o.PacingRate, n.PacingRate)
}

// CongestionStateUpdated is a new state of the congestion controller: slow_start,
// congestion_avoidance or recovery.
type CongestionStateUpdated struct {
	Old, New string
	Trigger  string // what led to it, if there are several ways: loss, ecn or persistent_congestion
}

// Name returns "quic:congestion_state_updated".
func (v *CongestionStateUpdated) Name() string { return "quic:congestion_state_updated" }

// Encode writes the event's data.
func (v *CongestionStateUpdated) Encode(e *Encoder) {
	e.OptString("old", v.Old)
	e.String("new", v.New)
	e.OptString("trigger", v.Trigger)
}

// PacketLost is a packet that is taken as lost.
type PacketLost struct {
	Header   PacketHeader
	MTUProbe bool
	Trigger  string // reordering_threshold, time_threshold or ""
}

// Name returns "quic:packet_lost".
func (v *PacketLost) Name() string { return "quic:packet_lost" }

// Encode writes the event's data.
func (v *PacketLost) Encode(e *Encoder) {
	v.Header.encode(e)
	e.OptBool("is_mtu_probe_packet", v.MTUProbe)
	e.OptString("trigger", v.Trigger)
}

// MarkedForRetransmit tells what is to be sent again.
type MarkedForRetransmit struct{ Frames []Frame }

// Name returns "quic:marked_for_retransmit".
func (v *MarkedForRetransmit) Name() string { return "quic:marked_for_retransmit" }

// Encode writes the event's data.
func (v *MarkedForRetransmit) Encode(e *Encoder) { encodeFrames(e, v.Frames) }

// PacketsAcked tells which packets were acknowledged for the first time.
type PacketsAcked struct {
	Space   string // initial, handshake or application_data
	Numbers []int64
}

// Name returns "quic:packets_acked".
func (v *PacketsAcked) Name() string { return "quic:packets_acked" }

// Encode writes the event's data.
func (v *PacketsAcked) Encode(e *Encoder) {
	e.String("packet_number_space", v.Space)
	e.OpenList("packet_numbers")
	for _, n := range v.Numbers {
		e.Uint("", uint64(n))
	}
	e.CloseList()
}

// ECNStateUpdated is a step of the validation of ECN on a path: testing, unknown, failed
// or capable.
type ECNStateUpdated struct{ Old, New string }

// Name returns "quic:ecn_state_updated".
func (v *ECNStateUpdated) Name() string { return "quic:ecn_state_updated" }

// Encode writes the event's data.
func (v *ECNStateUpdated) Encode(e *Encoder) {
	e.OptString("old", v.Old)
	e.String("new", v.New)
}
