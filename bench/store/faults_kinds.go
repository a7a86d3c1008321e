package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/banyanhq/banyan/store"
	storecluster "github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/transport"
)

// kind of a fault.
type kind struct {
	name string
	do   func(context.Context, *done) error
}

// done is a fault that was done.
type done struct {
	victim        *node
	what          string // more about it
	began, healed time.Time
	notes         []string // what came of it
	restarts      int
	after         func() error // once all is well
}

// note notes what came of a fault, once.
func (d *done) note(what string) {
	if !slices.Contains(d.notes, what) {
		d.notes = append(d.notes, what)
	}
}

// kinds that can be done here, and that were asked for.
func (f *faulty) kinds() []kind {
	all := []kind{{"kill", f.killed}, {"pause", f.paused}}
	if f.network != nil {
		all = append(all, kind{"cut one way", f.cutOneWay}, kind{"cut both ways", f.cutBothWays}, kind{"full disk", f.fullDisk})
	}
	all = append(all, kind{"flipped bit", f.flipped}, kind{"truncated file", f.truncated}, kind{"lost disk", func(ctx context.Context, d *done) error {
		err := f.loseDisk(ctx, d)
		d.healed = time.Now()
		return err
	}})
	if f.o.only == "" {
		return all
	}
	return slices.DeleteFunc(all, func(k kind) bool {
		return !slices.ContainsFunc(strings.Split(f.o.only, ","), func(s string) bool { return strings.HasPrefix(k.name, s) })
	})
}

// between draws a time.
func (f *faulty) between(least, most time.Duration) time.Duration {
	return least + time.Duration(f.random.Int64N(int64(most-least)))
}

func (f *faulty) killed(ctx context.Context, d *done) error {
	if err := f.kill(d.victim); err != nil {
		return err
	}
	if err := wait(ctx, f.between(100*time.Millisecond, 2*time.Second)); err != nil {
		return err
	}
	d.healed = time.Now()
	return f.start(d.victim)
}

// kill ends a node as a crash would, and keeps what it said.
func (f *faulty) kill(n *node) error {
	err := n.cmd.Process.Kill()
	_ = n.cmd.Wait() // it was killed
	f.keepLog(n)
	return err
}

func (f *faulty) paused(ctx context.Context, d *done) error {
	length := f.between(time.Second, 8*time.Second)
	d.what = " for " + seconds(length)
	if err := d.victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := wait(ctx, length); err != nil {
		return err
	}
	d.healed = time.Now()
	return d.victim.proceed()
}

func (n *node) proceed() error {
	if n.process == nil {
		return nil
	}
	return n.cmd.Process.Signal(syscall.SIGCONT)
}

