package replica

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/raftlog"
)

// brittle writes each command as a key and fails at that of which it is damaged.
type brittle struct{}

func (brittle) Apply(b *pebble.Batch, _, _ uint64, command []byte) ([]byte, error) {
	if err := b.Set(command, []byte("written"), nil); err != nil {
		return nil, err
	}
	if string(command) == "db" {
		return nil, errors.New("damaged")
	}
	return nil, nil
}

// TestDamageTakesNoOtherGroupAlong: of three groups that apply commands in one step, with one batch, the second fails half way.
func TestDamageTakesNoOtherGroupAlong(t *testing.T) {
	disk := vfs.NewMem()
	db, err := pebble.Open("db", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	var groups []Descriptor
	for i, start := range []string{"da", "db", "dc"} {
		groups = append(groups, Descriptor{Group: uint64(i + 1), Start: []byte(start), End: []byte{'d', start[1] + 1}, NextReplica: 2, Replicas: []Replica{{1, 1, false}}})
	}
	if err := Bootstrap(db, 1, groups); err != nil {
		t.Fatal(err)
	}
	log, err := raftlog.Open(db, raftlog.Config{FS: disk, Dir: "incoming"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCore(Config{Node: 1}, log, brittle{}, 7, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(c.close(), db.Close()); err != nil {
			t.Error(err)
		}
	}()
	results := map[uint64]error{}
	step := func(events ...event) {
		for {
			eff := c.step(0, events)
			for _, r := range eff.results {
				results[r.id] = r.err
			}
			if eff.write == nil {
				return
			}
			if err := log.Commit(eff.write); err != nil {
				t.Fatal(err)
			}
			events = []event{written{}}
		}
	}
	for range 3 {
		step(ticked{}) // until they lead
	}
	var events []event
	for i, key := range []string{"da", "db", "dc"} {
		events = append(events, propose{event: uint64(i + 1), key: []byte(key), body: []byte(key)})
	}
	step(events...)
	for i, key := range []string{"da", "db", "dc"} {
		value, err := getCopy(db, []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		outcome, done := results[uint64(i+1)]
		if whole := key != "db"; (string(value) == "written") != whole || (done && outcome == nil) != whole {
			t.Errorf("group %d: its row is %q, answered %v with %v", i+1, value, done, outcome)
		}
	}
	if !errors.Is(c.groups[2].err, ErrFailed) || c.groups[1].err != nil || c.groups[3].err != nil {
		t.Errorf("failed: %v, %v, %v", c.groups[1].err, c.groups[2].err, c.groups[3].err)
	}
	step(propose{event: 11, key: []byte("da"), body: []byte("da1")}, propose{event: 13, key: []byte("dc"), body: []byte("dc1")})
	for _, id := range []uint64{11, 13} {
		if err, ok := results[id]; !ok || err != nil {
			t.Errorf("proposal %d afterwards: %v, %v", id, err, ok)
		}
	}
}
