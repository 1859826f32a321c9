package quic

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
)

// What draft-ietf-quic-qlog-quic-events says of events and types, written down by hand:
// members with their types, those with a question mark optional. Types: uint (of at most 64
// bits), ms (a number that is not negative), number, text, bool, hex, id (hex of 0 to 20
// bytes), token (hex of 16 bytes), version (hex of 4 bytes), one of several words a|b, a list
// [T] or [+T], or the name of another table. An extension of ours is marked by !.
var qlogEvents = map[string]string{
	"connection_started":              "local Endpoint, remote Endpoint",
	"connection_closed":               "?initiator Initiator, ?connection_error TransportError, ?application_error unknown, ?error_code uint, ?internal_code uint, ?reason text, ?trigger idle_timeout|application|error|version_mismatch|stateless_reset|aborted|unspecified",
	"connection_id_updated":           "initiator Initiator, ?old id, ?new id",
	"connection_state_updated":        "?old ConnectionState, new ConnectionState",
	"tuple_assigned":                  "tuple_id text, ?tuple_remote Endpoint, ?tuple_local Endpoint",
	"mtu_updated":                     "?old uint, new uint, ?done bool",
	"version_information":             "?server_versions [+version], ?client_versions [+version], ?chosen_version version",
	"alpn_information":                "?server_alpns [ALPN], ?client_alpns [ALPN], ?chosen_alpn ALPN",
	"parameters_set":                  "?initiator Initiator, ?resumption_allowed bool, ?early_data_enabled bool, ?tls_cipher text, ?original_destination_connection_id id, ?initial_source_connection_id id, ?retry_source_connection_id id, ?stateless_reset_token token, ?ack_delay_exponent uint, ?max_ack_delay uint, ?min_ack_delay uint, ?preferred_address PreferredAddress, " + qlogRestored,
	"parameters_restored":             qlogRestored,
	"packet_sent":                     "header Header, ?frames [Frame], ?stateless_reset_token token, ?supported_versions [+version], ?raw Raw, ?is_mtu_probe_packet bool, ?trigger retransmit_reordered|retransmit_timeout|pto_probe|retransmit_crypto|cc_bandwidth_probe",
	"packet_received":                 "header Header, ?frames [Frame], ?stateless_reset_token token, ?supported_versions [+version], ?raw Raw, ?trigger keys_available",
	"packet_dropped":                  "?header Header, ?raw Raw, ?details Details, ?trigger internal_error|rejected|unsupported|invalid|duplicate|connection_unknown|decryption_failure|key_unavailable|general",
	"packet_buffered":                 "?header Header, ?raw Raw, ?trigger backpressure|keys_unavailable",
	"packets_acked":                   "?packet_number_space Space, ?packet_numbers [+uint]",
	"udp_datagrams_sent":              "?count uint, ?raw [+Raw], ?ecn [+ECN]",
	"udp_datagrams_received":          "?count uint, ?raw [+Raw], ?ecn [+ECN]",
	"stream_state_updated":            "stream_id uint, ?stream_type StreamType, ?old StreamState, new StreamState, stream_side sending|receiving, ?trigger local|remote",
	"stream_data_moved":               "?stream_id uint, ?offset uint, ?from Location, ?to Location, ?additional_info fin_set|stream_reset, ?raw Raw",
	"datagram_data_moved":             "?from Location, ?to Location, ?raw Raw",
	"connection_data_blocked_updated": "?old blocked|unblocked, new blocked|unblocked, ?reason BlockedReason",
	"stream_data_blocked_updated":     "?old blocked|unblocked, new blocked|unblocked, stream_id uint, ?reason BlockedReason",
	"migration_state_updated":         "?old MigrationState, new MigrationState, ?tuple_id text, ?tuple_remote Endpoint, ?tuple_local Endpoint",
	"timer_updated":                   "?timer_type TimerType, ?timer_id uint, ?packet_number_space Space, event_type set|expired|cancelled, ?delta ms",
	"key_updated":                     "key_type KeyType, ?key_phase uint, ?trigger tls|remote_update|local_update",
	"key_discarded":                   "key_type KeyType, ?key_phase uint, ?trigger tls|remote_update|local_update",
	"recovery_parameters_set":         "?reordering_threshold uint, ?time_threshold number, timer_granularity uint, ?initial_rtt ms, ?max_datagram_size uint, ?initial_congestion_window uint, ?minimum_congestion_window uint, ?loss_reduction_factor number, ?persistent_congestion_threshold uint, !congestion_controller reno|cubic",
	"recovery_metrics_updated":        "?min_rtt ms, ?smoothed_rtt ms, ?latest_rtt ms, ?rtt_variance ms, ?pto_count uint, ?congestion_window uint, ?bytes_in_flight uint, ?ssthresh uint, ?packets_in_flight uint, ?pacing_rate uint",
	"congestion_state_updated":        "?old text, new text, ?trigger text",
	"packet_lost":                     "?header Header, ?frames [Frame], ?is_mtu_probe_packet bool, ?trigger reordering_threshold|time_threshold|pto_expired",
	"marked_for_retransmit":           "frames [+Frame]",
	"ecn_state_updated":               "?old ECNState, new ECNState",
}

