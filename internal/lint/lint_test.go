package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/banyanhq/banyan"

// floors of the house: a package imports only from floors below its own; sub-folders of one package aside.
var floors = map[string]int{
	"topology": 0, "stats": 0, "env": 0, "reactor": 0, "transport": 0, "atomicfile": 0,
	"policy": 1, "queueing": 1, "forecast": 1,
	"simulate": 2,
	"plan":     3,
	"gateway":  4, "cache": 4, "bus": 4, "store": 4, "function": 4, "edge": 4, "ledger": 4,
	"orchestrate": 5, "autoscale": 5, "observe": 5,
	"load": 6, "chaos": 6, "backup": 6,
	"app": 7, "ui": 7,
	"cmd": 8,
}

// outside the house: they may import what their column says, and nothing of the house imports them.
var outside = map[string]func(imported string) bool{
	"examples": func(p string) bool { return strings.HasPrefix(p, "examples/") },
	"bench":    func(string) bool { return true },
	"internal": func(string) bool { return true },
}

// What starts, for the tests of an example, the blocks that its programs find behind a URL, and what it may import for that.
const blocksOfExamples = "examples/shop/tables/tablestest"

var importedByBlocksOfExamples = []string{"store", "topology"}

// importedByAll is what all packages may import.
const importedByAll = "internal/loopback"

// pure floors take instants and randomness as arguments. topology reads the files that it is given.
var pure = []string{"topology", "stats", "policy", "queueing", "forecast", "simulate", "plan"}

var impureImports = []string{"net/http", "net/rpc", "os/exec", "os/signal", "syscall", "log", "log/slog", "database/sql"}

var impureCalls = []string{
	"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer",
	"time.NewTicker", "time.Tick", "rand.Int", "rand.IntN", "rand.Int64", "rand.Int64N", "rand.Uint64", "rand.Float64",
	"rand.NormFloat64", "rand.ExpFloat64", "rand.Perm", "rand.Shuffle", "rand.N", "net.Dial", "net.Listen",
	"os.Getenv", "os.Exit",
}

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "shared", "lib", "base"}

const (
	warnLines = 500
	failLines = 800
)

type source struct {
	path string // from the root, with slashes
	dir  string
	file *ast.File
	fset *token.FileSet
	test bool
}

func TestHouseRules(t *testing.T) {
	sources := parseTree(t, filepath.Join("..", ".."))
	if len(sources) < 10 {
		t.Fatalf("found only %d Go files: looking in the wrong place?", len(sources))
	}
	for _, rule := range []struct {
		name  string
		check func([]source) []string
	}{
		{"imports point downward", checkImports},
		{"pure packages are pure", checkPurity},
		{"files are short", checkLength},
		{"packages have a front door", checkPackageComments},
		{"names say something", checkNames},
		{"only main ends the process", checkExits},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for _, problem := range rule.check(sources) {
				t.Error(problem)
			}
		})
	}
}

