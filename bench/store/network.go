package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// network gives each node a network namespace of its own, with an interface to a bridge that the clients of this process are at as
// well. It needs root, and Debian's package iproute2.
type network struct {
	name  string
	nodes int
	sub   string // network, without the last number
}

// cutRule is before the rule by which a host takes what is for itself.
const cutRule, localRule = "10", "100"

func newNetwork(nodes int) (w *network, err error) {
	w = &network{name: fmt.Sprintf("bn%d", os.Getpid()), nodes: nodes, sub: fmt.Sprintf("198.18.%d.", os.Getpid()%256)} // of RFC 2544
	defer func() {
		if err != nil {
			err = errors.Join(err, w.remove())
		}
	}()
	commands := [][]string{
		{"link", "add", w.name, "type", "bridge"},
		{"addr", "add", w.sub + "254/24", "dev", w.name},
		{"link", "set", w.name, "up"},
	}
	for i := 1; i <= nodes; i++ {
		ns := w.namespace(i)
		outer := fmt.Sprintf("%s.%d", w.name, i)
		commands = append(commands, []string{"netns", "add", ns},
			[]string{"link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", ns},
			[]string{"link", "set", outer, "master", w.name, "up"},
			[]string{"-n", ns, "addr", "add", w.host(i) + "/24", "dev", "eth0"},
			[]string{"-n", ns, "link", "set", "eth0", "up"},
			[]string{"-n", ns, "link", "set", "lo", "up"},
			[]string{"-n", ns, "rule", "add", "pref", localRule, "lookup", "local"},
			[]string{"-n", ns, "rule", "del", "pref", "0"})
	}
	for _, c := range commands {
		if err := ip(c...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *network) namespace(node int) string { return fmt.Sprintf("%s-%d", w.name, node) }

func (w *network) host(node int) string { return w.sub + fmt.Sprint(node) }

// prefix of a command that is to run where a node is.
func (w *network) prefix(node int) []string {
	return []string{"ip", "netns", "exec", w.namespace(node)}
}

// cut has what one node sends to another be dropped where it arrives: nobody is told.
func (w *network) cut(from, to int) error {
	return ip("-n", w.namespace(to), "rule", "add", "pref", cutRule, "from", w.host(from), "iif", "eth0", "blackhole")
}

// heal ends all cuts of what arrives at a node.
func (w *network) heal(to int) error {
	for {
		out, err := exec.Command("ip", "-n", w.namespace(to), "rule", "show", "pref", cutRule).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip rule show: %w: %s", err, out)
		}
		if len(out) == 0 {
			return nil
		}
		if err := ip("-n", w.namespace(to), "rule", "del", "pref", cutRule); err != nil {
			return err
		}
	}
}

// remove removes what there is of it.
func (w *network) remove() error {
	var errs []error
	for i := 1; i <= w.nodes; i++ {
		if _, err := os.Stat("/run/netns/" + w.namespace(i)); err == nil {
			errs = append(errs, ip("netns", "del", w.namespace(i)))
		}
	}
	if _, err := os.Stat("/sys/class/net/" + w.name); err == nil {
		errs = append(errs, ip("link", "del", w.name))
	}
	return errors.Join(errs...)
}

// disk is a file system of a node's own, in a file: it can be filled up without harm to others, and what is synced is on this
// machine's disk. It needs root, and Debian's package e2fsprogs.
type disk struct{ file, at string }

func newDisk(ctx context.Context, file, at string, bytes int64) (*disk, error) {
	f, err := os.Create(file)
	if err == nil {
		err = errors.Join(f.Truncate(bytes), f.Close())
	}
	if err == nil {
		err = os.Mkdir(at, 0o755)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", file}, {"mount", "-o", "loop,discard", file, at}} {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	return &disk{file, at}, nil
}

func (d *disk) remove() error {
	if out, err := exec.Command("umount", d.at).CombinedOutput(); err != nil {
		return fmt.Errorf("umount: %w: %s", err, out)
	}
	return os.Remove(d.file)
}
