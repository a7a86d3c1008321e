package orchestrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

const goodProgram = `package main

import ("net/http"; "os")

func main() {
	http.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("VERSION " + os.Args[1])) })
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
`

func writeProgram(t *testing.T, root, folder, source string) {
	t.Helper()
	path := filepath.Join(root, folder, "main.go")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
}

func shop(t *testing.T, folders map[string]string) Config {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example.test/shop\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Root: root, Balancer: newFakeBalancer(), System: &topology.System{Name: "shop", Services: map[string]*topology.Service{}}}
	for name, folder := range folders {
		svc := testService(t, "")
		svc.Build, svc.Run, svc.Env = folder, topology.Command{"${BANYAN_REPLICA}"}, nil
		cfg.System.Services[name] = svc
		writeProgram(t, root, folder, strings.ReplaceAll(goodProgram, "VERSION", "one"))
	}
	return cfg
}

func TestBuildAndReplace(t *testing.T) {
	cfg := shop(t, map[string]string{"orders": "./cmd/server", "audit": "./cmd/server", "stock": "./stock/server", "web": "web"})
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	progress := func(s BuildStep) {
		if s.Done {
			steps = append(steps, strings.Join(s.Services, "+"))
		}
	}
	if err := o.Build(context.Background(), progress); err != nil {
		t.Fatal(err)
	}
	// Two programs of the same base name cannot be made by one call.
	if want := []string{"audit+orders+web", "stock"}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	inode := func(name string) uint64 {
		var st unix.Stat_t
		if err := unix.Stat(binPath(o.cfg.Dir, name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	if inode("orders") != inode("audit") || inode("orders") == inode("stock") {
		t.Error("services that share a folder do not share the program, or others do")
	}

	w := up(t, cfg.System.Services, func(c *Config) { c.Root, c.Dir = cfg.Root, o.cfg.Dir })
	w.waitReady()
	address := func() string { return w.status("orders").Replicas[0].Address }
	if got := w.get(address(), "/version"); got != "one orders-0" {
		t.Errorf("version %q", got)
	}

	// What is up to date is not made again; what has changed is, and runs only after a replacement.
	before := inode("stock")
	writeProgram(t, cfg.Root, "cmd/server", strings.ReplaceAll(goodProgram, "VERSION", "two"))
	if err := w.o.Build(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if inode("stock") != before {
		t.Error("stock was built again")
	}
	pid := w.status("orders").Replicas[0].PID
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "back", func() bool { s := w.status("orders"); return s.Ready == 1 && s.Replicas[0].PID != pid })
	if got := w.get(address(), "/version"); got != "one orders-0" {
		t.Errorf("version after a crash %q, want what ran before", got)
	}
	if err := w.o.Restart(w.ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	w.settle("orders")
	if got := w.get(address(), "/version"); !strings.HasPrefix(got, "two ") {
		t.Errorf("version after the replacement %q", got)
	}
}

func TestBuildErrorsAreTheCompilers(t *testing.T) {
	cfg := shop(t, map[string]string{"orders": "./orders"})
	build := func() error {
		o, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return o.Build(context.Background(), nil)
	}
	tests := []struct{ name, source, want string }{
		{"compiler", "package main\n\nfunc main() { missing() }\n", "build orders:\norders/main.go:3:15: undefined: missing"},
		{"syntax", "package main\n\nfunc main( {}\n", "orders/main.go:3:"},
		{"library", "package orders\n", "is package orders, not a program"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			writeProgram(t, cfg.Root, "orders", tt.source)
			err := build()
			var be *BuildError
			if !errors.As(err, &be) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Build: %v, want %q", err, tt.want)
			}
		})
	}
	cfg.System.Services["orders"].Build = "./nowhere"
	if err := build(); err == nil || !strings.Contains(err.Error(), "services.orders.build") {
		t.Errorf("Build of a missing folder: %v", err)
	}
}

func TestBuildStopsWithItsContext(t *testing.T) {
	o, err := New(shop(t, map[string]string{"orders": "./orders"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.Build(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Build: %v", err)
	}
}

func TestCompilerLines(t *testing.T) {
	out := "# example.test/shop/orders\norders/main.go:3:2: undefined: x\n\torders/main.go:4:2: note\n\ntoo many errors\n"
	if got := compilerLines(out); len(got) != 2 || got[0] != "orders/main.go:3:2: undefined: x" {
		t.Errorf("lines %q", got)
	}
	if got := compilerLines(strings.Repeat("e\n", 50)); len(got) != maxBuildLines+1 || got[maxBuildLines] != "..." {
		t.Errorf("%d lines", len(got))
	}
}
