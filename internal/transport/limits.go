package transport

import "time"

// What a peer can make a connection hold, and where that ends.
const (
	connIDLen = 8 // length of every connection ID that we issue

	maxLocalIDs  = 4  // connection IDs we keep issued, whatever the peer allows
	maxLateIDs   = 4  // of ours that the peer has retired a moment ago, and that still lead here
	maxRemoteIDs = 8  // connection IDs of the peer that we keep, whatever the configuration says
	maxRetired   = 64 // runs of those we gave up, by sequence number, that we remember

	retirementsPerID = 3 // of the peer's IDs that may be active, so many may be given up without it acknowledging that

	maxPaths      = 4  // paths known at once, the active one included
	maxPathProbes = 32 // challenges, and packets on paths not in use, that were not acknowledged
	maxResponses  = 16 // PATH_RESPONSE frames waiting, over all paths

	maxUndecryptable      = 10       // packets kept until their keys come
	maxUndecryptableBytes = 16 << 10 // and their bytes

	maxHandshakePages = 4   // of each histogram of a handshake, with buckets of a power of two at least
	maxStreamPages    = 512 // of the histograms of all streams, beyond the histogram.MinPages of each

	maxGaps = 10_000 // holes in received stream data, over all streams

	maxRetained     = 256 << 10 // bytes of streams that were sent and stand behind a hole in what is acknowledged, or
	retainedWindows = 4         // so many congestion windows, if that is more

	maxQueuedDatagrams = 1024      // application datagrams that came and were not taken, or wait to be sent
	maxQueuedBytes     = 512 << 10 // and their bytes

	cryptoWindow = 64 << 10 // CRYPTO bytes past what was handed to TLS, per level (RFC 9000 §7.5)

	maxHello     = 16 << 10 // of a ClientHello, and with it of packets that wait for keys until it is whole
	maxHelloGaps = 1000     // holes in it

	maxIdleEvents = 256 // no limit: an event queue that grew past this is given back when empty

	zombiePTOs = 8                // probe timeouts in a row, and
	zombieTime = 30 * time.Second // time, without an acknowledgement that end a connection

	uselessBurst = 10_000 // frames that change nothing, all at once, and
	uselessRate  = 330    // a second, beyond one for every packet of use
	uselessWork  = 4      // what it costs to make us work: to cut off a stream before anybody used it, to challenge, to replace connection IDs

	maxTokenLen = 1000 // of the peer's tokens: an Initial packet must have room for more

	retryAbove    = 1000   // handshakes in flight from which on Retry is asked for,
	refuseAbove   = 10_000 // and from which on first packets are dropped
	resetsPerHost = 10     // stateless resets to one host (dgram.Host)

	tlsPatience = 5 * time.Millisecond // for which acknowledgements wait for TLS

	maxHurries = 4 // times that handshake bytes are sent again because the peer repeats itself

	ackOnlyPing = 20 // after so many packets that ask for no ACK, one does (RFC 9000 §13.2.4)
)

// How many CRYPTO bytes a level takes in all: TLS may be busy in user code for long,
// and what waits for it is kept.
const (
	cryptoInitial   = 2 * maxHello // the second one answers a HelloRetryRequest
	cryptoHandshake = 256 << 10
	cryptoApp       = 1 << 20
)

var cryptoTotal = [...]int64{LevelInitial: cryptoInitial, LevelHandshake: cryptoHandshake, LevelApp: cryptoApp}

// lastPacketNumber is the highest there is. No number is used twice, so a connection that
// comes near it ends (RFC 9000 §12.3).
var lastPacketNumber int64 = 1<<62 - 1 // no constant, so that a test can come to it
