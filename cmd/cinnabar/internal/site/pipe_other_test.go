//go:build !unix

package site

import "errors"

func makePipe(string) error { return errors.ErrUnsupported }
