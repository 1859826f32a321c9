package quic

// ServerBusy reports whether new sessions are refused (SOC-055).
func (s *Socket) ServerBusy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

// SetServerBusy makes the socket refuse new sessions with CONNECTION_REFUSED, or
// take them again; those there are go on (SOC-055). A change is told to the Busy hook.
// The error is a *StateError if the socket is destroyed.
func (s *Socket) SetServerBusy(busy bool) error {
	s.mu.Lock()
	if s.life == socketDestroyed {
		defer s.mu.Unlock()
		return s.stateError("Socket.SetServerBusy")
	}
	if h := s.opts.Hooks.Busy; s.busy != busy && h != nil {
		s.post(func() error { return h(busy) }) // under the lock: in the order of the changes
	}
	s.busy = busy
	s.mu.Unlock()
	s.notices.kick()
	return nil
}

// StatelessReset reports whether packets for sessions that the socket does not know
// are answered with a stateless reset (SOC-060, RFC 9000 §10.3).
func (s *Socket) StatelessReset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.mux.ResetsDisabled()
}

// SetStatelessReset switches stateless resets on or off, at any time (SOC-060). Those
// that come in are recognised either way. The error is a *StateError if the socket is
// destroyed.
func (s *Socket) SetStatelessReset(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == socketDestroyed {
		return s.stateError("Socket.SetStatelessReset")
	}
	s.mux.SetDisableReset(!on)
	return nil
}
