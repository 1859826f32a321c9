package stream

// SendState is the state of a sending half (RFC 9000 §3.1). The zero SendState
// belongs to a half that is not initialized.
type SendState uint8

// The states of RFC 9000 figure 2. SendDataRecvd and SendResetRecvd are terminal.
//
//	Ready --sentData--> Send --sentFin--> DataSent --ackedAll--> DataRecvd
//	  |                  |                   |
//	  +------ reset -----+------ reset ------+--> ResetSent --ackedReset--> ResetRecvd
const (
	SendReady      SendState = 1 + iota // nothing sent yet
	SendSend                            // sending
	SendDataSent                        // everything sent once, the FIN too
	SendDataRecvd                       // everything acknowledged
	SendResetSent                       // abandoned: only RESET_STREAM is left to send
	SendResetRecvd                      // RESET_STREAM acknowledged
)

// sendEvent is what moves a sending half from state to state.
type sendEvent uint8

const (
	sentData   sendEvent = iota // STREAM or STREAM_DATA_BLOCKED sent
	sentFin                     // STREAM with FIN sent
	ackedAll                    // all bytes and the FIN acknowledged
	didReset                    // Reset called: RESET_STREAM is to be sent
	ackedReset                  // RESET_STREAM acknowledged
)

// sendTable tells where an event leads from a state. Where there is no entry
// the event changes nothing.
var sendTable = [...][5]SendState{
	SendReady:      {sentData: SendSend, sentFin: SendDataSent, didReset: SendResetSent},
	SendSend:       {sentFin: SendDataSent, didReset: SendResetSent},
	SendDataSent:   {ackedAll: SendDataRecvd, didReset: SendResetSent},
	SendDataRecvd:  {},
	SendResetSent:  {ackedReset: SendResetRecvd},
	SendResetRecvd: {},
}

var sendNames = [...]string{"Uninitialized", "Ready", "Send", "Data Sent", "Data Recvd", "Reset Sent", "Reset Recvd"}

// String returns the RFC's name of the state.
func (s SendState) String() string { return sendNames[s] }

// on moves the half through the table and reports whether the event applied.
func (s *Send) on(e sendEvent) bool {
	next := sendTable[s.state][e]
	if next == 0 {
		return false
	}
	s.state = next
	return true
}

// RecvState is the state of a receiving half (RFC 9000 §3.2). The zero
// RecvState belongs to a half that is not initialized.
type RecvState uint8

// The states of RFC 9000 figure 3. RecvDataRead and RecvResetRead are terminal.
//
//	Recv --gotFin--> SizeKnown --gotAll--> DataRecvd --readAll--> DataRead
//	  |                  |                    |
//	  +---- gotReset ----+--> ResetRecvd      +--(a reset is ignored: all data is here)
//	                              |
//	                              +--readReset--> ResetRead
const (
	RecvRecv       RecvState = 1 + iota // receiving, size unknown
	RecvSizeKnown                       // FIN seen, bytes missing
	RecvDataRecvd                       // everything here, not all of it read
	RecvDataRead                        // everything read
	RecvResetRecvd                      // reset by the peer
	RecvResetRead                       // and the application knows
)

// recvEvent is what moves a receiving half from state to state.
type recvEvent uint8

const (
	gotFin    recvEvent = iota // the FIN arrived
	gotAll                     // the last missing byte arrived
	readAll                    // the last byte was read or is not wanted
	gotReset                   // RESET_STREAM arrived
	readReset                  // the application saw the reset or does not want to
)

// recvTable tells where an event leads from a state. Where there is no entry
// the event changes nothing.
var recvTable = [...][5]RecvState{
	RecvRecv:       {gotFin: RecvSizeKnown, gotReset: RecvResetRecvd},
	RecvSizeKnown:  {gotAll: RecvDataRecvd, gotReset: RecvResetRecvd},
	RecvDataRecvd:  {readAll: RecvDataRead},
	RecvDataRead:   {},
	RecvResetRecvd: {readReset: RecvResetRead},
	RecvResetRead:  {},
}

var recvNames = [...]string{"Uninitialized", "Recv", "Size Known", "Data Recvd", "Data Read", "Reset Recvd", "Reset Read"}

// String returns the RFC's name of the state.
func (s RecvState) String() string { return recvNames[s] }

// on moves the half through the table and reports whether the event applied.
func (r *Recv) on(e recvEvent) bool {
	next := recvTable[r.state][e]
	if next == 0 {
		return false
	}
	r.state = next
	return true
}

// signal is where a thing that is sent until acknowledged stands: a FIN, a RESET_STREAM.
type signal uint8

const (
	signalNone  signal = iota // not wanted
	signalDue                 // to be sent, for the first time or again
	signalSent                // in flight
	signalAcked               // acknowledged
)
