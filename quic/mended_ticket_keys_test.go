package quic

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// A ticket of a session whose context a handler has chosen serves where that context has its keys and its
// SessionIDContext, as it would if the context were the listener's.
func TestTicketsOfChosenContexts(t *testing.T) {
	root := newIssuer(t, "root", nil, nil)
	leaf := root.leaf(t, "server")
	made := func(id string, keys ...[32]byte) *securecontext.Context {
		o := leaf.options(t)
		o.SessionIDContext, o.TicketKeys = id, keys
		return newContext(t, o)
	}
	one, two := [32]byte{1}, [32]byte{2}
	plain, a := made(""), made("a")
	for _, tt := range []struct {
		name            string
		listener        *securecontext.Context
		keys            [][32]byte // of the listener
		issues, accepts *securecontext.Context
		want            bool
	}{
		{"the listener's", plain, nil, plain, plain, true},
		{"another without keys", plain, nil, plain, made(""), true},
		{"keys of its own", plain, nil, made("", one), made("", one), true},
		{"other keys", plain, nil, made("", one), made("", two), false},
		{"keys, and then none", plain, nil, made("", one), plain, false},
		{"another SessionIDContext", plain, nil, plain, a, false},
		{"the same SessionIDContext", plain, nil, a, a, true},
		{"the same keys, another SessionIDContext", plain, nil, made("a", one), made("b", one), false},
		{"the same keys and SessionIDContext", plain, nil, made("a", one), made("a", one), true},
		{"the listener has a SessionIDContext", a, nil, a, plain, false},
		{"the listener has one, and these have none", a, nil, plain, plain, true},
		{"two others without", a, nil, plain, made(""), false},
		{"keys of the listener", plain, [][32]byte{one}, made("a"), made("a", two), true},
		{"keys of the listener, another SessionIDContext", plain, [][32]byte{one}, a, made("b"), false},
	} {
		for by, ocsp := range map[string]bool{"ClientHelloHandler": false, "OCSPHandler": true} {
			t.Run(tt.name+" by "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					chosen := tt.issues
					lo := ListenOptions{ALPN: "test", SecureContext: tt.listener, TicketKeys: tt.keys}
					if ocsp {
						lo.OCSPHandler = func(context.Context, *ServerSession, OCSPRequest) (OCSPResponse, error) {
							return OCSPResponse{Context: chosen}, nil
						}
					} else {
						lo.ClientHelloHandler = func(context.Context, *ServerSession, ClientHello) (*securecontext.Context, error) {
							return chosen, nil
						}
					}
					m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, lo)
					defer m.close()
					client := newContext(t, trusting(root))
					_, ticket := m.resumes(client, nil)
					chosen = tt.accepts
					if got, _ := m.resumes(client, ticket); got != tt.want {
						t.Errorf("resumed %v, want %v", got, tt.want)
					}
				})
			})
		}
	}
}
