package shard

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
)

// Apply is ApplyWithin for a group that has all rows.
func (m *Machine) Apply(b *pebble.Batch, group, index uint64, command []byte) ([]byte, error) {
	return m.ApplyWithin(b, group, index, nil, nil, command)
}

// ApplyWithin adds to the batch what the command changes, and returns the encoded result. An error means that what is stored is damaged,
// or that the command was none: whoever applies must stop. The group has the rows from start up to end; a command for others
// changes nothing and answers Scattered.
func (m *Machine) ApplyWithin(b *pebble.Batch, group, index uint64, start, end, command []byte) ([]byte, error) {
	if len(command) == 0 {
		return nil, fmt.Errorf("applying command %d: it is empty", index)
	}
	a := &application{m: m, b: b, group: group, index: index, start: start, end: end}
	res, err := a.command(command)
	if errors.Is(err, errScattered) {
		res, err = &Result{Code: Scattered}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("applying command %d: %w", index, err)
	}
	return res.encode(), nil
}

func (a *application) command(command []byte) (res *Result, err error) {
	r := attr.NewReader(command[1:])
	kind := commandKind(command[0])
	if kind == kindAt {
		if a.home = Home(r.Uint()); a.home == 0 || a.home > Buckets {
			return nil, fmt.Errorf("its home %d is not known", a.home)
		}
		command = r.Rest()
		if len(command) == 0 {
			return nil, attr.ErrCorrupt
		}
		if !a.owns(a.home) {
			return nil, errScattered
		}
		r, kind = attr.NewReader(command[1:]), commandKind(command[0])
	}
	switch kind {
	case kindWrite, kindWriteIn:
		res, err = a.write(r, kind == kindWriteIn)
	case kindAdopt:
		res, err = a.adopt(r)
	case kindAbandon:
		res, err = a.abandon(r)
	case kindPrepare:
		res, err = a.prepare(r)
	case kindDecide:
		res, err = a.decide(r)
	case kindResolve:
		res, err = a.resolve(r)
	case kindForget:
		res, err = a.forget(r)
	case kindGroup:
		res, err = a.nextGroup()
	case kindDefine:
		res, err = a.define(r.Rest())
	case kindDrop:
		res, err = a.drop(r.Uint())
	case kindReindex:
		res, err = a.reindex(r)
	case kindExpire:
		res, err = a.expire(r)
	case kindTrim:
		res, err = a.trim(r.Int())
	default:
		err = fmt.Errorf("its kind %d is not known", kind)
	}
	if err == nil {
		err = r.Err()
	}
	return res, err
}

// errScattered says that a command is not for rows of the group alone.
var errScattered = errors.New("not all rows are the group's")

// owns says whether the group has the rows of a home.
func (a *application) owns(h Home) bool {
	key := h.Key()
	return a.end == nil || string(key) >= string(a.start) && string(key) < string(a.end)
}

// application is one command that is being applied.
type application struct {
	m            *Machine
	b            *pebble.Batch
	group, index uint64
	start, end   []byte // the group's rows; nil: all
	home         Home   // that the command is for
	changes      uint64 // in streams, so far
	decided      bool   // what is written was checked before
}

// get reads an item; nil: there is none. What it returns stays.
func (a *application) get(key []byte) ([]byte, error) {
	v, closer, err := a.b.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), v...)
	return out, closer.Close()
}