const qlogRestored = "?disable_active_migration bool, ?max_idle_timeout uint, ?max_udp_payload_size uint, ?active_connection_id_limit uint, ?initial_max_data uint, ?initial_max_stream_data_bidi_local uint, ?initial_max_stream_data_bidi_remote uint, ?initial_max_stream_data_uni uint, ?initial_max_streams_bidi uint, ?initial_max_streams_uni uint, ?max_datagram_frame_size uint, ?grease_quic_bit bool"

// qlogTypes are the types that have names: objects, and words to choose from.
var qlogTypes = map[string]string{
	"Endpoint":         "?ip_v4 text, ?port_v4 uint, ?ip_v6 text, ?port_v6 uint, ?connection_ids [+id]",
	"ALPN":             "?byte_value hex, ?string_value text",
	"PreferredAddress": "?ip_v4 text, ?port_v4 uint, ?ip_v6 text, ?port_v6 uint, connection_id id, stateless_reset_token token",
	"Raw":              "?length uint, ?payload_length uint, ?data hex",
	"Details":          "?message text",
	"Token":            "?type retry|resumption, ?details Details, ?raw Raw",
	"Header":           "packet_type PacketType, ?spin_bit bool, ?key_phase uint, ?key_phase_bit bool, ?packet_number_length uint, ?packet_number uint, ?token Token, ?length uint, ?version version, ?scil uint, ?dcil uint, ?scid id, ?dcid id",
	"PacketType":       "initial|handshake|0RTT|1RTT|retry|version_negotiation|stateless_reset|unknown",
	"Space":            "initial|handshake|application_data",
	"ECN":              "Not-ECT|ECT(1)|ECT(0)|CE",
	"Initiator":        "local|remote",
	"StreamType":       "unidirectional|bidirectional",
	"Location":         "application|transport|network",
	"BlockedReason":    "scheduling|pacing|amplification_protection|congestion_control|connection_flow_control|stream_flow_control|stream_id|application",
	"ConnectionState":  "attempted|handshake_started|handshake_complete|closed|peer_validated|early_write|handshake_confirmed|closing|draining",
	"StreamState":      "idle|open|closed|half_closed_local|half_closed_remote|ready|send|data_sent|reset_sent|reset_received|receive|size_known|data_read|reset_read|data_received|destroyed",
	"MigrationState":   "probing_started|probing_abandoned|probing_successful|migration_started|migration_abandoned|migration_complete",
	"TimerType":        "ack|pto|loss_timeout|path_validation|handshake_timeout|idle_timeout|ack_delay|pacing|progress_timeout|keep_alive|key_discard|mtu_raise|original_id|retired_id|close",
	"KeyType":          "server_initial_secret|client_initial_secret|server_handshake_secret|client_handshake_secret|server_0rtt_secret|client_0rtt_secret|server_1rtt_secret|client_1rtt_secret",
	"ECNState":         "testing|unknown|failed|capable",
	"TransportError":   "no_error|internal_error|connection_refused|flow_control_error|stream_limit_error|stream_state_error|final_size_error|frame_encoding_error|transport_parameter_error|connection_id_limit_error|protocol_violation|invalid_token|application_error|crypto_buffer_exceeded|key_update_error|aead_limit_reached|no_viable_path|unknown",
}

