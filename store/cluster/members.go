package cluster

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/raftlog"
)

// A node's id has its number, which people gave it, in its lower half, and in its upper half which database of that number it runs
// on: 0 for one that began with the cluster, a number drawn by lot for one that joined. A node that lost its disk therefore comes
// back as another node than the one that made promises it has forgotten.

// Number is the number of the node with an id.
func Number(id uint64) uint64 { return id & (1<<32 - 1) }

// newID draws the id of a node that joins.
func newID(number uint64) uint64 {
	var lot [4]byte
	_, _ = rand.Read(lot[:]) // it never fails (crypto/rand)
	return uint64(binary.BigEndian.Uint32(lot[:])|1)<<32 | number
}

// State of a member. It only goes forward, so that all nodes come to the same one in whatever order they hear of it.
type State int

// What becomes of a node, in this order.
const (
	Active  State = iota
	Leaving       // its replicas are moved away
	Gone          // it has none any more, or others took its place; it is never part of the cluster again
)

func (s State) String() string { return [...]string{"active", "leaving", "gone"}[s] }

// Member is a node as the others know it.
type Member struct {
	ID      uint64 `json:"id"`
	Address string `json:"address"` // at which other nodes reach it
	Zone    string `json:"zone,omitempty"`
	Start   uint64 `json:"start"` // counts its starts: what it said at a later one goes before
	State   State  `json:"state"`
}

// maxMembers bounds what a node remembers: those that are gone are forgotten beyond it.
const maxMembers = 64

func (m *Member) validate() error {
	_, _, err := net.SplitHostPort(m.Address)
	if Number(m.ID) == 0 || m.State < Active || m.State > Gone || err != nil || len(m.Address) > 300 || len(m.Zone) > 100 {
		return fmt.Errorf("node %x at %.300q in state %d is none", m.ID, m.Address, m.State)
	}
	return nil
}

// directory is what a node knows of all nodes. It is on the node's disk, and nodes tell each other what is in it.
type directory struct {
	db      *pebble.DB
	changed func(Member) // called for each that is new or has changed, with the lock held

	mu  sync.Mutex
	all map[uint64]Member
}

func directoryKey() []byte {
	start, _ := raftlog.MetaSpan(0) // group 0 does not exist
	return append(start, 'c')
}

func openDirectory(db *pebble.DB, changed func(Member)) (*directory, error) {
	d := &directory{db: db, changed: changed, all: map[uint64]Member{}}
	value, closer, err := db.Get(directoryKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the nodes: %w", err)
	}
	body, err := raftlog.Unseal(directoryKey(), value)
	var members []Member
	if err == nil {
		err = json.Unmarshal(body, &members)
	}
	if err = errors.Join(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("reading the nodes: %w", err)
	}
	for _, m := range members {
		d.all[m.ID] = m
		changed(m)
	}
	return d, nil
}

// merge takes over what is news of nodes, and says whether there was any once it is on disk.
func (d *directory) merge(members ...Member) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, news := map[uint64]Member{}, []Member{}
	for id, m := range d.all {
		next[id] = m
	}
	for _, m := range members {
		if err := m.validate(); err != nil {
			return false, err
		}
		known, ok := next[m.ID]
		merged := m
		if ok && known.Start >= m.Start {
			merged = known
		}
		merged.State = max(known.State, m.State)
		if !ok || merged != known {
			next[m.ID] = merged
			news = append(news, merged)
		}
	}
	if len(news) == 0 {
		return false, nil
	}
	for _, m := range sorted(next) {
		if len(next) > maxMembers && m.State == Gone {
			delete(next, m.ID)
		}
	}
	if len(next) > maxMembers {
		return false, fmt.Errorf("more than %d nodes", maxMembers)
	}
	body, err := json.Marshal(sorted(next))
	if err == nil {
		err = d.db.Set(directoryKey(), raftlog.Seal(directoryKey(), body), pebble.Sync)
	}
	if err != nil {
		return false, fmt.Errorf("writing the nodes down: %w", err)
	}
	d.all = next
	for _, m := range news {
		d.changed(m)
	}
	return true, nil
}

// members returns all nodes, by number.
func (d *directory) members() []Member {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.all)
}

func (d *directory) get(id uint64) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.all[id]
	return m, ok
}

func sorted(all map[uint64]Member) []Member {
	list := make([]Member, 0, len(all))
	for _, m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(Number(a.ID), Number(b.ID)), cmp.Compare(a.ID, b.ID)) })
	return list
}
