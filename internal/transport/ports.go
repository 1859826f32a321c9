package transport

// reflects reports whether a UDP port belongs to a service that answers whoever writes to it. What claims
// to come from there was sent by somebody who wants the two of us to write to each other, or us to write to
// a victim (RFC 9000 §21.5). No client has such a port: a server does not answer it, and a session moves neither to
// nor from it. A client that is told to connect to one does.
func reflects(port uint16) bool {
	switch port {
	case 0, // nobody's
		17,    // Quote of the Day
		19,    // character generator
		53,    // DNS
		111,   // port mapper
		123,   // NTP
		137,   // NetBIOS names
		138,   // NetBIOS datagrams
		161,   // SNMP
		389,   // CLDAP
		500,   // IKE
		1900,  // SSDP
		3702,  // WS-Discovery
		5353,  // multicast DNS
		5355,  // LLMNR
		11211: // memcached
		return true
	}
	return false
}
