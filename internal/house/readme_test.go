package house

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// setupCommands is how many commands bring a newcomer to something that runs.
const setupCommands = 2

var (
	setupHeading = regexp.MustCompile(`(?i)^(#+) .*\b(set[- ]?up|install\w*|getting started)\b`)
	anyHeading   = regexp.MustCompile(`^(#+) `)
	shellFence   = regexp.MustCompile("^\\s*```\\s*(sh|bash|shell|console)\\s*$")
	anyFence     = regexp.MustCompile("^\\s*```")
)

// shellCommand is a command line in a block of Markdown that is marked as shell.
type shellCommand struct {
	text  string
	line  int
	setup bool // stands in the section on setting up
	first bool // of its block: runs in the root
}

func shellCommands(markdown string) []shellCommand {
	var commands []shellCommand
	level := 0 // of the heading on setting up that we are under
	inShell, inOther := false, false
	next := shellCommand{}
	for i, l := range strings.Split(markdown, "\n") {
		heading := anyHeading.FindStringSubmatch(l)
		switch {
		case inShell && anyFence.MatchString(l):
			inShell = false
		case inOther:
			inOther = !anyFence.MatchString(l)
		case inShell:
			next.text += strings.TrimPrefix(strings.TrimSpace(l), "$ ")
			if head, more := strings.CutSuffix(next.text, `\`); more {
				next.text = head
				continue
			}
			if next.text != "" && !strings.HasPrefix(next.text, "#") {
				next.line, next.setup = i+1, level > 0
				commands = append(commands, next)
				next.first = false
			}
			next.text = ""
		case shellFence.MatchString(l):
			inShell, next = true, shellCommand{first: true}
		case anyFence.MatchString(l):
			inOther = true
		case setupHeading.MatchString(l):
			level = len(heading[1])
		case heading != nil && len(heading[1]) <= level:
			level = 0
		}
	}
	return commands
}

// readme: the section on setting up has exactly two commands, and whatever a
// command of any section names of ours exists. exists is asked with a path
// relative to the root, and whether it must have Go files.
func readme(markdown string, exists func(name string, goFiles bool) bool) []string {
	var problems []string
	setup, dir := 0, "."
	for _, c := range shellCommands(markdown) {
		if c.first {
			dir = "."
		}
		names, missing := checkCommand(c.text, &dir, exists)
		for _, m := range missing {
			problems = append(problems, fmt.Sprintf("README.md:%d: %s does not exist", c.line, m))
		}
		if c.setup {
			setup++
			if names == 0 {
				problems = append(problems, fmt.Sprintf("README.md:%d: set-up command %q names nothing of ours", c.line, c.text))
			}
		}
	}
	if setup != setupCommands {
		problems = append(problems, fmt.Sprintf("README.md: %d set-up commands, want %d", setup, setupCommands))
	}
	return problems
}

// checkCommand returns how many things of ours a command line names, and which
// of them do not exist. It follows cd and -C.
func checkCommand(command string, dir *string, exists func(string, bool) bool) (names int, missing []string) {
	look := func(word, name string, goFiles bool) {
		names++
		if !exists(name, goFiles) {
			missing = append(missing, word)
		}
	}
	here := *dir
	words := strings.Fields(command)
	for i, word := range words {
		bare, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(word, "https://"), `"'`), "@")
		bare = strings.TrimSuffix(bare, ".git")
		tree, all := strings.CutSuffix(bare, "...")
		switch {
		case bare == modulePath || strings.HasPrefix(bare, modulePath+"/"):
			name := path.Join(".", strings.TrimPrefix(strings.TrimPrefix(tree, modulePath), "/"))
			look(word, name, !all && name != ".")
		case i > 0 && words[i-1] == "cd":
			if bare == path.Base(modulePath) {
				break // into the clone
			}
			here = path.Join(*dir, bare)
			*dir = here
			look(word, here, false)
		case i > 0 && words[i-1] == "-C":
			here = path.Join(*dir, bare)
			look(word, here, false)
		case strings.HasPrefix(bare, "./"):
			look(word, path.Join(here, tree), !all && path.Ext(bare) == "")
		}
	}
	return names, missing
}

// The README exists, and what it tells a reader to type can be typed.
func TestReadme(t *testing.T) {
	r := everything(t)
	data, err := os.ReadFile(filepath.Join(r.root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, readme(string(data), func(name string, goFiles bool) bool {
		full := filepath.Join(r.root, filepath.FromSlash(name))
		if !goFiles {
			_, err := os.Stat(full)
			return err == nil
		}
		found, _ := filepath.Glob(filepath.Join(full, "*.go"))
		return len(found) > 0
	}))
}

func TestReadmeFinds(t *testing.T) {
	exists := func(name string, goFiles bool) bool {
		switch name {
		case "quic", "cmd/cinnabar", "bench/compare":
			return true
		case ".", "bench", "docs/a.md":
			return !goFiles
		}
		return false
	}
	block := func(commands ...string) string { return "```sh\n" + strings.Join(commands, "\n") + "\n```\n" }
	const get, run = "$ go get " + modulePath + "/quic@latest", "go run ./cmd/cinnabar serve # comment"
	good := "# Cinnabar\n\n## Set up\n\nText.\n\n" + block("# first", get, "", run)
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"good", good, nil},
		{"two blocks, continued line", "# Install\n" + block("go \\", "get "+modulePath+"/quic") + "### Then\n" + block(run), nil},
		{"clone", "# Getting started\n" + block("git clone https://"+modulePath+".git", "cd cinnabar && go test ./..."), nil},
		{"other sections and languages do not count", good + "```go\ngo run ./nothing\n```\n## Use\n" + block("ls", run), nil},
		{"empty", "", []string{"0 set-up commands, want 2"}},
		{"no set-up section", block(get, run), []string{"0 set-up commands, want 2"}},
		{"a third command", "# Set-up\n" + block(get, run, run), []string{"3 set-up commands, want 2"}},
		{"a block that is not marked", "# Setup\n```\n" + get + "\n" + run + "\n```\n", []string{"0 set-up commands"}},
		{"no such package", "# Set up\n" + block("go get "+modulePath+"/quick", run), []string{"README.md:3: " + modulePath + "/quick does not exist"}},
		{"no such directory", "# Set up\n" + block(get, "go run ./cmd/other"), []string{"README.md:4: ./cmd/other does not exist"}},
		{"a directory without Go files", "# Set up\n" + block(get, "go run ./bench"), []string{"./bench does not exist"}},
		{"nothing of ours", "# Set up\n" + block(get, "make"), []string{`"make" names nothing of ours`}},
		{"elsewhere", good + "# Bench\n" + block("go run -C bench ./compare", "go run ./compare"), []string{"README.md:16: ./compare does not exist"}},
		{"elsewhere by cd", good + "# Bench\n" + block("cd bench", "go run ./compare", "cat ./docs/a.md"), []string{"README.md:17: ./docs/a.md"}},
		{"a file", good + "# Read\n" + block("cat ./docs/a.md", "cat ./docs/b.md"), []string{"./docs/b.md does not exist"}},
	} {
		wantProblems(t, tc.name, readme(tc.text, exists), tc.want)
	}
}