func parseTree(t *testing.T, root string) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && d.Name() != ".")) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		sources = append(sources, source{rel, filepath.ToSlash(filepath.Dir(rel)), file, fset, strings.HasSuffix(rel, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func top(dir string) string { first, _, _ := strings.Cut(dir, "/"); return first }

func checkImports(sources []source) (problems []string) {
	for _, s := range sources {
		from := top(s.dir)
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			to, ours := strings.CutPrefix(path, module+"/")
			if !ours || top(to) == from || to == importedByAll {
				continue
			}
			if allowed, ok := outside[from]; ok {
				if !allowed(to) && !(s.dir == blocksOfExamples && slices.Contains(importedByBlocksOfExamples, to)) {
					problems = append(problems, fmt.Sprintf("%s imports %s: %s stands on its own", s.path, to, from))
				}
				continue
			}
			floor, known := floors[from]
			target, ok := floors[top(to)]
			switch {
			case !known:
				problems = append(problems, fmt.Sprintf("%s: %s has no floor: give it one in internal/lint", s.path, from))
			case !ok:
				problems = append(problems, fmt.Sprintf("%s imports %s, which is not part of the house", s.path, to))
			case target >= floor:
				problems = append(problems, fmt.Sprintf("%s (floor %d) imports %s (floor %d)", s.path, floor, to, target))
			}
		}
	}
	return problems
}

func checkPurity(sources []source) (problems []string) {
	for _, s := range sources {
		if s.test || !slices.Contains(pure, top(s.dir)) {
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if slices.Contains(impureImports, path) || (path == "os" && top(s.dir) != "topology") {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s is pure", s.path, path, top(s.dir)))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(impureCalls, x.Name+"."+sel.Sel.Name) {
				problems = append(problems, fmt.Sprintf("%s uses %s.%s: %s is pure", s.fset.Position(sel.Pos()), x.Name, sel.Sel.Name, top(s.dir)))
			}
			return true
		})
	}
	return problems
}

func checkLength(sources []source) (problems []string) {
	for _, s := range sources {
		lines := s.fset.File(s.file.FileStart).LineCount()
		if lines > failLines {
			problems = append(problems, fmt.Sprintf("%s has %d lines, more than %d", s.path, lines, failLines))
		} else if lines > warnLines && !s.test {
			fmt.Fprintf(os.Stderr, "warning: %s has %d lines, more than %d\n", s.path, lines, warnLines)
		}
	}
	return problems
}

func checkPackageComments(sources []source) (problems []string) {
	documented := map[string]bool{}
	for _, s := range sources {
		if !s.test {
			documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			problems = append(problems, dir+" has no package comment")
		}
	}
	slices.Sort(problems)
	return problems
}

func checkNames(sources []source) (problems []string) {
	for _, s := range sources {
		if name := strings.TrimSuffix(s.file.Name.Name, "_test"); slices.Contains(bannedNames, name) {
			problems = append(problems, fmt.Sprintf("%s: package %s: call it after what it holds", s.path, name))
		}
	}
	return problems
}

func checkExits(sources []source) (problems []string) {
	for _, s := range sources {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok {
				if call := x.Name + "." + sel.Sel.Name; call == "os.Exit" || strings.HasPrefix(call, "log.Fatal") {
					problems = append(problems, fmt.Sprintf("%s uses %s outside of main", s.fset.Position(sel.Pos()), call))
				}
			}
			return true
		})
	}
	return problems
}

// TestRulesCanFail holds every rule against a file that breaks it.
func TestRulesCanFail(t *testing.T) {
	parse := func(path, text string) []source {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		return []source{{path, filepath.ToSlash(filepath.Dir(path)), file, fset, false}}
	}
	for name, problems := range map[string][]string{
		"upward import":      checkImports(parse("policy/a.go", "package policy\nimport _ \""+module+"/gateway\"")),
		"same floor":         checkImports(parse("load/a.go", "package load\nimport _ \""+module+"/chaos\"")),
		"example":            checkImports(parse("examples/shop/a.go", "package shop\nimport _ \""+module+"/topology\"")),
		"clock":              checkPurity(parse("plan/a.go", "package plan\nimport \"time\"\nvar t = time.Now()")),
		"network":            checkPurity(parse("plan/a.go", "package plan\nimport _ \"net/http\"")),
		"length":             checkLength(parse("plan/a.go", "package plan\n"+strings.Repeat("// line\n", failLines+1))),
		"no front door":      checkPackageComments(parse("plan/a.go", "package plan")),
		"name":               checkNames(parse("plan/util/a.go", "package util")),
		"exit in the middle": checkExits(parse("plan/a.go", "package plan\nimport \"os\"\nfunc f() { os.Exit(1) }")),
	} {
		if len(problems) == 0 {
			t.Errorf("%s was not found", name)
		}
	}
}
