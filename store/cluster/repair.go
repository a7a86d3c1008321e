package cluster

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/raftlog"
	"github.com/banyanhq/banyan/transport"
)

// ErrDamaged is why Open fails, or Run ends, on a node whose data are not what was written, once the others have said that they can do
// without it. SetAside makes room for it to join anew.
var ErrDamaged = errors.New("the data are damaged")

// SetAside moves the data of a node that is not open out of the way, so that it joins with an empty folder, and returns where they
// are now. Nothing needs them any more, but people may want to look at them.
func SetAside(fs vfs.FS, dir string) (to string, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	for i := 1; i < 1000; i++ {
		to = fmt.Sprintf("%s.damaged-%d", dir, i)
		if _, err := fs.Stat(to); err == nil {
			continue
		}
		return to, fs.Rename(dir, to)
	}
	return "", fmt.Errorf("there are too many folders like %s: remove some", to)
}

// giveUp returns ErrDamaged once the others can do without this node, whose data are damaged; before, nil: what it has may be the last
// there is.
func (n *Node) giveUp(ctx context.Context) error {
	damage := n.damage.Load()
	if damage == nil {
		return nil
	}
	if why := spared(ctx, n.known.caller, n.others(), n.known.id); why != nil {
		if now := n.cfg.Now().Unix(); now-n.spareAsked.Load() > 60 {
			n.spareAsked.Store(now)
			n.cfg.Log.Error("tables: the data are damaged, and the other nodes can't do without this one", "node", n.cfg.Node, "damage", *damage, "because", why)
		}
		return nil
	}
	return fmt.Errorf("node %d: %w: %w", n.cfg.Node, ErrDamaged, *damage)
}

// ofMachine says whether an error of opening a database comes from the machine, such as that the disk is full or another process has it
// open, and not from what is in its files, or that one is not there.
func ofMachine(err error) bool {
	var number syscall.Errno
	return errors.As(err, &number) && number != syscall.ENOENT
}

// unreadable makes an error of data that can't be opened ErrDamaged, if the other nodes can do without this one.
func (n *Node) unreadable(err error) error {
	if !pebble.IsCorruptionError(err) && !errors.Is(err, raftlog.ErrCorrupt) {
		return err
	}
	var others []string
	for number, address := range n.cfg.Peers {
		if number != n.cfg.Node {
			others = append(others, address)
		}
	}
	caller := transport.Caller{Secret: n.cfg.Secret, TLS: n.cfg.TLS}
	for deadline := time.Now().Add(electionsWithin); ; time.Sleep(askAgain) {
		why := spared(context.Background(), caller, others, n.cfg.Node)
		if why == nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w; the other nodes can't do without this one: %w", err, why)
		}
	}
}

// A node that was killed and started again at once led groups for which the others have yet to elect a leader, and until then they can't
// do without it: for how long, and how often, it asks them nevertheless.
const (
	electionsWithin = 5 * time.Second
	askAgain        = 200 * time.Millisecond
)

// others are the addresses of all other nodes that this one knows.
func (n *Node) others() (addresses []string) {
	for _, m := range n.known.directory.members() {
		if m.ID != n.known.id && m.State != Gone {
			addresses = append(addresses, m.Address)
		}
	}
	return addresses
}

// spared asks the others until one says that the cluster can do without a node, and returns why it can't if none does.
func spared(ctx context.Context, caller transport.Caller, addresses []string, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*surveyWithin)
	defer cancel()
	failures := []error{errors.New("no other node says that it can")}
	for _, address := range addresses {
		_, err := ask(ctx, caller, address, question{Op: "spare", From: id})
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// spare says why the cluster can't do without the data of a node, of which only the number may be known: a group has no leader elsewhere, or the others are no majority.
func (n *Node) spare(ctx context.Context, id uint64) error {
	if id == n.known.id {
		return errors.New("a node can't spare itself")
	}
	if n.damage.Load() != nil {
		return errors.New("the data are damaged here, too")
	}
	_, reports := n.survey(ctx) // of the node itself as well, which may lead and so know best who is up
	peers, seen := leaders(reports)
	if len(seen) == 0 {
		return errors.New("no other node has data")
	}
	for group := range seen {
		v := view{peers: peers[group]}
		if len(v.peers) == 0 {
			return fmt.Errorf("group %d has no leader", group)
		}
		for _, p := range v.peers {
			if same := p.Node == id || id == Number(p.Node); !same || p.Learner {
				continue
			}
			if err := v.refuse(p.Node); err != nil {
				return err
			}
		}
	}
	return nil
}
