package h3

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// getting fetches a file, an empty one, and one that does not exist.
func getting(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	r, err := c.run(d.ctx, o.addr, plan{asks: gets("/small.txt", o.empty, "/nothing-here")})
	if err != nil {
		return err
	}
	if err := r.answers[0].want(http.StatusOK, d.root.small["/small.txt"]); err != nil {
		return fmt.Errorf("a file: %w", err)
	}
	if err := r.answers[1].want(http.StatusOK, d.root.small["/empty.txt"]); err != nil {
		return fmt.Errorf("an empty file: %w", err)
	}
	if got := r.answers[2].status; got != http.StatusNotFound {
		return fmt.Errorf("a file that does not exist: status %d", got)
	}
	return nil
}

// heading asks for headers only, of a body that would be noticed.
func heading(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	path, size := "/big.bin", d.root.large["/big.bin"].Size
	if d.client.traits().strictHead {
		path, size = o.empty, 0
	}
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{{method: http.MethodHead, path: path}}})
	if err != nil {
		return err
	}
	a := r.answers[0]
	if err := a.want(http.StatusOK, kit.Content{}.Digest()); err != nil {
		return err
	}
	if got, want := a.header.Get("Content-Length"), strconv.FormatInt(size, 10); got != want {
		return fmt.Errorf("Content-Length %q, want %s", got, want)
	}
	return nil
}

// posting has a short body come back, and its sum.
func posting(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	body := kit.Content{Seed: 20, Size: 4_321}
	if !o.dynamic {
		return d.postingFile(o, c, body)
	}
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{
		{method: http.MethodPost, path: "/echo", body: body},
		{method: http.MethodPost, path: "/sum", body: body},
	}})
	if err != nil {
		return err
	}
	if err := r.answers[0].want(http.StatusOK, body.Digest()); err != nil {
		return fmt.Errorf("the echo: %w", err)
	}
	return r.answers[1].wantSum(body)
}

// postingFile posts to a server that has no answer to that but a file and its log.
func (d *duel) postingFile(o *origin, c client, body kit.Content) error {
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{{method: http.MethodPost, path: "/small.txt", body: body}}})
	if err != nil {
		return err
	}
	if err := r.answers[0].want(http.StatusOK, d.root.small["/small.txt"]); err != nil {
		return err
	}
	got, err := o.received()
	if err == nil && got != body.Digest() {
		err = fmt.Errorf("the server has received %+v, want %+v", got, body.Digest())
	}
	return err
}

// wantSum checks what the site says of a body.
func (a answer) wantSum(body kit.Content) error {
	var got kit.Digest
	if err := json.Unmarshal([]byte(a.text), &got); err != nil || a.status != http.StatusOK {
		return fmt.Errorf("the sum: status %d, %.100q, %v", a.status, a.text, err)
	}
	if want := body.Digest(); got != want {
		return fmt.Errorf("the server has received %+v, want %+v", got, want)
	}
	return nil
}

func (d *duel) large() (string, kit.Content) {
	if d.client.traits().slow || d.server.traits().slow {
		return "/slow.bin", d.root.large["/slow.bin"]
	}
	return "/big.bin", d.root.large["/big.bin"]
}

// largeDown fetches a large file.
func largeDown(d *duel) error {
	path, body := d.large()
	_, r, err := d.run(plan{asks: gets(path)})
	if err != nil {
		return err
	}
	return r.answers[0].want(http.StatusOK, body.Digest())
}

// dumped is the size of a large body that a server writes to its log in hexadecimal.
const dumped = 256 << 10

// largeUp posts a large body.
func largeUp(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	if !o.dynamic {
		return d.postingFile(o, c, kit.Content{Seed: 21, Size: dumped})
	}
	_, body := d.large()
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{{method: http.MethodPost, path: "/sum", body: body}}})
	if err != nil {
		return err
	}
	return r.answers[0].wantSum(body)
}

// largeBoth has a large body come back while it is still on its way.
func largeBoth(d *duel) error {
	o, c, err := d.site()
	if err != nil {
		return err
	}
	_, body := d.large()
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{{method: http.MethodPost, path: "/echo", body: body}}})
	if err != nil {
		return err
	}
	return r.answers[0].want(http.StatusOK, body.Digest())
}

// atOnce has 100 requests on one connection that are answered when all are there,
// where the server can do that.
func atOnce(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	p := plan{together: true}
	for i := range manyFiles {
		path := numbered(i)
		if o.dynamic {
			path = fmt.Sprintf("/together/%d/%03d", manyFiles, i)
		}
		p.asks = append(p.asks, get(path))
	}
	r, err := c.run(d.ctx, o.addr, p)
	if err != nil {
		return err
	}
	for i, a := range r.answers {
		if err := a.want(http.StatusOK, d.root.small[numbered(i)]); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
	}
	if r.connections > 1 {
		return fmt.Errorf("the client had %d connections, want one", r.connections)
	}
	if o.site != nil && o.site.addresses() != 1 {
		return fmt.Errorf("requests came from %d addresses, want one", o.site.addresses())
	}
	return nil
}

// trailers sends a trailer section and wants it back in one, with the body's sum.
func trailers(d *duel) error {
	o, c, err := d.start()
	if err != nil {
		return err
	}
	if !o.trailers {
		return errNoWay
	}
	if !o.dynamic {
		r, err := c.run(d.ctx, o.addr, plan{asks: gets("/small.txt")})
		if err == nil && len(r.answers[0].trailer) == 0 {
			err = errors.New("the response had no trailers")
		}
		return err
	}
	a := ask{method: http.MethodPost, path: "/echo", body: kit.Content{Seed: 22, Size: 30_000}, trailer: http.Header{"X-Trailer": {"last words"}}}
	r, err := c.run(d.ctx, o.addr, plan{asks: []ask{a}})
	if errors.Is(err, errNoWay) { // not from this client
		a.trailer = nil
		r, err = c.run(d.ctx, o.addr, plan{asks: []ask{a}})
	}
	if err != nil {
		return err
	}
	got := r.answers[0]
	if err := got.want(http.StatusOK, a.body.Digest()); err != nil {
		return err
	}
	if got.trailer.Get("X-Sum") != got.digest.Sum || got.trailer.Get("X-Back") != a.trailer.Get("X-Trailer") {
		return fmt.Errorf("trailers %v of a body %+v, after a request with %v", got.trailer, got.digest, a.trailer)
	}
	return nil
}

// informational gets a 103 before the response.
func informational(d *duel) error {
	o, c, err := d.site()
	if err != nil {
		return err
	}
	r, err := c.run(d.ctx, o.addr, plan{asks: gets("/hints")})
	if err != nil {
		return err
	}
	a := r.answers[0]
	if len(a.informational) != 1 || a.informational[0].Get("Link") == "" || a.header.Get("Link") != "" {
		return fmt.Errorf("informational responses %v before %v, want one with a link", a.informational, a.header)
	}
	return a.wantText("hinted")
}
