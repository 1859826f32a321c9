package h3

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// duel is one case in one direction, while it runs.
type duel struct {
	t              testing.TB
	ctx            context.Context // ends when the case has taken too long
	client, server implementation
	id             *kit.Identity
	root           *docroot
}

func newDuel(t testing.TB, p pair, id *kit.Identity, root *docroot, limit time.Duration) *duel {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &duel{t: t, ctx: ctx, client: p.client, server: p.server, id: id, root: root}
}

// start starts the server and makes a client.
func (d *duel) start() (*origin, client, error) {
	o, err := d.server.serve(d)
	if err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", d.server.name(), err)
	}
	c, err := d.client.client(d)
	if err != nil {
		return nil, nil, fmt.Errorf("making a client: %w", err)
	}
	return o, c, nil
}

// run starts both and runs one plan.
func (d *duel) run(p plan) (*origin, report, error) {
	o, c, err := d.start()
	if err != nil {
		return nil, report{}, err
	}
	r, err := c.run(d.ctx, o.addr, p)
	return o, r, err
}

// site starts both, of which the server has to be one with all of the site.
func (d *duel) site() (*origin, client, error) {
	o, c, err := d.start()
	if err == nil && !o.dynamic {
		err = fmt.Errorf("the server has files only: %w", errNoWay)
	}
	return o, c, err
}

// want checks an answer.
func (a answer) want(status int, body kit.Digest) error {
	if a.status != status || a.digest != body {
		return fmt.Errorf("status %d, body %+v; want %d, %+v; it begins %.100q", a.status, a.digest, status, body, a.text)
	}
	return nil
}

// wantText checks an answer with a short body.
func (a answer) wantText(text string) error {
	if a.status != http.StatusOK || a.text != text {
		return fmt.Errorf("status %d, body %.100q; want 200, %q", a.status, a.text, text)
	}
	return nil
}