// qlogFrames are the frames, by their frame_type.
var qlogFrames = map[string]string{
	"padding":              "?raw Raw",
	"ping":                 "?raw Raw",
	"ack":                  "?ack_delay ms, ?acked_ranges [+[+uint]], ?ect1 uint, ?ect0 uint, ?ce uint, ?raw Raw",
	"reset_stream":         "stream_id uint, error unknown, ?error_code uint, final_size uint, ?raw Raw",
	"stop_sending":         "stream_id uint, error unknown, ?error_code uint, ?raw Raw",
	"crypto":               "offset uint, raw Raw",
	"new_token":            "token Token, ?raw Raw",
	"stream":               "stream_id uint, ?offset uint, ?fin bool, ?raw Raw",
	"max_data":             "maximum uint, ?raw Raw",
	"max_stream_data":      "stream_id uint, maximum uint, ?raw Raw",
	"max_streams":          "stream_type StreamType, maximum uint, ?raw Raw",
	"data_blocked":         "limit uint, ?raw Raw",
	"stream_data_blocked":  "stream_id uint, limit uint, ?raw Raw",
	"streams_blocked":      "stream_type StreamType, limit uint, ?raw Raw",
	"new_connection_id":    "sequence_number uint, retire_prior_to uint, ?connection_id_length uint, connection_id id, ?stateless_reset_token token, ?raw Raw",
	"retire_connection_id": "sequence_number uint, ?raw Raw",
	"path_challenge":       "?data hex, ?raw Raw",
	"path_response":        "?data hex, ?raw Raw",
	"connection_close":     "?error_space transport|application, ?error TransportError, ?error_code uint, ?reason text, ?reason_bytes hex, ?trigger_frame_type uint, ?raw Raw",
	"handshake_done":       "?raw Raw",
	"unknown":              "frame_type_bytes uint, ?raw Raw",
	"datagram":             "?raw Raw",

	// Beyond the draft.
	"ack_frequency": "sequence_number uint, ack_eliciting_threshold uint, requested_max_ack_delay ms, reordering_threshold uint",
	"immediate_ack": "?raw Raw",
}

// checkEvent holds an event against the draft.
func checkEvent(t testing.TB, e *logRecord) {
	t.Helper()
	if e.Name == "loglevel:warning" {
		if e.Data["message"] == nil {
			t.Errorf("%s without a message", e.Name)
		}
		return
	}
	name, ok := strings.CutPrefix(e.Name, "quic:")
	members, known := qlogEvents[name]
	if !ok || !known {
		t.Errorf("no event of the draft is called %q", e.Name)
		return
	}
	for _, problem := range checkMembers(members, e.Data) {
		t.Errorf("%s: %s in %v", e.Name, problem, e.Data)
	}
	if name == "recovery_metrics_updated" && len(e.Data) == 0 {
		t.Errorf("%s without a metric", e.Name)
	}
}

func checkMembers(members string, m map[string]any) (problems []string) {
	left := make(map[string]bool)
	for key := range m {
		left[key] = true
	}
	for _, member := range strings.Split(members, ", ") {
		key, kind, _ := strings.Cut(member, " ")
		must := !strings.HasPrefix(key, "?")
		key = strings.TrimLeft(key, "?!")
		delete(left, key)
		v, there := m[key]
		switch {
		case there:
			if problem := checkType(kind, v); problem != "" {
				problems = append(problems, key+": "+problem)
			}
		case must:
			problems = append(problems, key+" is missing")
		}
	}
	for key := range left {
		problems = append(problems, key+" is no member")
	}
	return problems
}

