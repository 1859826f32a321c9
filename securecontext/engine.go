package securecontext

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
)

// Engine supplies a client's certificate when a server asks for one, with a PrivateKey
// that is a crypto.Signer: on a smart card, in a service. It must not return nil for
// both; a certificate without contents declines. It may be called concurrently.
type Engine func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

var engines struct {
	sync.Mutex
	list map[string]Engine
}

// RegisterEngine gives an engine a name for Options.ClientCertEngine, in the whole
// process and for good. The error is an *Error: the name is empty or taken, or there is no
// engine.
func RegisterEngine(name string, e Engine) error {
	bad := &Error{Option: "RegisterEngine", Value: name, code: CodeInvalidArgValue}
	engines.Lock()
	defer engines.Unlock()
	switch {
	case name == "":
		bad.Want = "a name"
	case e == nil:
		bad.Err = errors.New("the engine is nil")
	case engines.list[name] != nil:
		bad.Err = errors.New("the name is taken")
	default:
		if engines.list == nil {
			engines.list = make(map[string]Engine)
		}
		engines.list[name] = e
		return nil
	}
	return bad
}

// engine finds ClientCertEngine.
func (c *Context) engine(o *Options) error {
	if o.ClientCertEngine == "" {
		return nil
	}
	engines.Lock()
	e := engines.list[o.ClientCertEngine]
	engines.Unlock()
	if e == nil {
		return &Error{
			Option: "Options.ClientCertEngine", Value: o.ClientCertEngine, Want: "a name that RegisterEngine was given",
			code: CodeEngine,
		}
	}
	c.base.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := e(i)
		if cert == nil && err == nil {
			err = fmt.Errorf("securecontext: engine %q has returned nothing", o.ClientCertEngine)
		}
		return cert, err
	}
	return nil
}
