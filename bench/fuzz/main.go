// Command fuzz runs all fuzz targets below some folders for a time, a few side by side, and prints what came of them.
//
//	go run ./bench/fuzz [-each 1m] [-rounds 1] [-beside 2] [-only Chunks] [gateway ...]
//	nice -n 19 go run ./bench/fuzz -each 30s -rounds 100 -for 1h gateway
//
// Each target gets -each in each round, by a process of 'go test -fuzz' with one worker. Rounds end with -for or an
// interrupt; the table then says for how long each has run, and how much of the processor it got, which on a busy machine
// is less. What was found interesting is kept in Go's build cache and used on by the next run; an input that fails is written
// beside the target's test, in testdata/fuzz. The exit code is 1 where one has failed.
//
// Testing gives an input ten seconds by the clock, and says 'hung or terminated unexpectedly' of any that was under way while others had
// the processor, or the process was stopped. Such an input is run again by itself, and forgotten where it passes; the column 'late'
// counts them. Beware of a kernel with autogroups, where nice counts within a session alone.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

type options struct {
	each, all time.Duration
	rounds    int
	beside    int
	only      *regexp.Regexp
	folders   []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	fl := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	fl.DurationVar(&o.each, "each", time.Minute, "time of each target in each round")
	fl.DurationVar(&o.all, "for", 0, "end after this time; 0: after the rounds")
	fl.IntVar(&o.rounds, "rounds", 1, "how often each target's turn comes")
	fl.IntVar(&o.beside, "beside", 2, "targets that run at the same time")
	only := fl.String("only", "", "regular expression of the targets' names")
	if err := fl.Parse(args); err != nil {
		return err
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if o.each < time.Second || o.rounds < 1 || o.beside < 1 {
		return errors.New("want -each of a second or more, and -rounds and -beside of 1 or more")
	}
	if o.folders = fl.Args(); len(o.folders) == 0 {
		o.folders = []string{"gateway"}
	}
	targets, err := find(o)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz target below %s", strings.Join(o.folders, ", "))
	}
	if o.all > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.all)
		defer cancel()
	}
	began := time.Now()
	if err := fuzzAll(ctx, o, targets); err != nil {
		return err
	}
	return table(out, targets, time.Since(began))
}

// find returns the targets below the folders, as the source has them.
func find(o options) (all []*target, err error) {
	for _, folder := range o.folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return fmt.Errorf("reading the tests: %w", err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") && o.only.MatchString(f.Name.Name) {
					all = append(all, &target{dir: filepath.Dir(path), name: f.Name.Name})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for targets: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b *target) int { return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.name, b.name)) })
	return all, nil
}

// fuzzAll has each target run in each round, until ctx ends. One that has failed has no further turn.
func fuzzAll(ctx context.Context, o options, targets []*target) error {
	dirs := map[string]bool{}
	for _, t := range targets {
		if !dirs[t.dir] {
			dirs[t.dir] = true
			if err := build(ctx, t.dir); err != nil {
				return err
			}
		}
	}
	for range o.rounds {
		turns := make(chan *target)
		var working sync.WaitGroup
		failed := make(chan error, o.beside)
		for range o.beside {
			working.Go(func() {
				for t := range turns {
					if err := t.fuzz(ctx, o.each); err != nil {
						failed <- err
						return
					}
				}
			})
		}
	hand:
		for _, t := range targets {
			if t.failure != "" {
				continue
			}
			select {
			case turns <- t:
			case err := <-failed:
				failed <- err
				break hand
			case <-ctx.Done():
				break hand
			}
		}
		close(turns)
		working.Wait()
		select {
		case err := <-failed:
			return err
		default:
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

func table(out io.Writer, targets []*target, took time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "package\ttarget\ttime\tCPU\texecs\tnew\tlate\tfailed\t")
	crashes := 0
	var cpu time.Duration
	for _, t := range targets {
		failed := 0
		if t.failure != "" {
			failed = 1
			crashes++
		}
		cpu += t.cpu
		fmt.Fprintf(w, "%s\t%s\t%v\t%v\t%d\t%d\t%d\t%d\t\n", t.dir, t.name, t.ran.Round(time.Second), t.cpu.Round(time.Second), t.execs, t.found, t.hung, failed)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d targets in %v, %v of the processor\n", len(targets), took.Round(time.Second), cpu.Round(time.Second))
	for _, t := range targets {
		if t.failure != "" {
			fmt.Fprintf(out, "\n%s %s:\n%s", t.dir, t.name, t.failure)
		}
	}
	if crashes > 0 {
		return fmt.Errorf("%d targets failed", crashes)
	}
	return nil
}
