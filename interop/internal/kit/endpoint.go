package kit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// repository is the root of the repository as a test of a package right below this module sees it.
const repository = "../.."

// Dockerfile returns the instructions of the endpoint's image.
func Dockerfile() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(repository, "interop", "endpoint", "Dockerfile"))
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list, nil
}

// BuildEndpoint builds the endpoint program with the command that its Dockerfile has, but for
// where it goes.
func BuildEndpoint(ctx context.Context, to string) error {
	list, err := Dockerfile()
	if err != nil {
		return err
	}
	const prefix = "RUN CGO_ENABLED=0 go "
	i := slices.IndexFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) && strings.Contains(s, " build ") })
	if i < 0 {
		return fmt.Errorf("the Dockerfile has no line %q with a build", prefix)
	}
	args := strings.Fields(strings.TrimPrefix(list[i], prefix))
	out := slices.Index(args, "-o") + 1
	if out == 0 || args[out] != "/endpoint" {
		return fmt.Errorf("the Dockerfile builds no /endpoint: %s", list[i])
	}
	args[out] = to
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, text)
	}
	return nil
}
