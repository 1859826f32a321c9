// Costs prints a table of what attacks have cost, made of files that tests have written with CINNABAR_COSTS. Its status is 1
// if one has cost too much, or is missing.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "costs:", err)
		os.Exit(1)
	}
}

func run(names []string, to io.Writer) error {
	if len(names) == 0 {
		return fmt.Errorf("no file: give the names of files that tests have written with CINNABAR_COSTS")
	}
	var files []io.Reader
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	return siege.Table(to, io.MultiReader(files...))
}