// ended says whether the process of a node has ended, and takes note of it.
func (n *node) ended() bool {
	if n.process == nil || n.gone {
		return true
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(n.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	if pid == 0 && err == nil {
		return false
	}
	_ = n.cmd.Wait() // it was waited for above; this waits for what it said
	n.gone = true
	return true
}

// cutOneWay drops what one node sends to another, or to all others, or what all others send to it.
func (f *faulty) cutOneWay(ctx context.Context, d *done) error {
	v := d.victim.number
	other := f.another(d.victim).number
	switch f.random.IntN(3) {
	case 0:
		d.what = fmt.Sprintf(" to node %d", other)
		if err := f.network.cut(v, other); err != nil {
			return err
		}
	case 1:
		d.what = " to all others"
		for _, n := range f.nodes {
			if n.number != v {
				if err := f.network.cut(v, n.number); err != nil {
					return err
				}
			}
		}
	default:
		d.what = " from all others"
		for _, n := range f.nodes {
			if n.number != v {
				if err := f.network.cut(n.number, v); err != nil {
					return err
				}
			}
		}
	}
	return f.mend(ctx, d)
}

// cutBothWays drops what two nodes send to each other, while both reach the others, or all between a node and the others.
func (f *faulty) cutBothWays(ctx context.Context, d *done) error {
	others := []*node{f.another(d.victim)}
	d.what = fmt.Sprintf(" and node %d", others[0].number)
	if f.random.IntN(2) == 0 {
		others, d.what = f.nodes, " and all others"
	}
	for _, n := range others {
		if n != d.victim {
			if err := errors.Join(f.network.cut(d.victim.number, n.number), f.network.cut(n.number, d.victim.number)); err != nil {
				return err
			}
		}
	}
	return f.mend(ctx, d)
}

func (f *faulty) another(than *node) *node {
	at := f.random.IntN(len(f.nodes) - 1)
	if f.nodes[at].number >= than.number {
		at++
	}
	return f.nodes[at]
}

// mend ends all cuts after a while.
func (f *faulty) mend(ctx context.Context, d *done) error {
	err := wait(ctx, f.between(time.Second, 4*time.Second))
	for _, n := range f.nodes {
		err = errors.Join(err, f.network.heal(n.number))
	}
	d.healed = time.Now()
	return err
}

// fullDisk fills up the disk of a node, but for at most 64 KiB, and makes room again: while so much is written that its memory has to go
// into files, or while it is started.
func (f *faulty) fullDisk(ctx context.Context, d *done) error {
	starts := f.random.IntN(2) == 0
	if starts {
		if err := f.kill(d.victim); err != nil {
			return err
		}
	}
	spare := int64(f.random.IntN(64 << 10))
	d.what = fmt.Sprintf(" but for %d KiB", spare>>10)
	ballast := filepath.Join(f.disks[d.victim.number-1].at, "ballast")
	if err := fillDisk(ballast, spare); err != nil {
		return err
	}
	full := time.Now()
	filling, stop := context.WithTimeout(ctx, f.between(4*time.Second, 12*time.Second))
	defer stop()
	var writes sync.WaitGroup
	if starts {
		d.what += " when it was started"
		if err := f.start(d.victim); err != nil {
			return err
		}
	} else {
		others := slices.DeleteFunc(slices.Clone(f.nodes), func(n *node) bool { return n == d.victim })
		writes.Go(func() {
			for filling.Err() == nil {
				_ = fillItems(filling, others, 0, f.o.items) // what is there already; what fails is written the next time
			}
		})
	}
	for filling.Err() == nil && !d.victim.ended() && (!starts || time.Since(full) < 3*time.Second) {
		_ = wait(filling, 50*time.Millisecond)
	}
	stop()
	writes.Wait()
	if d.victim.ended() {
		d.note("ended by itself")
		d.what += ", ended after " + seconds(time.Since(full))
	}
	err := errors.Join(ctx.Err(), os.Remove(ballast))
	d.healed = time.Now()
	return err
}

// fillDisk makes a file that leaves so many bytes of its file system.
func fillDisk(path string, spare int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	var free syscall.Statfs_t
	if err := syscall.Fstatfs(int(file.Fd()), &free); err != nil {
		return errors.Join(err, file.Close())
	}
	for size := int64(free.Bavail)*free.Bsize - spare; size > 0; size -= 64 << 10 { // the file system needs some of it for itself
		if err = syscall.Fallocate(int(file.Fd()), 0, 0, size); !errors.Is(err, syscall.ENOSPC) {
			break
		}
	}
	return errors.Join(err, file.Close())
}

// loseDisk kills a node, deletes all that it has, and starts it again.
func (f *faulty) loseDisk(_ context.Context, d *done) error {
	if err := f.kill(d.victim); err != nil {
		return err
	}
	if err := os.RemoveAll(d.victim.dir); err != nil {
		return err
	}
	return f.start(d.victim)
}

func (f *faulty) flipped(ctx context.Context, d *done) error {
	return f.damage(ctx, d, func(path string, used int64) (string, error) {
		at := f.random.Int64N(used)
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		var b [1]byte
		_, err = file.ReadAt(b[:], at)
		b[0] ^= 1 << f.random.IntN(8)
		if err == nil {
			_, err = file.WriteAt(b[:], at)
		}
		return fmt.Sprintf("byte %d of %d", at, used), errors.Join(err, file.Close())
	})
}

func (f *faulty) truncated(ctx context.Context, d *done) error {
	return f.damage(ctx, d, func(path string, used int64) (string, error) {
		at := f.random.Int64N(used)
		return fmt.Sprintf("to %d of %d bytes", at, used), os.Truncate(path, at)
	})
}

// damage kills a node, damages one of its files, and starts it again. Once all is well the replicas are compared, which reads all that
// nobody asked for, until they are the same.
func (f *faulty) damage(ctx context.Context, d *done, do func(path string, used int64) (string, error)) error {
	n := d.victim
	if err := f.kill(n); err != nil {
		return err
	}
	path, used, err := f.someFile(n.dir)
	if err != nil {
		return err
	}
	what, err := do(path, used)
	if err != nil {
		return err
	}
	d.what = fmt.Sprintf(", %s %s", filepath.Base(path), what)
	sort := strings.TrimLeft(filepath.Ext(path), ".")
	if sort == "" {
		sort, _, _ = strings.Cut(filepath.Base(path), "-")
	}
	d.healed = time.Now()
	d.after = func() error {
		found := "harmless"
		if aside(n) > 0 {
			found = "found at once"
		}
		same, err := f.compared(ctx, d)
		switch {
		case err != nil:
			return err
		case !same && found == "harmless":
			found = "found by the check"
		case slices.Contains(d.notes, "refused, folder removed"):
			found = "refused"
		}
		d.notes = []string{sort + " " + found}
		return removeAside(n)
	}
	return f.start(n)
}

// compared has the replicas be compared until they are the same; same: they were at once.
func (f *faulty) compared(ctx context.Context, d *done) (same bool, err error) {
	client := f.operator(d.victim)
	before := aside(d.victim)
	err = until(ctx, 2*recovery, func(ctx context.Context) error {
		if err := f.supervise(d.victim, d); err != nil {
			return err
		}
		status, err := client.Check(ctx)
		for err == nil && status.Running {
			if err = wait(ctx, 50*time.Millisecond); err == nil {
				status, err = client.Checked(ctx)
			}
		}
		if err != nil {
			return err
		}
		for _, g := range status.Groups {
			if len(g.Equal) != len(f.nodes) {
				return fmt.Errorf("group %d is the same on nodes %v, different on %v, not known of %v; %s", g.Group, g.Equal, g.Different, g.Unchecked, g.Problem)
			}
		}
		if i := slices.IndexFunc(status.Nodes, func(c storecluster.NodeCheck) bool { return c.Problem != "" }); i >= 0 {
			return fmt.Errorf("node %d: %s", status.Nodes[i].Node, status.Nodes[i].Problem)
		}
		if len(status.Groups) <= len(f.ranges) {
			return fmt.Errorf("%d of %d groups were compared", len(status.Groups), len(f.ranges)+1)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("comparing the replicas: %w", err)
	}
	return aside(d.victim) == before, f.well(ctx, d)
}

// aside counts the folders that a node has set aside.
func aside(n *node) int {
	all, _ := filepath.Glob(n.dir + ".damaged-*")
	return len(all)
}

func removeAside(n *node) (err error) {
	all, _ := filepath.Glob(n.dir + ".damaged-*")
	for _, dir := range all {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// someFile is one of a node's files, and how far it is used: logs are made longer ahead of time, with zeros.
func (f *faulty) someFile(dir string) (path string, used int64, err error) {
	sorts := []string{"*.sst", "*.sst", "*.log", "*.log", "MANIFEST-*", "*"}
	for range 100 {
		all, err := filepath.Glob(filepath.Join(dir, sorts[f.random.IntN(len(sorts))]))
		if err != nil || len(all) == 0 {
			continue
		}
		path = all[f.random.IntN(len(all))]
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", 0, err
		}
		if used = int64(len(bytes.TrimRight(text, "\x00"))); used > 0 {
			return path, used, nil
		}
	}
	return "", 0, fmt.Errorf("%s has no files", dir)
}

// keepLog appends what the process of a node said to a file.
func (f *faulty) keepLog(n *node) {
	if n.process == nil {
		return
	}
	file, err := os.OpenFile(f.logFile(n), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = file.Write(n.log.Bytes())
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeping a log:", err)
	}
	n.process = nil
}

func (f *faulty) logFile(n *node) string {
	return filepath.Join(f.o.dir, fmt.Sprintf("node%d.txt", n.number))
}

// views is what each node says of the leaders of all ranges, and what the operator of each is told of all nodes.
func (f *faulty) views() string {
	var b strings.Builder
	for _, n := range f.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		fmt.Fprintf(&b, "to node %d", n.number)
		if r, err := store.DescribeRanges(ctx, n.url(), false, sign); err != nil {
			fmt.Fprintf(&b, " ranges are unknown (%v)", err)
		} else {
			for _, l := range r.Ranges {
				fmt.Fprintf(&b, " %d is led by %d,", l.Group, l.Leader)
			}
		}
		nodes, err := storecluster.Client{Caller: transport.Caller{Secret: []byte(clusterSecret)}, Addresses: []string{n.peer}}.Nodes(ctx)
		fmt.Fprintf(&b, " nodes are %+v %v\n", nodes, err)
		cancel()
	}
	return b.String()
}

// logs are the ends of what the nodes said.
func (f *faulty) logs() string {
	var b strings.Builder
	for _, n := range f.nodes {
		if n.process != nil {
			_ = exec.Command("kill", "-QUIT", fmt.Sprint(n.cmd.Process.Pid)).Run()
			_ = n.cmd.Wait()
			f.keepLog(n)
		}
		text, _ := os.ReadFile(f.logFile(n))
		fmt.Fprintf(&b, "--- node %d:\n%s\n", n.number, text[max(0, len(text)-3000):])
	}
	return b.String()
}

// sign signs as the user of the benchmark.
func sign(r *http.Request, body []byte) error {
	digest := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hex.EncodeToString(digest[:]), "dynamodb", region, time.Now())
}