var hexstring = regexp.MustCompile(`^([0-9a-f]{2})*$`)

func checkType(kind string, v any) string {
	wrong := fmt.Sprintf("%v is no %s", v, kind)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	good := false
	switch {
	case strings.HasPrefix(kind, "["):
		list, ok := v.([]any)
		inner, some := strings.CutPrefix(kind[1:len(kind)-1], "+")
		if !ok || some && len(list) == 0 {
			return wrong
		}
		for _, item := range list {
			if problem := checkType(inner, item); problem != "" {
				return problem
			}
		}
		return ""
	case kind == "Frame":
		return checkFrame(v)
	case qlogTypes[kind] != "" && !strings.ContainsAny(qlogTypes[kind], " "):
		if kind == "TransportError" && regexp.MustCompile(`^crypto_error_0x1[0-9a-f]{2}$`).MatchString(text) {
			return ""
		}
		return checkType(qlogTypes[kind], v)
	case qlogTypes[kind] != "":
		m, ok := v.(map[string]any)
		if !ok {
			return wrong
		}
		return strings.Join(checkMembers(qlogTypes[kind], m), "; ")
	}
	switch kind {
	case "uint":
		good = isNumber && number >= 0 && number == math.Trunc(number)
	case "ms":
		good = isNumber && number >= 0
	case "number":
		good = isNumber
	case "text":
		good = isText
	case "bool":
		_, good = v.(bool)
	case "hex":
		good = isText && hexstring.MatchString(text)
	case "id":
		good = isText && hexstring.MatchString(text) && len(text) <= 40
	case "token":
		good = isText && hexstring.MatchString(text) && len(text) == 32
	case "version":
		good = isText && hexstring.MatchString(text) && len(text) == 8
	default:
		for _, word := range strings.Split(kind, "|") {
			good = good || isText && word == text
		}
	}
	if good {
		return ""
	}
	return wrong
}

func checkFrame(v any) string {
	m, ok := v.(map[string]any)
	kind, _ := m["frame_type"].(string)
	members, known := qlogFrames[kind]
	if !ok || !known {
		return fmt.Sprintf("%v is no frame", v)
	}
	return strings.Join(checkMembers("frame_type text, "+members, m), "; ")
}

// TestQLogSchemaFinds: the check finds what is wrong.
func TestQLogSchemaFinds(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		members string
		v       m
		want    string
	}{
		{"a uint", m{"a": 1.0}, ""},
		{"a uint, ?b text", m{"a": 1.0}, ""},
		{"a uint", m{}, "a is missing"},
		{"a uint", m{"a": 1.5}, "1.5 is no uint"},
		{"a uint", m{"a": -1.0}, "-1 is no uint"},
		{"?a x|y", m{"a": "z"}, "z is no x|y"},
		{"a text", m{"a": "", "b": ""}, "b is no member"},
		{"a [+uint]", m{"a": []any{}}, "is no [+uint]"},
		{"a [id]", m{"a": []any{"0"}}, "0 is no id"},
		{"a Header", m{"a": m{"packet_type": "1rtt"}}, "1rtt is no"},
		{"a [Frame]", m{"a": []any{m{"frame_type": "stream"}}}, "stream_id is missing"},
		{"a [Frame]", m{"a": []any{m{"frame_type": "streams"}}}, "is no frame"},
		{"a TransportError", m{"a": "crypto_error_0x178"}, ""},
		{"a TransportError", m{"a": "crypto_error_0x278"}, "is no"},
	} {
		got := strings.Join(checkMembers(c.members, c.v), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s of %v: %q, want %q", c.members, c.v, got, c.want)
		}
	}
}
