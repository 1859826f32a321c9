package securecontext

import (
	"fmt"
	"strings"
)

// The codes that Error.Code returns: the names that the API document gives them.
const (
	CodeOutOfRange      = "ERR_OUT_OF_RANGE"
	CodeInvalidArgValue = "ERR_INVALID_ARG_VALUE"
	CodeEngine          = "ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED"
	CodeDHSize          = "ERR_TLS_DH_PARAM_SIZE"
)

// Error says that an option has a value that it cannot have. No Context was made.
type Error struct {
	Option string // as "Options.Key[0]"
	Value  any    // nil where it is secret or long
	Want   string // what it can be, if that is short
	Err    error  // why, if there is more to tell

	code string
}

// Error names the option, its value where that may be shown, and the way out.
func (e *Error) Error() string {
	s := "securecontext: " + e.Option
	switch v := e.Value.(type) {
	case nil:
	case string:
		s += fmt.Sprintf(" is %q", v)
	default:
		s += fmt.Sprintf(" is %v", v)
	}
	if e.Want != "" {
		s += ", want " + e.Want
	}
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(e.Err.Error(), "securecontext: ")
	}
	return s
}

// Code returns "ERR_INVALID_ARG_VALUE", "ERR_OUT_OF_RANGE" or one of the more special
// codes for options.
func (e *Error) Code() string { return e.code }

// Unwrap returns the error that tells why.
func (e *Error) Unwrap() error { return e.Err }

func invalid(option string, err error) error {
	return &Error{Option: option, Err: err, code: CodeInvalidArgValue}
}

func at(option string, i int) string { return fmt.Sprintf("Options.%s[%d]", option, i) }
