package quic

import (
	"container/list"
	"sync"
)

// TokenStore keeps the tokens that servers give their clients so that a later
// connection needs no proof of its address (RFC 9000 §8.1.3). A token is used
// once. Tokens let a server recognise a client, so clients that are to be told apart
// must not share a store. All methods may be called concurrently.
type TokenStore struct {
	mu    sync.Mutex
	most  int
	byKey map[string]*list.Element
	order list.List // of *tokenEntry, the newest first
}

type tokenEntry struct{ key, token string }

// NewTokenStore returns a store for the newest tokens of at most n servers, 0 for 64.
func NewTokenStore(n int) *TokenStore {
	if n <= 0 {
		n = 64
	}
	return &TokenStore{most: n, byKey: make(map[string]*list.Element)}
}

// Put keeps a token for the server that key stands for: its name and address, and the version of
// QUIC if it is not version 1.
func (t *TokenStore) Put(key string, token []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byKey[key]; e != nil {
		e.Value.(*tokenEntry).token = string(token)
		t.order.MoveToFront(e)
		return
	}
	t.byKey[key] = t.order.PushFront(&tokenEntry{key, string(token)})
	if t.order.Len() > t.most {
		last := t.order.Remove(t.order.Back()).(*tokenEntry)
		delete(t.byKey, last.key)
	}
}

// Take returns the token for a server and forgets it, nil if there is none.
func (t *TokenStore) Take(key string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byKey[key]
	if e == nil {
		return nil
	}
	delete(t.byKey, key)
	return []byte(t.order.Remove(e).(*tokenEntry).token)
}

// Len returns how many servers there are tokens for.
func (t *TokenStore) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.order.Len()
}
