package cases

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
)

// keepVariable is the environment variable with the folder in which a cell that fails leaves what
// was seen of it: the packets at both ends of the network, the key log, and Cinnabar's qlogs.
const keepVariable = "CINNABAR_INTEROP_KEEP"

// qlogs returns the folder for Cinnabar's qlogs, "" if nobody keeps them.
func (r *round) qlogs() string {
	if os.Getenv(keepVariable) == "" {
		return ""
	}
	return r.path("qlog")
}

// keep leaves what was seen of a cell, whose name the folder gets. It returns what went wrong
// with that.
func (r *round) keep(pair string, run *trace.Run, what error) error {
	base := os.Getenv(keepVariable)
	if base == "" || what == nil {
		return nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(base, strings.NewReplacer(" ", "-", "/", "-").Replace(r.name+" "+pair)+"-")
	if err != nil {
		return err
	}
	r.t.Logf("kept in %s", dir)
	keys, _ := os.ReadFile(r.path("keys"))
	errs := []error{
		os.WriteFile(filepath.Join(dir, "error"), []byte(what.Error()+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "keys"), keys, 0o600),
		list(filepath.Join(dir, "client.txt"), run.Client),
		list(filepath.Join(dir, "server.txt"), run.Server),
	}
	if _, err := os.Stat(r.path("qlog")); err == nil {
		errs = append(errs, os.CopyFS(filepath.Join(dir, "qlog"), os.DirFS(r.path("qlog"))))
	}
	return errors.Join(errs...)
}

// list writes a line for each packet that was seen at one end.
func list(path string, t *trace.Trace) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, p := range t.Packets {
		way := "<-"
		if p.FromClient {
			way = "->"
		}
		fmt.Fprintf(w, "%s %v, version %#x, %d of %d bytes, to ID %x, from ID %x:", way, p, p.Version, p.Size, len(p.Data), p.DCID, p.SCID)
		for _, f := range p.Frames {
			fmt.Fprintf(w, " %#x", f.Type)
			if len(f.Data) > 0 && len(f.Data) <= 20 {
				fmt.Fprintf(w, "(%x)", f.Data)
			} else if len(f.Data) > 0 {
				fmt.Fprintf(w, "(%d+%d)", f.Offset, len(f.Data))
			}
		}
		fmt.Fprintln(w)
	}
	return errors.Join(w.Flush(), f.Close())
}
